"""From radar volumes to an xarray tree, an answer in SQL and a picture, offline.

python examples/radar.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from make_volume import make

import lakeq
from lakeq.errors import UsageError

STRONGEST_RAYS = """
    select sweep_number, round(azimuth, 1) as azimuth, dbzh_max, dbzh_gates_50dbz
    from nexrad.rays
    where site = 'KTLX' and dbzh_gates_50dbz > 0
    order by dbzh_max desc, dbzh_gates_50dbz desc limit 5
"""


def main() -> None:
    """Ingest a made storm, look at it as arrays, ask for its hail, draw it."""
    with tempfile.TemporaryDirectory() as scratch:
        lake = lakeq.connect(Path(scratch) / "lake")
        lake.ingest("nexrad", make(Path(scratch) / "volumes", volumes=2))

        tree = lake.open_radar("KTLX", "2019-05-20T20:00:04", values="masked")
        for name, sweep in tree.children.items():
            angle, moments = float(sweep["sweep_fixed_angle"]), " ".join(map(str, sweep.data_vars))
            print(f"{name}: {angle:.2f} degrees, {dict(sweep.sizes)}, {moments}")
        print(f"largest reflectivity: {float(tree['sweep_0']['DBZH'].max())} dBZ")
        print(f"scanned {tree.attrs['lakeq_bytes_scanned']:,} bytes")

        print(lake.sql(STRONGEST_RAYS).df().to_string(index=False))
        cores = lake.sql("@hail_cores", {"first_day": "2019-05-20"})
        print(cores.df().to_string(index=False))
        print(cores.report)
        draw(lake, Path(scratch) / "ppi.png")


def draw(lake: lakeq.Lake, path: Path) -> None:
    """A PPI of the radial velocity, as `lakeq plot nexrad` draws it."""
    from lakeq import moments, ppi

    tree = lake.open_radar("KTLX", "2019-05-20T20:00:04", sweeps=[1], values="codes")
    try:
        ppi.save(ppi.of(tree, moments.MOMENTS["VRADH"]), path)
    except UsageError as error:  # without matplotlib
        print(error)
    else:
        print(f"drew {path.name}, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
