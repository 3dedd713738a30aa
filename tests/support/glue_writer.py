"""A process that commits to a lake which Glue names, and may kill itself on the way.

Arguments: ROOT WRITER COUNT [POINT CALL]. LAKEQ_* say how the lake is reached. Each commit puts one
row into each of two tables and claims the version of one object. With POINT, a method of lakeq,
the process is killed as it enters it for the CALL-th time.
"""

from __future__ import annotations

import os
import sys

from lakeq import config
from lakeq.lake import IcebergLake
from lakeq.lake.commit import Change
from lakeq.lake.versions import Claim, Version
from tests.lake_formats import new_file, sites
from tests.lake_formats.tally import CARRIERS, SITES
from tests.support.killing import arm, counting


def carried(position: int) -> list[dict[str, object]]:
    """One row of the made table of carriers."""
    return [{"sample": "ann", "pos": position, "allele": "A"}]


def commit(lake: IcebergLake, source: str, position: int) -> None:
    """Put one row of `source` into both tables."""
    with lake.session() as session:
        changes = [
            Change(
                SITES,
                frozenset([source]),
                (new_file(lake, session, SITES, ("22",), sites(position), source),),
            ),
            Change(
                CARRIERS,
                frozenset([source]),
                (new_file(lake, session, CARRIERS, (), carried(position), source),),
            ),
        ]
        claim = Claim(Version(source, etag=str(position)))
        lake.commit_all(changes, session, {"made": [claim]})


def main() -> None:
    """Commit so many times."""
    root, writer, times, *death = sys.argv[1:]
    if death:
        arm(death[0], counting(int(death[1])), os.environ["XDG_DATA_HOME"])
    lake = IcebergLake(config.load({"lake": root}, environ=os.environ))
    for number in range(int(times)):
        commit(lake, f"s3://b/{writer}-{number}", 1000 * int(writer) + number)


if __name__ == "__main__":
    main()
