"""A lake with genomes, ClinVar, radar and scenes, for engines to be held against each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lakeq
from examples.make_cohort import MadeCohort
from lakeq.api import Lake
from tests.support import landsat
from tests.support.data import FOLDER

GENOMICS = FOLDER / "genomics"
CHR_MT = GENOMICS / "thousand_genomes/ALL.chrMT.phase3_callmom-v0_4.20130502.genotypes.vcf.gz"
PANEL = GENOMICS / "thousand_genomes/integrated_call_samples_plus31related.panel"
CLINVAR = GENOMICS / "clinvar/clinvar_2016-11-28.GRCh37.full.tsv.gz"
VOLUME = FOLDER / "nexrad/volumes/KTLX20190715_120037_V06"
REAL = all(path.is_file() for path in (CHR_MT, PANEL, CLINVAR, VOLUME))
DAY = "2019-07-15" if REAL else "2019-05-20"
BOX = {"south": 35.0, "north": 35.5, "west": -97.5, "east": -97.0}
PARAMETERS: dict[str, dict[str, Any]] = {
    "cohort_frequency": {"samples": ["HG00096", "HG00097"], "contig": "MT" if REAL else "22"},
    "echo_top": {"site": "KTLX", "first_day": DAY},
    "gauge_rain": {"site": "KTLX", "latitude": 35.4, "longitude": -97.2, "first_day": DAY},
    "hail_cores": {"first_day": DAY, "least_dbz": 30},
    "reflectivity_in_box": {"site": "KTLX", "first_day": DAY, **BOX},
    "scene_revisits": {"path": 91, "row": 18},
    "scenes_in_box": {
        "west": 170,
        "south": -80,
        "east": -10,
        "north": 80,
        "level": "L",
        "first_day": "1980-01-01",
        "last_day": "2030-01-01",
    },
    "velocity_couplets": {"site": "KTLX", "first_day": DAY, "least_m_s": 12.0, "least_dbz": 5.0},
}


def make(folder: Path, made_cohort: MadeCohort, made_volumes: list[Path]) -> Lake:
    """Real files, or made ones where those are absent."""
    lake = lakeq.connect(folder / "lake")
    if REAL:
        lake.ingest("thousand_genomes", [CHR_MT], panel=PANEL)
        lake.ingest("clinvar", [CLINVAR])
        lake.ingest("nexrad", [VOLUME], tables=["volumes", "sweeps", "rays", "grid"])
    else:
        lake.ingest("thousand_genomes", [made_cohort.vcf], panel=made_cohort.panel)
        lake.ingest("clinvar.grch37", [made_cohort.clinvar])
        lake.ingest("nexrad", made_volumes)
    scenes = landsat.scenes(400, 5)
    lake.ingest("landsat.scenes", [landsat.write_list(folder / "scene_list.csv", scenes)])
    lake.refresh("landsat.scenes_latest")
    return lake
