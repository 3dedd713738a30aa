"""Writes the reference pages that follow from the code: tables, catalog schema, command line.

python docs/generate.py          writes them
python docs/generate.py --check  says which are out of date, and fails if any is
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from inspect import cleandoc
from pathlib import Path

import click

from lakeq import catalog, config, types
from lakeq.catalog import Dataset, Table, schema
from lakeq.catalog import yaml as limits
from lakeq.cli import cli
from lakeq.dialect import functions

REFERENCE = Path(__file__).parent / "reference"
WRITTEN = "<!-- Written by docs/generate.py; edit {source} instead. -->\n\n"


def tables() -> str:
    """The page of every dataset's tables and columns."""
    folder = config.data_dir("catalogs")
    datasets = [catalog.check(path) for path in sorted(folder.glob(f"*{catalog.SUFFIX}"))]
    head = WRITTEN.format(source="catalogs/*.yaml") + (
        "# Tables\n\nEvery dataset that comes with lakeq, its tables and their columns. "
        "Every column may be NULL. Every table also has `_source`, the URI of the object that "
        "a row comes from. Types: [catalog schema](catalog-schema.md#types).\n"
    )
    return head + "".join(_dataset(dataset) for dataset in datasets)


def _dataset(dataset: Dataset) -> str:
    facts = {
        "Licence": dataset.license,
        "Citation": dataset.citation,
        "Homepage": f"<{dataset.homepage}>",
        "Assembly": dataset.assembly,
        "Panel": f"<{dataset.panel}>" if dataset.panel else "",
        "Keys": "<br>".join(f"`{name}`: `{text}`" for name, text in dataset.keys.items()),
        "Never ingested": ", ".join(f"`{glob}`" for glob in dataset.skip),
        "Notifications": ", ".join(f"`{topic}`" for topic in dataset.notifications),
    }
    parts = [f"\n## {dataset.name}\n\n{dataset.title}\n\n{dataset.doc}\n\n", _facts(facts)]
    if dataset.populations:
        rows = [(f"`{p.code}`", p.name, p.super_population) for p in dataset.populations]
        parts.append("\n" + _grid(("Code", "Population", "Super-population"), rows))
    return "".join([*parts, *(_table(table) for table in dataset.tables.values())])


def _table(table: Table) -> str:
    facts = {
        "Format": f"`{table.format}`" if table.format else "",
        "Kept from": f"the query `{table.query}` by `lakeq refresh`" if table.query else "",
        "Assembly": table.assembly,
        "Objects": _objects(table.objects),
        "Access": ", ".join(filter(None, (table.access.replace("_", " "), table.region)))
        if table.format
        else "",
        "Partitioned by": ", ".join(f"`{name}`" for name in table.partition_by),
        "Sorted by": ", ".join(f"`{name}`" for name in table.sort_by),
        "Ingesting again": {
            "source": "replaces the rows of the same object",
            "table": "replaces the whole table",
        }[table.replace]
        if table.format
        else "",
    }
    columns = [(f"`{c.name}`", f"`{c.type}`", c.unit, c.doc) for c in table.columns]
    return f"\n### {table.qualified}\n\n{table.doc}\n\n{_facts(facts)}\n" + _grid(
        ("Column", "Type", "Unit", "Meaning"), columns
    )


def _objects(objects: Sequence[str]) -> str:
    """All objects, or the first and the last of many."""
    shown = (
        objects if len(objects) <= 4 else (objects[0], f"… {len(objects)} in all …", objects[-1])
    )
    return "<br>".join(f"`{uri}`" if "://" in uri else uri for uri in shown)


def catalog_schema() -> str:
    """The page of the keys of a catalog file."""
    sections = {
        "Dataset": ("The keys of the file.", schema.DATASET_KEYS),
        "Notifications": ("Of a topic that is given as a mapping.", schema.TOPIC_KEYS),
        "Populations": ("Of each super-population, by its code.", schema.POPULATION_KEYS),
        "Macros": ("Of each function of the dataset's queries.", schema.MACRO_KEYS),
        "Tables": ("Of each table, by its name.", schema.TABLE_KEYS),
        "Columns": (_COLUMNS, schema.COLUMN_KEYS),
    }
    head = WRITTEN.format(source="lakeq/catalog/schema.py") + "# Catalog schema\n\n" + _INTRODUCTION
    parts = [f"\n## {name}\n\n{text}\n\n{_keys(keys)}" for name, (text, keys) in sections.items()]
    return head + "".join(parts) + _types()


