"""Made scene lists: lines as landsat-pds had them, of any path, row and day."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

HEADER = (
    "productId,entityId,acquisitionDate,cloudCover,processingLevel,path,row,"
    "min_lat,min_lon,max_lat,max_lon,download_url\n"
)


@dataclass(frozen=True, slots=True)
class Scene:
    """One line of a list."""

    satellite: int
    path: int
    row: int
    acquired: datetime
    made: date
    tier: str
    cloud: float

    @property
    def product(self) -> str:
        """Its product identifier."""
        place = f"{self.path:03d}{self.row:03d}"
        days = f"{self.acquired:%Y%m%d}_{self.made:%Y%m%d}"
        return f"LC0{self.satellite}_L1TP_{place}_{days}_01_{self.tier}"

    @property
    def line(self) -> str:
        """As the list has it."""
        entity = f"LC{self.satellite}{self.path:03d}{self.row:03d}{self.acquired:%Y%j}LGN00"
        where = (
            f"https://s3-us-west-2.amazonaws.com/landsat-pds/c1/L8/{self.path:03d}/{self.row:03d}"
        )
        return (
            f"{self.product},{entity},{self.acquired:%Y-%m-%d %H:%M:%S.%f},{self.cloud},L1TP,"
            f"{self.path},{self.row},0,0,1,1,{where}/{self.product}/index.html\n"
        )


def scenes(count: int, seed: int, only: tuple[int, int] | None = None) -> Iterator[Scene]:
    """Scenes of 2013 to 2020, of `only` a path and row; some in real time and then for good."""
    chance = random.Random(seed)
    start = datetime(2013, 4, 1, tzinfo=UTC)
    for _ in range(count):
        taken = start + timedelta(seconds=chance.randrange(7 * 365 * 86_400))
        place = only or (chance.randint(1, 233), chance.randint(1, 122))
        cloud = chance.choice([-1, 0, round(chance.uniform(0, 100), 2)])
        made = taken.date() + timedelta(days=1)
        again = chance.random() < 0.2
        yield Scene(8, *place, taken, made, "RT" if again else "T1", cloud)
        if again:
            yield Scene(8, *place, taken, made + timedelta(days=14), "T1", cloud)


def write_list(path: Path, lines: list[Scene]) -> Path:
    """The list of these scenes."""
    path.write_text(HEADER + "".join(scene.line for scene in lines))
    return path
