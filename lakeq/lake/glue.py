"""The tables of a lake as AWS Glue names them: looked up, made, and moved on by version check.

The layout is that of PyIceberg's `GlueCatalog`, so Athena, Spark and PyIceberg read and write the
same tables. API: https://docs.aws.amazon.com/glue/latest/webapi/API_UpdateTable.html (VersionId);
https://iceberg.apache.org/docs/latest/aws/#optimistic-locking
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Collection, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lakeq import redact
from lakeq.errors import AccessDenied, BadLake, LakeqError, StorageUnavailable, UsageError
from lakeq.lake.pointers import split
from lakeq.storage import aws

if TYPE_CHECKING:
    from lakeq.config import Settings
    from lakeq.lake.io import WarehouseIO

TRIES = 12  # of one step that other writers overtake in Glue
LONGEST_WAIT_S = 1.0
OWNER = "lakeq.lake"  # in a table's parameters
_AT = "metadata_location"
_MISSING = "EntityNotFoundException"
_THERE = "AlreadyExistsException"
_OVERTAKEN = ("ConcurrentModificationException",)


class GlueTables:
    """The tables of the lake at `root` in Glue; a database is the prefix and the dataset."""

    def __init__(self, settings: Settings, root: str, files: WarehouseIO) -> None:
        self._settings = settings
        self._root = root
        self._files = files

    @cached_property
    def _client(self) -> Any:
        chosen = self._settings.glue
        try:
            return aws.client("glue", self._settings.s3, chosen.region, chosen.endpoint_url)
        except Exception as error:  # noqa: BLE001  # boto3 makes its errors' classes at run time
            raise self._named(error, "the client of Glue", "") from redact.bare(error)

    def database(self, table: str) -> str:
        """The name of the database that holds `table` (dataset.table)."""
        return self._settings.glue.prefix + split(table)[0]

    def locations(self, names: Collection[str]) -> dict[str, str]:
        """The metadata files of those of `names` that Glue has."""
        found: dict[str, str] = {}
        by_database: dict[str, list[str]] = {}
        for name in names:
            by_database.setdefault(self.database(name), []).append(name)
        for database, wanted in by_database.items():
            if len(wanted) == 1:
                one = self._table(wanted[0])
                tables = [one] if one else []
            else:
                tables = list(self._tables(database))
            by_short = {split(name)[1]: name for name in wanted}
            for table in tables:
                if table["Name"] in by_short:
                    name = by_short[table["Name"]]
                    found[name] = self._own(name, table)
        return found

    def step(self, table: str, accepted: Collection[str | None], new: str) -> bool:
        """Make `new` the metadata file of `table`, from one of `accepted`; None is no table.

        False when another tool has committed to the table meanwhile. A step that is done already,
        also one that another tool went on from, is True.
        """
        for attempt in range(TRIES):
            if attempt:
                time.sleep(random.uniform(0, min(LONGEST_WAIT_S, 0.02 * 2**attempt)))
            found = self._table(table)
            at = self._own(table, found) if found else None
            if at == new:
                return True
            if at not in accepted:
                return at is not None and new in self._past(at)
            if self._moved(table, found, at, new):
                return True
        what = f"{TRIES} steps in a row were overtaken by other writers in Glue"
        raise StorageUnavailable(what, table, "try again when fewer are writing")

    def back(self, table: str, new: str, old: str | None) -> None:
        """Take the step to `new` back, if the table is still there."""
        if old is not None:
            self.step(table, {new}, old)
            return
        found = self._table(table)
        if found and self._own(table, found) == new:
            database, name = self.database(table), split(table)[1]
            self._call("delete_table", table, DatabaseName=database, Name=name)

    def _moved(self, table: str, found: Any, at: str | None, new: str) -> bool:
        """One try; False when Glue has another version of the table by now."""
        from pyiceberg.catalog.glue import _construct_table_input

        from lakeq.lake.commit import load_metadata

        metadata = load_metadata(self._files, new)
        properties = {**metadata.properties, OWNER: self._root}
        name = split(table)[1]
        made: Any = _construct_table_input(name, new, properties, metadata, found, at)
        database = self.database(table)
        try:
            if found is None:
                self._make_database(database, table)
                self._call("create_table", table, DatabaseName=database, TableInput=made)
            else:
                version = {"VersionId": found["VersionId"], "SkipArchive": True}
                self._call("update_table", table, DatabaseName=database, TableInput=made, **version)
        except _Overtaken:
            return False
        return True

    def _make_database(self, database: str, table: str) -> None:
        try:
            made = {"Name": database, "LocationUri": f"{self._root}/{split(table)[0]}"}
            self._call("create_database", table, DatabaseInput=made)
        except _Overtaken:
            return

    def _own(self, name: str, table: Any) -> str:
        """The metadata file of a table that is this lake's."""
        at = str(table.get("Parameters", {}).get(_AT, ""))
        if at.startswith(f"{self._root}/"):
            return at
        place = at or table.get("StorageDescriptor", {}).get("Location") or "no place that it tells"
        what = f"Glue has another table by the name of {self.database(name)}.{table['Name']}"
        hint = "give this lake's databases names of their own: glue.prefix"
        raise UsageError(f"{what}, at {place}", f"the lake {self._root}", hint)

    def _past(self, at: str) -> set[str]:
        from lakeq.lake.commit import load_metadata

        return {entry.metadata_file for entry in load_metadata(self._files, at).metadata_log}

    def _table(self, name: str) -> Any:
        try:
            found = self._call(
                "get_table", name, DatabaseName=self.database(name), Name=split(name)[1]
            )
        except _Missing:
            return None
        return found["Table"]

    def _tables(self, database: str) -> Iterator[Any]:
        more: dict[str, str] = {}
        where = f"{database.removeprefix(self._settings.glue.prefix)}.*"
        while True:
            try:
                page = self._call("get_tables", where, DatabaseName=database, **more)
            except _Missing:
                return
            yield from page["TableList"]
            if not page.get("NextToken"):
                return
            more = {"NextToken": page["NextToken"]}

    def _call(self, name: str, table: str, **arguments: Any) -> Any:
        try:
            return getattr(self._client, name)(**arguments)
        except LakeqError:
            raise
        except Exception as error:  # noqa: BLE001  # as above
            code = aws.code_of(error)
            if code == _MISSING:
                raise _Missing from redact.bare(error)
            if code == _THERE or code in _OVERTAKEN:
                raise _Overtaken from redact.bare(error)
            action = "".join(word.capitalize() for word in name.split("_"))
            raise self._named(error, table, action) from redact.bare(error)

    def _named(self, error: Exception, where: str, action: str) -> LakeqError:
        text = redact.redacted(str(error))
        code = aws.code_of(error)
        if aws.refuses_credentials(error):
            hint = "log in again, or name another --profile"
            return AccessDenied(f"the AWS credentials are not taken: {text}", where, hint)
        if code in aws.DENIED:
            database = self.database(where)
            kinds = ("catalog", f"database/{database}", f"table/{database}/*")
            allowed = {
                "Effect": "Allow",
                "Action": [f"glue:{action}"],
                "Resource": [f"arn:aws:glue:*:*:{kind}" for kind in kinds],
            }
            hint = f"add to the policy: {json.dumps(allowed)}"
            return AccessDenied(f"Glue does not allow it: {text}", where, hint)
        if code in ("InvalidInputException", "ValidationException"):
            return BadLake(f"Glue does not take the table: {text}", where)
        hint = "check region and network (glue.region), then try again"
        return StorageUnavailable(f"Glue does not answer: {text}", where, hint)


class _Missing(Exception):
    """Glue has no such database or table."""


class _Overtaken(Exception):
    """Another writer was there first."""