_INTRODUCTION = f"""\
A dataset is one YAML file, `NAME{catalog.SUFFIX}`, in `catalogs/` or in a folder that the setting
`catalogs` names. `lakeq catalog check FILE` tells every problem of a file with its line and the
nearest valid name. An unknown key, a key that stands twice, a key that is missing and a value of
another kind are errors: text that YAML takes for a number, a truth value, a date or nothing is
put in quotes.

Nothing in a file is expanded or run: no tags, no environment variables, no `~`, no merge keys. A
file has at most {catalog.MAX_BYTES >> 20} MiB, {limits.MAX_DEPTH} levels, {limits.MAX_ALIASES}
aliases and {limits.MAX_NODES:,} values after aliases are followed.

Names have small letters, digits and `_`, start with a letter and have at most 63 characters;
those that start with `_` are lakeq's own.
"""

_COLUMNS = """Of each column, by its name. A name with `{population}` is a template: it stands for
one column of each super-population and then of each population; `{super_population}` for
super-populations only. In the name they become the code in small letters; in `doc` and `source`,
`{code}` and `{name}` become the code and the name. Neighbouring templates are repeated together:
`ac_afr`, `an_afr`, `ac_amr`, `an_amr`, …"""


def _types() -> str:
    writings = (
        *types.PRIMITIVES,
        "decimal(7, 4)",
        "list<int32>",
        "struct<name: string, dp: int32>",
    )
    meanings = {
        "date": "a day",
        "timestamp": "microseconds, UTC",
        "decimal(7, 4)": "exact: 7 digits, 4 of them after the point; at most 38",
        "list<int32>": "any length; the element is any type",
        "struct<name: string, dp: int32>": "named parts of any type",
    }
    rows = [
        (
            f"`{text}`",
            f"`{types.to_duckdb(text)}`",
            f"`{types.to_arrow(text)}`",
            meanings.get(text, ""),
        )
        for text in writings
    ]
    return "\n## Types\n\n" + _grid(("Type", "DuckDB", "Arrow", "Meaning"), rows)


def _keys(keys: Iterable[schema.Key]) -> str:
    rows = [(f"`{k.name}`", k.value, "yes" if k.required else "", k.doc) for k in keys]
    return _grid(("Key", "Value", "Required", "Meaning"), rows)


def _facts(facts: Mapping[str, str]) -> str:
    return _grid(("", ""), [(name, value) for name, value in facts.items() if value])


def _grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    """Text that stays one cell: a bar would end it, a bare < would begin markup."""
    if "`" not in text and "<br>" not in text and not text.startswith("<http"):
        text = text.replace("<", "&lt;").replace("*", "\\*")
    return text.replace("|", "\\|")


def command_line() -> str:
    """The page of the commands, from their own help."""
    context = click.Context(cli, info_name="lakeq")
    head = WRITTEN.format(source="lakeq/cli/*.py") + "# Command line\n\n" + _COMMAND_LINE
    shared = [o for o in cli.params if isinstance(o, click.Option) and o.name != "version"]
    parts = ["\n## Options of every command\n\n", _options(shared, context)]
    return head + "".join(parts) + "".join(_commands(cli, context, {o.name for o in shared}))


