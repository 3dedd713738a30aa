"""The main job on one screen, offline: make a cohort, ingest it, run the two seed queries.

    python examples/demo.py demo-lake

Everything is written into the folder that the command line names; `make clean` removes demo-lake.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from make_cohort import make

PERSON = "HG00096"


def lakeq(*arguments: str | Path, lake: Path) -> None:
    """Show a lakeq command and run it; its rows and its report go where they always go."""
    words = ["lakeq", *map(str, arguments)]
    print(f"\n$ {shlex.join(words)}", flush=True)
    script = Path(sysconfig.get_path("scripts")) / "lakeq"
    done = subprocess.run(
        [script, *words[1:]], env={**os.environ, "LAKEQ_LAKE": str(lake)}, check=False
    )
    if done.returncode:
        sys.exit(done.returncode)


def main() -> None:
    """Run the demo in the folder that the command line names."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-lake")
    lake = folder / "lake"
    shutil.rmtree(lake, ignore_errors=True)
    started = time.monotonic()

    print(f"Making a cohort of 2,504 people, its panel and a ClinVar release in {folder}/objects")
    made = make(folder / "objects")
    for path in (made.vcf, made.panel, made.clinvar):
        print(f"  {path.name}  {path.stat().st_size:,} bytes")

    shown = ("--format", "table", "--max-rows", "12")
    lakeq("ingest", "thousand_genomes", made.vcf, lake=lake)
    lakeq("ingest", "clinvar", made.clinvar, lake=lake)
    lakeq("tables", lake=lake)
    lakeq("sql", "@allele_frequency_clinvar", *shown, lake=lake)
    lakeq("sql", "@sample_clinvar", "-p", f"sample={PERSON}", *shown, lake=lake)

    print(f"\nDone in {time.monotonic() - started:.0f} s. The lake is in {lake}. Ask it something:")
    print(
        f'  LAKEQ_LAKE={lake} .venv/bin/lakeq sql "select count(*) from thousand_genomes.variants"'
    )


if __name__ == "__main__":
    main()
