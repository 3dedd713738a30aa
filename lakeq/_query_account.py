"""One query in the ledger: reserved before it reads, settled with what it read and its digest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from lakeq import cost
from lakeq.digest import Digest, Digester, is_ordered
from lakeq.engines import Access, Engine, Read, Row
from lakeq.ledger import Ledger, Line, Run, Scanned, outcome_of

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.config import Limits, Settings
    from lakeq.planner import Plan
    from lakeq.snapshot import TableSnapshot

DIGEST_BYTES = 4 << 20  # of rows in Arrow; more, as lists can be, take longer than to read them


class Account:
    """The way of one query through the ledger; only a budget can make the query fail here."""

    def __init__(
        self,
        settings: Settings,
        sql: str,
        parameters: Mapping[str, object],
        options: Mapping[str, object],
    ) -> None:
        given = {k: v for k, v in options.items() if v is not None and v is not False}
        ledger = Ledger(settings)
        self.run: Run = ledger.begin(
            "query", sql=sql, parameters=parameters, options=given, engine=settings.engine
        )
        self.book = self.run.ledger.book
        self._serialized = ""
        self._limit = settings.digest_rows
        self._digester: Digester | None = None
        self._digested_bytes = 0
        self.digest: Digest | None = None

    def allowed(self, serialized: str) -> None:
        """The guard has let the query pass, as the parser tells it."""
        self.run.allow()
        self._serialized = serialized

    def reserve(self, plan: Plan, tables: Mapping[str, TableSnapshot], limits: Limits) -> Limits:
        """Set aside the most that the query can cost; `BudgetRefused` where a budget lacks it.

        Returns the limits to run with: a query that its plan cannot bound is stopped, where there
        is a budget, when it passes what was set aside, `max_usd` or what is likely.
        """
        scan = plan.high_usd
        if not plan.bounded and self.run.is_budgeted:
            scan = plan.high_usd if limits.max_usd is None else limits.max_usd
            limits = replace(limits, max_usd=scan)
        snapshots = {name: table.snapshot_id for name, table in tables.items()}
        most = cost.total([scan, plan.s3_usd, plan.egress_usd])
        planned = (plan.low_bytes, plan.high_bytes)
        self.run.reserve(most, planned=planned, tables=snapshots)
        return limits

    def saw(self, rows: Sequence[Row]) -> None:
        """Some rows have been passed on as Python values."""
        if self._digester is None:
            self._digester = Digester(self._limit, "rows")
        if self._digester.wants:
            self._digester.add(rows)

    def saw_batch(self, batch: pa.RecordBatch) -> None:
        """A batch has been passed on as Arrow."""
        if self._digester is None:
            self._digester = Digester(self._limit, "arrow")
        self._digested_bytes += batch.nbytes
        few = len(batch) <= self._limit and self._digested_bytes <= DIGEST_BYTES
        if self._digester.wants and few:
            columns = [column.to_pylist() for column in batch.columns]
            self._digester.add(list(zip(*columns, strict=True)))
        else:
            self._digester.wants = False

    def settle(
        self,
        access: Access,
        tables: Mapping[str, TableSnapshot],
        error: BaseException | None,
        *,
        rows: int,
        seconds: float,
    ) -> None:
        """End the query's run with what it read; `error` is what stopped it."""
        self.digest = self._digest(rows) if error is None else None
        self.run.settle(
            list(_lines(access, rows, self.book)),
            outcome_of(error),
            seconds=seconds,
            tables=_scanned(access.reads, tables),
            digest=str(self.digest) if self.digest else None,
            error=None if isinstance(error, GeneratorExit) else error,
        )

    @contextmanager
    def failing(
        self, place: Engine | None = None, tables: Mapping[str, TableSnapshot] | None = None
    ) -> Iterator[None]:
        """End the run of a query that cannot begin; what it read until then is what it cost."""
        try:
            yield
        except BaseException as error:
            access = place.access() if place else None
            if access is None or not access.reads:
                self.run.fail(error)
            else:
                lines = list(_lines(access, 0, self.book))
                scanned = _scanned(access.reads, tables or {})
                self.run.settle(lines, outcome_of(error), tables=scanned, error=error)
            if place:
                place.close()
            raise

    def _digest(self, rows: int) -> Digest | None:
        if self._digester is None or self._digester.wants:
            digester = self._digester or Digester(self._limit, "rows")
            found = digester.digest(ordered=is_ordered(self._serialized))
            return found if found and found.rows == rows else None
        return None


def s3_bill(access: Access) -> tuple[int, int, int]:
    """S3 requests; and of them, bytes and requests that the caller's account pays for."""
    remote = [read for read in access.reads if "://" in read.path]
    if not remote:
        return 0, 0, 0
    requests = len(remote) + access.opened
    if not access.signed:
        return requests, 0, 0
    return requests, sum(read.length for read in remote), requests


def _lines(access: Access, rows: int, book: cost.PriceBook) -> Iterator[Line]:
    """The scan at Athena's price, and what S3 asks for requests and for bytes on their way out.

    An engine that bills for the scan itself, as Athena does, has its bill in place of that price.

    Requests without a signature, and their bytes, are counted too: their owner pays, so $0.
    """
    scanned = access.scanned_bytes
    usd = cost.athena_cost_usd(scanned, book) if access.bill_usd is None else access.bill_usd
    yield Line("query", scanned, rows, usd)
    requests, billed_bytes, billed_requests = s3_bill(access)
    if requests:
        left = sum(read.length for read in access.reads if "://" in read.path)
        yield Line("request", None, requests, cost.s3_requests_cost_usd(billed_requests, book))
        yield Line("egress", left, None, cost.egress_cost_usd(billed_bytes, book))


def _scanned(reads: Sequence[Read], tables: Mapping[str, TableSnapshot]) -> dict[str, Scanned]:
    """Bytes by table; a file of two of the tables counts for the first."""
    taken: Counter[str] = Counter()
    for read in reads:
        taken[read.path] += read.length
    return {
        name: Scanned(
            snapshot=table.snapshot_id,
            read=sum(taken.pop(file.path, 0) for file in table.files) if taken else 0,
            size=table.size_bytes,
        )
        for name, table in tables.items()
    }
