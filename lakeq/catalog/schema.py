"""The keys of a catalog file, and the check that turns its nodes into a Dataset.

`DATASET_KEYS` and its like are the schema: the check goes by them, and docs/generate.py writes
docs/reference/catalog-schema.md from them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, cast, get_args

from lakeq import types
from lakeq.catalog import Access, Column, Dataset, Macro, Population, Replace, Table, Topic
from lakeq.catalog.yaml import Entries, Items, Node, Problem, Scalar
from lakeq.keys import KeyTemplate

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
SCHEMES = ("s3://", "https://")

_CREDENTIALS = re.compile(r"[a-z0-9]+://[^/]*@")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_ARN = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+\Z")


@dataclass(frozen=True, slots=True)
class Key:
    """One key: what its value must be, whether it must be there, and what it means."""

    name: str
    value: str
    doc: str
    required: bool = False


DATASET_KEYS = (
    Key("dataset", "name", "Name in SQL, the same as the file's: `NAME.yaml`.", required=True),
    Key("title", "text", "One line that says what it is.", required=True),
    Key("doc", "text", "What it holds, in what version, from whom.", required=True),
    Key("license", "text", "What its owner allows, and on what condition.", required=True),
    Key("citation", "text", "How to cite it.", required=True),
    Key("homepage", "https URL", "Where its owner describes it.", required=True),
    Key("assembly", "text", "Genome assembly of all tables that name none, such as `GRCh37`."),
    Key("panel", "URI", "Object that names sample, population and sex (see `lakeq.panel`)."),
    Key("populations", "mapping", "Super-populations of the panel by code: see Populations."),
    Key(
        "notifications",
        "SNS ARNs",
        "Topics that announce new objects: one ARN or a list; of a topic whose messages are not"
        " events of S3, or that can be filtered, a mapping: see Notifications.",
    ),
    Key(
        "keys",
        "mapping",
        "Templates of the archive's keys by name, the usual one first:"
        " `s3://bucket/{date:%Y/%m/%d}/{site}/{site}{time:%Y%m%d_%H%M%S}{rest}`. `{name}` is text"
        " without a slash, `{name:%Y/%m/%d}` a part of the object's time in UTC (`%Y %m %d %j %H %M"
        " %S`). `lakeq ingest --site --from --to` lists only the folders that they leave.",
    ),
    Key("skip", "globs", "File names of objects that are never ingested, one or a list."),
    Key("macros", "mapping", "Functions for queries that read the dataset, by name: see Macros."),
    Key("tables", "mapping", "Tables by name: see Tables.", required=True),
)
MACRO_KEYS = (
    Key("doc", "text", "What it gives.", required=True),
    Key("parameters", "names", "Names of its arguments, one or a list.", required=True),
    Key("sql", "expression", "SQL of the parameters that a call stands for.", required=True),
)
TOPIC_KEYS = (
    Key("topic", "SNS ARN", "The topic.", required=True),
    Key("objects", "templates", "Objects that one message tells of, filled from its fields:"
        " `{s3_location}/{landsat_product_id}_MTL.json`, `{assets.MTL.href}`. A list in the message"
        " gives one object for each of its items. Without it messages are events of S3 or chunks."),
    Key("attributes", "mapping", "How a subscription filters by message attributes: name ->"
        " template of the value, or several: `SiteID: \"{site}\"`."),
    Key("body", "mapping", "How a subscription filters by fields of the message, `a.b` for one"
        " inside another: name -> template of the text that the field begins with, with `*` before"
        " it of what it ends with, or several. One whose `{field}` is not chosen is left out."),
)  # fmt: skip
POPULATION_KEYS = (
    Key("name", "text", "Name of the super-population.", required=True),
    Key("populations", "mapping", "Its populations: code in the panel -> name.", required=True),
)
TABLE_KEYS = (
    Key("doc", "text", "What one row is, and in what order rows stand.", required=True),
    Key("format", "name", "Module of `lakeq.formats` that reads the objects."),
    Key("query", "SELECT or @name", "Instead of `format`: the query, or the named query, whose"
        " answer the table keeps (`lakeq refresh`)."),
    Key("index", "table", "Makes the table virtual: its rows are made from raw objects when a query"
        " asks for them, as far as this table of the dataset says where they lie."),
    Key("columns", "mapping", "Columns by name, in storage order: see Columns.", required=True),
    Key("assembly", "text", "Genome assembly, where it differs from the dataset's."),
    Key("objects", "URIs", "`s3://` or `https://` URIs or local paths, one or a list; `*`, `?`"
        " and `[...]` match within one part of a key, not in https."),
    Key("region", "text", "AWS region of the bucket; required with `s3://` objects."),
    Key("access", "choice", f"One of {', '.join(f'`{a}`' for a in get_args(Access))}; default"
        " `anonymous`, which never sends credentials."),
    Key("partition_by", "columns", "Columns whose values part the files, one or a list."),
    Key("sort_by", "columns", "Columns that rows are sorted by within a partition."),
    Key("replace", "choice", "`source` (default): ingesting an object replaces its own rows;"
        " `table`: it replaces all rows."),
    Key("options", "mapping", "Text values for the format and its files: name -> text. Files know"
        " `row_group_rows`, `buffer_bytes` (of memory before a row group is written),"
        " `file_bytes` (beyond which the next file is begun), `delta` (columns to pack as"
        " differences), `packing` (`smallest`: try for each column how), `smallest_rows` (try"
        " it only for the first rows of a file), `zstd_level`,"
        " `page_bytes`, `interleave` (of upkeep: two columns and the side of the squares"
        " that the first of `sort_by` numbers; crowded ones are parted), and for GeoParquet"
        " `geometry` (a column of WKB) and `covering` (the column of its bounds)."),
)  # fmt: skip
COLUMN_KEYS = (
    Key("type", "type", "See Types.", required=True),
    Key("doc", "text", "What a value means, and when it is NULL.", required=True),
    Key("unit", "text", "Unit of the value, where it has one."),
    Key("source", "text", "Field of the raw format that fills it: `INFO/AF`, `FORMAT/DP`."),
)


def dataset(
    root: Node, problems: list[Problem], stem: str, formats: Collection[str] | None
) -> Dataset | None:
    """The dataset that a file's nodes describe, or None after adding to `problems`.

    `stem` is the file's name without `.yaml`; `formats` are the formats that exist, None to
    leave that unchecked.
    """
    found = _Check(problems, formats).dataset(root, stem)
    return None if problems else found


class _Check:
    """Walks the nodes of one file; every finding goes to `problems`, and the walk goes on."""

    def __init__(self, problems: list[Problem], formats: Collection[str] | None) -> None:
        self.problems = problems
        self.formats = formats

    def problem(self, line: int, what: str, hint: str = "") -> None:
        self.problems.append(Problem(line, what, hint))

    # Kinds of value

    def entries(self, node: Node, what: str) -> Iterable[tuple[str, int, Node]]:
        if not isinstance(node, Entries):
            self.problem(node.line, f"{what}: expected a mapping")
            return ()
        return node.entries

    def keys(self, node: Node, keys: Sequence[Key], what: str) -> dict[str, Node]:
        """The values of a mapping that may have exactly `keys`."""
        known = [key.name for key in keys]
        values = {}
        for name, line, value in self.entries(node, what):
            if name in known:
                values[name] = value
            else:
                self.problem(line, f"{what}: unknown key {name!r}", nearest(name, known))
        if isinstance(node, Entries):
            for key in keys:
                if key.required and key.name not in values:
                    missing = f"{what}: key {key.name!r} is missing"
                    self.problem(node.line, missing, f"add {key.name}:")
        return values

    def text(self, node: Node | None, what: str) -> str:
        if node is None:
            return ""
        if not isinstance(node, Scalar) or node.kind != "text":
            found = f"{node.kind} {node.text!r}" if isinstance(node, Scalar) else "a collection"
            hint = "put it in quotes" if isinstance(node, Scalar) and node.text else ""
            self.problem(node.line, f"{what}: expected text, not {found}", hint)
            return ""
        if not node.text.strip():
            self.problem(node.line, f"{what}: empty text")
        return " ".join(node.text.split())

    def texts(self, node: Node | None, what: str) -> list[tuple[str, int]]:
        """One text or a list of texts, each with its line."""
        if node is None:
            return []
        nodes = node.items if isinstance(node, Items) else (node,)
        return [(self.text(item, what), item.line) for item in nodes]

    def name(self, name: str, line: int, what: str) -> str:
        if name.startswith("_"):
            self.problem(line, f"{what} {name!r}: names that start with _ are lakeq's own")
        elif not NAME.match(name):
            hint = "small letters, digits and _, a letter first, at most 63"
            self.problem(line, f"{what} {name!r} is not a name", hint)
        return name

    def choice(self, node: Node | None, what: str, choices: Sequence[str]) -> str:
        """One of `choices`; the first is the default."""
        if node is None:
            return choices[0]
        value = self.text(node, what)
        if value and value not in choices:
            self.problem(node.line, f"{what}: no choice {value!r}", nearest(value, choices))
        return value

    def uri(self, uri: str, line: int, what: str) -> str:
        scheme = uri.split("://", 1)[0] + "://" if "://" in uri else ""
        if scheme and scheme not in SCHEMES:
            self.problem(line, f"{what}: {scheme} is not supported", nearest(scheme, SCHEMES))
        if _CREDENTIALS.match(uri):
            self.problem(line, f"{what}: a URI must not hold credentials")
        return uri

    # Parts of the file

    def dataset(self, root: Node, stem: str) -> Dataset:
        values = self.keys(root, DATASET_KEYS, "dataset")
        name = self.dataset_name(values.get("dataset"), stem)
        plain = {key: self.text(values.get(key), key) for key in ("title", "doc", "license")}
        populations = self.populations(values.get("populations"))
        assembly = self.text(values.get("assembly"), "assembly")
        tables = self.tables(values.get("tables"), name, assembly, populations)
        return Dataset(
            name=name,
            **plain,
            citation=self.text(values.get("citation"), "citation"),
            homepage=self.homepage(values.get("homepage")),
            tables=tables,
            assembly=assembly,
            panel=self.panel(values.get("panel")),
            populations=populations,
            topics=self.topics(values.get("notifications")),
            keys=self.templates(values.get("keys"), tables),
            macros=self.macros(values.get("macros")),
            skip=tuple(glob for glob, _ in self.texts(values.get("skip"), "skip")),
        )

    def dataset_name(self, node: Node | None, stem: str) -> str:
        name = self.text(node, "dataset")
        if node is not None and name:
            self.name(name, node.line, "dataset")
            if name != stem:
                self.problem(node.line, f"dataset {name!r} in a file named {stem!r}",
                             f"name the file {name}.yaml")  # fmt: skip
        return name

    def homepage(self, node: Node | None) -> str:
        homepage = self.text(node, "homepage")
        if node is not None and homepage and not homepage.startswith("https://"):
            self.problem(node.line, f"homepage {homepage!r}: expected a https:// URL")
        return homepage

    def panel(self, node: Node | None) -> str:
        return "" if node is None else self.uri(self.text(node, "panel"), node.line, "panel")

    def topics(self, node: Node | None) -> tuple[Topic, ...]:
        nodes = node.items if isinstance(node, Items) else () if node is None else (node,)
        return tuple(self.topic(item) for item in nodes)

    def topic(self, node: Node) -> Topic:
        what = "notifications"
        if not isinstance(node, Entries):
            return Topic(self.arn(node))
        values = self.keys(node, TOPIC_KEYS, what)
        objects = self.texts(values.get("objects"), "objects")
        for text, line in objects:
            if not text.startswith(("s3://", "{")):
                self.problem(line, f"{what}: {text!r} does not begin with s3:// or a field")
        return Topic(
            self.arn(values.get("topic")),
            tuple(text for text, _ in objects),
            self.filters(values.get("attributes"), "attributes"),
            self.filters(values.get("body"), "body"),
        )

    def arn(self, node: Node | None) -> str:
        text = self.text(node, "notifications")
        if node is not None and text and not _ARN.match(text):
            self.problem(node.line, f"notifications: {text!r} is not the ARN of an SNS topic")
        return text

    def filters(self, node: Node | None, what: str) -> dict[str, tuple[str, ...]]:
        entries = self.entries(node, what) if node is not None else ()
        return {
            name: tuple(text for text, _ in self.texts(value, f"{what}: {name}"))
            for name, _, value in entries
        }

    def macros(self, node: Node | None) -> dict[str, Macro]:
        found = {}
        for name, line, value in self.entries(node, "macros") if node is not None else ():
            self.name(name, line, "macro")
            values = self.keys(value, MACRO_KEYS, f"macro {name}")
            parameters = self.texts(values.get("parameters"), "parameters")
            for parameter, at in parameters:
                self.name(parameter, at, "parameter")
            found[name] = Macro(
                name,
                tuple(parameter for parameter, _ in parameters),
                self.text(values.get("sql"), "sql"),
                self.text(values.get("doc"), "doc"),
            )
        return found

    def templates(self, node: Node | None, tables: Mapping[str, Table]) -> dict[str, str]:
        found = {}
        objects = [uri for table in tables.values() for uri in table.objects]
        for name, line, value in self.entries(node, "keys") if node is not None else ():
            text = self.text(value, f"keys: {name}")
            try:
                KeyTemplate(text)
            except ValueError as error:
                self.problem(line, f"keys: {name}: {error}")
            bucket = "/".join(text.split("/")[:3]) + "/"
            if not any(uri.startswith(bucket) for uri in objects):
                self.problem(line, f"keys: {name}: no table has objects in {bucket}",
                             "name them under objects: of a table")  # fmt: skip
            found[name] = text
        return found

    def populations(self, node: Node | None) -> tuple[Population, ...]:
        """Super-populations first, then the populations, both in file order."""
        supers: list[Population] = []
        below: list[Population] = []
        for code, _, value in self.entries(node, "populations") if node is not None else ():
            values = self.keys(value, POPULATION_KEYS, f"populations: {code}")
            supers.append(Population(code, self.text(values.get("name"), f"{code}: name")))
            inner = values.get("populations")
            for part, line, name in self.entries(inner, code) if inner is not None else ():
                if part in {p.code for p in (*supers, *below)}:
                    self.problem(line, f"populations: {part!r} is there already")
                below.append(Population(part, self.text(name, part), code))
        return (*supers, *below)

    def tables(
        self, node: Node | None, dataset: str, assembly: str, populations: tuple[Population, ...]
    ) -> dict[str, Table]:
        tables = {}
        for name, line, value in self.entries(node, "tables") if node is not None else ():
            self.name(name, line, "table")
            tables[name] = self.table(value, dataset, name, assembly, populations)
            if tables[name].index and not self.is_index(tables, tables[name]):
                what = (
                    f"table {name}: index {tables[name].index!r} is no table of objects before it"
                )
                self.problem(line, what)
        if node is not None and not tables:
            self.problem(node.line, "tables: there is none")
        return tables

    def is_index(self, tables: Mapping[str, Table], table: Table) -> bool:
        """Whether the index of a virtual table is a table of the same format that stands before."""
        found = tables.get(table.index)
        return found is not None and not found.index and found.format == table.format

    def table(
        self,
        node: Node,
        dataset: str,
        name: str,
        assembly: str,
        populations: tuple[Population, ...],
    ) -> Table:
        values = self.keys(node, TABLE_KEYS, f"table {name}")
        columns = self.columns(values.get("columns"), name, populations)
        given = self.texts(values.get("objects"), "objects")
        objects = tuple(self.uri(uri, line, "objects") for uri, line in given)
        region = self.text(values.get("region"), "region")
        if not region and any(uri.startswith("s3://") for uri in objects):
            self.problem(values["objects"].line, f"table {name}: s3:// objects without region",
                         "add region: (of the bucket)")  # fmt: skip
        known = [column.name for column in columns]
        query = self.origin(values, node, name)
        access = self.choice(values.get("access"), "access", get_args(Access))
        replace = self.choice(values.get("replace"), "replace", get_args(Replace))
        return Table(
            dataset=dataset,
            name=name,
            doc=self.text(values.get("doc"), "doc"),
            format=self.format(values.get("format")),
            columns=columns,
            assembly=self.text(values.get("assembly"), "assembly") or assembly,
            objects=objects,
            region=region,
            access=cast("Access", access),
            partition_by=self.column_names(values.get("partition_by"), "partition_by", known),
            sort_by=self.column_names(values.get("sort_by"), "sort_by", known),
            replace=cast("Replace", replace),
            options=self.options(values.get("options")),
            query=query,
            index=self.text(values.get("index"), "index"),
        )

    def origin(self, values: Mapping[str, Node], node: Node, name: str) -> str:
        """The query of a slice, "" for a table of a format; a table has one of the two."""
        if ("format" in values) == ("query" in values):
            what = "format and query exclude each other" if "format" in values else "no format"
            hint = "format: of its raw objects, or query: that it keeps the answer of"
            self.problem(node.line, f"table {name}: {what}", hint)
        for key in ("objects", "partition_by", "region", "access", "replace"):
            if "query" in values and key in values:
                self.problem(values[key].line, f"table {name}: a query has no {key}")
        return self.text(values.get("query"), "query")

    def format(self, node: Node | None) -> str:
        name = self.text(node, "format")
        if node is None or not name:
            return name
        self.name(name, node.line, "format")
        if self.formats is not None and name not in self.formats:
            self.problem(node.line, f"no format named {name!r}", nearest(name, self.formats))
        return name

    def column_names(self, node: Node | None, what: str, known: Sequence[str]) -> tuple[str, ...]:
        names = self.texts(node, what)
        for name, line in names:
            if name and name not in known:
                self.problem(line, f"{what}: no column {name!r}", nearest(name, known))
        return tuple(name for name, _ in names)

    def options(self, node: Node | None) -> dict[str, str]:
        entries = self.entries(node, "options") if node is not None else ()
        return {name: self.text(value, name) for name, _, value in entries}

    # Columns

    def columns(
        self, node: Node | None, table: str, populations: tuple[Population, ...]
    ) -> tuple[Column, ...]:
        """The columns in storage order, with templates expanded.

        Neighbouring templates of one kind are repeated together: ac_afr, an_afr, ac_amr, an_amr.
        """
        done: dict[str, Column] = {}
        run: list[tuple[Column, int]] = []
        kind = ""
        for name, line, value in self.entries(node, "columns") if node is not None else ():
            column = self.column(name, line, value)
            found = "".join(_PLACEHOLDER.findall(name))
            if run and found != kind:
                self.expand(run, kind, populations, done)
                run = []
            kind = found
            run.append((column, line))
        if run:
            self.expand(run, kind, populations, done)
        if node is not None and not done:
            self.problem(node.line, f"table {table}: no columns")
        return tuple(done.values())

    def column(self, name: str, line: int, node: Node) -> Column:
        self.name(_PLACEHOLDER.sub("x", name), line, "column")
        values = self.keys(node, COLUMN_KEYS, f"column {name}")
        return Column(
            name=name,
            type=self.type_(values.get("type"), name),
            doc=self.text(values.get("doc"), "doc"),
            unit=self.text(values.get("unit"), "unit"),
            source=self.text(values.get("source"), "source"),
        )

    def type_(self, node: Node | None, column: str) -> str:
        text = self.text(node, f"column {column}: type")
        if node is None or not text:
            return text
        try:
            return str(types.parse(text))
        except ValueError as error:
            word = re.split(r"[^a-z0-9]", text.lower())[0]
            hint = nearest(word, (*types.PRIMITIVES, "decimal", "list", "struct"))
            self.problem(node.line, f"column {column}: {error}", hint)
            return text

    def expand(
        self,
        run: Sequence[tuple[Column, int]],
        placeholder: str,
        populations: Sequence[Population],
        done: dict[str, Column],
    ) -> None:
        """Add the columns of a run of templates (or of plain columns) to `done`."""
        who: Sequence[Population | None] = [None]
        if placeholder == "{population}":
            who = populations
        elif placeholder == "{super_population}":
            who = [p for p in populations if not p.super_population]
        elif placeholder:
            self.problem(run[0][1], f"unknown placeholder {placeholder}",
                         nearest(placeholder, ("{population}", "{super_population}")))  # fmt: skip
            return
        if not who:
            self.problem(run[0][1], f"{placeholder} needs populations", "add populations: above")
        for population in who:
            for template, line in run:
                column = template if population is None else _filled(template, population)
                if column.name in done:
                    self.problem(line, f"column {column.name!r} is there already")
                done[column.name] = column


def _filled(template: Column, population: Population) -> Column:
    lower = population.code.lower()
    words: Mapping[str, str] = {
        "{population}": lower,
        "{super_population}": lower,
        "{code}": population.code,
        "{name}": population.name,
    }
    name, doc, source = template.name, template.doc, template.source
    for word, value in words.items():
        name, doc, source = (text.replace(word, value) for text in (name, doc, source))
    return Column(name, template.type, doc, template.unit, source)


def nearest(name: str, known: Collection[str]) -> str:
    """What to say to someone who wrote `name` where one of `known` is valid."""
    close = get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else f"choose from: {', '.join(known)}"
