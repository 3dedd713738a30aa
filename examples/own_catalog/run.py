"""A catalog of your own: my_cohort.yaml describes a VCF, and its tables join with lakeq's.

python examples/own_catalog/run.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import lakeq

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # for make_cohort, which stands beside this folder

CARRIERS = """
    with carriers as (
        select pos, ref, alt, unnest(het || hom_alt) as number
        from my_cohort.genotypes join clinvar.grch37 using (contig, pos, ref, alt)
        where is_pathogenic
    )
    select sample, count(*) as pathogenic_alleles
    from carriers join my_cohort.samples using (number)
    group by sample order by pathogenic_alleles desc, sample limit 5
"""


def main() -> None:
    """Ingest a made cohort under the user's own catalog and count its carriers."""
    from make_cohort import make

    with tempfile.TemporaryDirectory() as scratch:
        made = make(Path(scratch) / "objects", samples=300, variants=800)
        lake = lakeq.connect(Path(scratch) / "lake", catalogs=[HERE])
        lake.ingest("my_cohort", [made.vcf], panel="")
        lake.ingest("clinvar", [made.clinvar])
        print(lake.sql(CARRIERS).df().to_string(index=False))


if __name__ == "__main__":
    main()
