"""What an ingest did, or would do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ObjectReport:
    """What one object is, or was, converted to; `rows` has the tables that it fills.

    `replaces` says whether the lake had rows of this object before; `replaced` names other
    objects whose rows of the same thing it replaced. Where `kept` names an object, that one holds
    the same thing and stays, and this one has no rows. In a dry run the counts are 0.
    """

    uri: str
    size_bytes: int
    rows: Mapping[str, int]
    replaces: bool
    replaced: tuple[str, ...] = ()
    kept: str = ""


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingest did, or in a dry run would do.

    `notes` counts remarks such as samples that the panel does not name; `snapshots` has the new
    snapshot of each table that changed.
    """

    dataset: str
    objects: tuple[ObjectReport, ...]
    files: int = 0
    bytes_written: int = 0
    seconds: float = 0.0
    notes: Mapping[str, int] = field(default_factory=dict)
    snapshots: Mapping[str, int] = field(default_factory=dict)
    dry_run: bool = False

    @property
    def bytes_read(self) -> int:
        """Raw bytes of all objects."""
        return sum(report.size_bytes for report in self.objects)

    @property
    def rows(self) -> dict[str, int]:
        """Rows per table over all objects."""
        total: Counter[str] = Counter()
        for report in self.objects:
            total.update(report.rows)
        return dict(total)
