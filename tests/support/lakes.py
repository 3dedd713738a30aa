"""A lake with a small made cohort, shared by tests that only read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lakeq
from examples.make_cohort import MadeCohort
from lakeq.api import Lake


def cohort_lake(folder: Path, made: MadeCohort, **options: Any) -> Lake:
    """thousand_genomes and clinvar.grch37 of `made`, in a lake at `folder`."""
    lake = lakeq.connect(folder, **options)
    lake.ingest("thousand_genomes", [made.vcf])
    lake.ingest("clinvar.grch37", [made.clinvar])
    return lake
