"""The ledger as SQLite tells it, read without lakeq."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from decimal import Context, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import lakeq
from lakeq.api import Lake

ONE_DOLLAR = {  # any query that reads up to 10 MB costs exactly $1
    "athena_usd_per_tb": "100000",
    "get_usd_per_1000": "0",
    "egress_usd_per_gb": "0",
}


def ask(path: Path, sql: str) -> list[dict[str, Any]]:
    """The rows of a query on the ledger's file."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql)]


def lines(path: Path) -> list[dict[str, Any]]:
    """Every line, oldest first."""
    return ask(path, "SELECT * FROM lines ORDER BY id")


def exact_sum(amounts: Iterable[str | Decimal]) -> Decimal:
    """The sum as fractions give it: no digit is lost."""
    whole = sum((Fraction(amount) for amount in amounts), Fraction(0))
    digits = Context(prec=300)
    return digits.divide(Decimal(whole.numerator), Decimal(whole.denominator))


def spent(path: Path) -> Decimal:
    """The dollars of all lines."""
    return exact_sum(line["usd"] for line in lines(path))


def check(path: Path) -> None:
    """The file is sound, no run has a kind of line twice, and the totals are those of the lines."""
    assert ask(path, "PRAGMA integrity_check") == [{"integrity_check": "ok"}]
    kinds = [(line["run"], line["kind"]) for line in lines(path)]
    assert len(kinds) == len(set(kinds))
    totals = ask(path, "SELECT usd FROM totals")
    assert exact_sum(row["usd"] for row in totals) == spent(path)


def served_from(lake_dir: Path, url: str, ledger_file: Path, **settings: object) -> Lake:
    """The lake at `lake_dir` as if its files lay in a bucket named after the folder."""
    lake = lakeq.connect(
        lake_dir,
        ledger=ledger_file,
        s3_endpoint_url=url,
        s3_region="us-east-1",
        s3_anon=False,
        **settings,
    )
    iceberg = lake._iceberg
    read = iceberg.read

    def remote(names, at=None):  # type: ignore[no-untyped-def]  # the signature of the lake's own
        base = str(lake_dir.parent)
        return {
            name: replace(
                table,
                files=tuple(
                    replace(f, path="s3:/" + f.path.removeprefix(base)) for f in table.files
                ),
            )
            for name, table in read(names, at).items()
        }

    iceberg.read = remote  # type: ignore[method-assign]  # this lake only
    return lake