def _commands(
    group: click.Group, context: click.Context, known: Collection[str | None]
) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        plain = click.Context(click.Group(name), info_name=name, parent=context)
        below = _commands(command, plain, known) if isinstance(command, click.Group) else ()
        if isinstance(command, click.Group) and not command.invoke_without_command:
            yield from below
            continue
        text, _, examples = cleandoc(command.help or "").partition("\b\n")
        usage = " ".join([inner.command_path, *command.collect_usage_pieces(inner)])
        yield f"\n## {inner.command_path}\n\n```text\n{usage}\n```\n\n{text.strip()}\n\n"
        own = [o for o in command.params if isinstance(o, click.Option) and o.name not in known]
        yield (
            _options(own, inner) + "\n" if own else ""
        ) + f"```console\n{examples.strip()}\n```\n"
        yield from below


def _options(options: Iterable[click.Option], context: click.Context) -> str:
    records = [record for o in options if (record := o.get_help_record(context))]
    return _grid(("Option", "Meaning"), [(f"`{name}`", text) for name, text in records])


def portable_sql() -> str:
    """The page of what means the same on every engine."""
    head = WRITTEN.format(source="lakeq/dialect/functions.py") + _PORTABLE
    rows = []
    for function in functions.FUNCTIONS.values():
        written = [
            "refused"
            if text.startswith("!")
            else "by a rule"
            if text.startswith("@")
            else f"`{text}`"
            for text in (function.spark, function.trino)
        ]
        call = function.example or f"{function.name}(…)"
        rows.append((f"`{function.name}`", f"`{call}`", *written))
    instead = [(f"`{name}`", text) for name, text in sorted(functions.INSTEAD.items())]
    return (
        head
        + _grid(("Function", "For example", "Spark", "Athena"), rows)
        + "\n## Instead of others\n\n"
        + _grid(("Not portable", "Write"), instead)
    )


_PORTABLE = """\
# SQL on every engine

DuckDB's SQL is lakeq's. On Spark and Athena a query gives the same rows in the same order, with
the same NULLs, names and types, or it is refused before anything is read, with the nearest form
that is portable: [decision 0090](../adr/0090-engines.md). Everything here runs on DuckDB and on
Spark in the tests. The functions that translations use are those of Spark 4.2 and of Trino's
documentation at commit 01e94c03cffc; Athena is engine version 3, which follows Trino.

Portable: SELECT with joins (also SEMI, ANTI, USING), subqueries, CTEs, UNION (also BY NAME),
INTERSECT, EXCEPT, GROUP BY (also ALL, CUBE, ROLLUP, GROUPING SETS), FILTER, HAVING, QUALIFY,
DISTINCT ON, windows, ORDER BY (also ALL, NULLS FIRST), LIMIT, stars with EXCLUDE and REPLACE,
aliases used again, lambdas, lists, structs, unnest in SELECT and FROM, parameters.

Refused elsewhere than on DuckDB: ASOF and POSITIONAL joins, LATERAL, PIVOT, UNPIVOT, TABLESAMPLE,
COLLATE, COLUMNS(…), WITH RECURSIVE, DESCRIBE, SUMMARIZE, maps, JSON, list comprehensions, AT TIME
ZONE, casts of floats, times and lists to text, regular expressions that are not written out or
that RE2 and Java read in two ways.

Rows of equal keys come in any order, on any engine: an ORDER BY that leaves no ties gives the
same order everywhere.

## Functions

"By a rule": what is written depends on types or on written values.

"""

_COMMAND_LINE = """\
Rows go to standard output, everything else to standard error. Exit codes: [exit
codes](exit-codes.md). Settings may also come from the environment and from files; `lakeq config
show --origin` says which is in force. `NO_COLOR` and `LAKEQ_DEBUG` (shows tracebacks) are heeded.
"""

PAGES: Mapping[str, Callable[[], str]] = {
    "tables.md": tables,
    "catalog-schema.md": catalog_schema,
    "cli.md": command_line,
    "portable-sql.md": portable_sql,
}


def stale() -> list[str]:
    """The pages whose file is not what the code says."""
    files = {name: REFERENCE / name for name in PAGES}
    return [name for name, path in files.items() if not _says(path, PAGES[name]())]


def _says(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or with --check say which are out of date."""
    if arguments == ["--check"]:
        for name in stale():
            print(f"docs/reference/{name} is out of date: run python docs/generate.py")
        return int(bool(stale()))
    REFERENCE.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
