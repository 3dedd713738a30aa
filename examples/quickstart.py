"""From raw files to a joined answer in Python, offline, in a folder that is removed at the end.

python examples/quickstart.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from make_cohort import make

import lakeq

COMMON_PATHOGENIC = """
    select c.gene, v.pos, v.ref, v.alt, c.clinical_significance, v.ac, v.an, round(v.af, 5) as af
    from thousand_genomes.variants v
    join clinvar.grch37 c using (contig, pos, ref, alt)
    where c.is_pathogenic and v.af >= $least
    order by v.af desc, v.pos
    limit 5
"""


def main() -> None:
    """Ingest a made cohort and ask for its most frequent pathogenic alleles."""
    with tempfile.TemporaryDirectory() as scratch:
        made = make(Path(scratch) / "objects", samples=500, variants=1000)
        lake = lakeq.connect(Path(scratch) / "lake")
        lake.ingest("thousand_genomes", [made.vcf])
        lake.ingest("clinvar", [made.clinvar])

        result = lake.sql(COMMON_PATHOGENIC, params={"least": 0.001})
        print(result.df().to_string(index=False))
        print(result.report)


if __name__ == "__main__":
    main()
