"""Datasets of the user's own: a catalog from the headers of VCFs, widened by later ones."""

from __future__ import annotations

from pathlib import Path

import pytest

import lakeq
from lakeq import api, config
from lakeq.api import Lake
from lakeq.errors import BadSource, UsageError
from tests.support.vcf import text

DEFINED = {
    "DP": '##INFO=<ID=DP,Number=1,Type=Integer,Description="depth">',
    "AF": '##INFO=<ID=AF,Number=A,Type=Float,Description="frequency">',
    "MQ": '##INFO=<ID=MQ,Number=1,Type=Float,Description="mapping quality">',
    "FORMAT/DP": '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="depth">',
    "FORMAT/AD": '##FORMAT=<ID=AD,Number=R,Type=Integer,Description="depths">',
    "FORMAT/PL": '##FORMAT=<ID=PL,Number=G,Type=Integer,Description="likelihoods">',
}
CSQ = (
    '##INFO=<ID=CSQ,Number=.,Type=String,Description="Annotations. Format: Allele|SYMBOL|Amino_acid'
    's">'
)


def written(folder: Path, name: str, lines: list[str], *keys: str, samples: str = "S1 S2") -> Path:
    path = folder / name
    header = [DEFINED.get(key, key) for key in keys]
    path.write_bytes(text(lines, samples.split(), header))
    return path


def own(folder: Path, *files: Path) -> Lake:
    catalogs = folder / "catalogs"
    settings = config.load({"lake": folder / "lake", "catalogs": [str(catalogs)]})
    api.new_catalog(settings, "own", list(files), "vcf", catalogs, {})
    return lakeq.connect(folder / "lake", catalogs=[str(catalogs)])


def again(folder: Path) -> Lake:
    return lakeq.connect(folder / "lake", catalogs=[str(folder / "catalogs")])


def rows(lake: Lake, sql: str) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in lake.sql(sql).arrow().to_pylist()]


def test_fields_of_one_name_split_with_the_allele_in_both_tables(tmp_path: Path) -> None:
    line = "1 5 . A C,G . PASS DP=9;AF=0.1,0.2 GT:DP:AD:PL 0/1:4:1,2,3:0,1,2,3,4,5 0/0:5:.:."
    file = written(tmp_path, "a.vcf", [line], *DEFINED)
    lake = own(tmp_path, file)
    lake.ingest("own", [file])
    assert rows(lake, "select alt, info_dp, info_af from own.variants order by alt") == [
        ("C", 9, 0.1),
        ("G", 9, 0.2),
    ]
    found = rows(lake, "select sample, alt, dp, ad, pl, pl_all from own.entries order by 1, 2")
    assert found == [
        ("S1", "C", 4, [1, 2], [0, 1, 2], [0, 1, 2, 3, 4, 5]),
        ("S1", "G", 4, [1, 3], [0, 3, 5], [0, 1, 2, 3, 4, 5]),
        ("S2", "C", 5, None, None, None),
        ("S2", "G", 5, None, None, None),
    ]


def test_annotations_are_lists_of_structs(tmp_path: Path) -> None:
    file = written(tmp_path, "a.vcf", ["1 5 . A C . . CSQ=C|TP53|R/H,C||"], CSQ, samples="")
    lake = own(tmp_path, file)
    lake.ingest("own", [file])
    sql = "select c.symbol, c.amino_acids from own.variants, unnest(info_csq) as t(c)"
    assert rows(lake, sql) == [("TP53", "R/H"), (None, None)]


def test_what_does_not_fit_its_definition_is_kept_verbatim(tmp_path: Path) -> None:
    lines = ["1 5 . A C . . DP=many;AF=0.1,0.2;XX=1;YY", "1 6 . A C . . DP=nan;AF=inf"]
    file = written(tmp_path, "a.vcf", lines, "DP", "AF", samples="")
    lake = own(tmp_path, file)
    done = lake.ingest("own", [file])
    assert rows(lake, "select info_dp, info_af, info_rest from own.variants order by pos") == [
        (None, None, "DP=many;AF=0.1,0.2;XX=1;YY"),
        (None, None, "DP=nan;AF=inf"),
    ]
    assert done.notes["INFO/DP does not fit its definition: NULL, kept in info_rest"] == 2


def test_a_later_file_adds_its_fields(tmp_path: Path) -> None:
    first = written(tmp_path, "a.vcf", ["1 5 . A C . . DP=9"], "DP", samples="")
    lake = own(tmp_path, first)
    lake.ingest("own", [first])
    later = written(tmp_path, "b.vcf", ["1 7 . A C . . DP=1;MQ=60.5"], "DP", "MQ", samples="")
    again(tmp_path).ingest("own", [later])
    found = rows(again(tmp_path), "select pos, info_dp, info_mq from own.variants order by pos")
    assert found == [(5, 9, None), (7, 1, 60.5)]


def test_a_later_file_that_contradicts_is_refused_with_both_definitions(tmp_path: Path) -> None:
    first = written(tmp_path, "a.vcf", ["1 5 . A C . . DP=9"], "DP", samples="")
    lake = own(tmp_path, first)
    lake.ingest("own", [first])
    other = '##INFO=<ID=DP,Number=1,Type=Float,Description="depth">'
    later = written(tmp_path, "b.vcf", ["1 7 . A C . . DP=1.5"], other, samples="")
    with pytest.raises(BadSource) as caught:
        again(tmp_path).ingest("own", [later])
    assert "Number=1, Type=Float" in caught.value.what
    assert "info_dp of own.variants is int32: 'DP (Number=1, Type=Integer)" in caught.value.what
    assert caught.value.where.endswith("b.vcf, line 2, INFO/DP")
    assert rows(again(tmp_path), "select count(*) from own.variants") == [(1,)]


def test_a_dry_run_leaves_the_catalog_as_it_is(tmp_path: Path) -> None:
    first = written(tmp_path, "a.vcf", ["1 5 . A C . . DP=9"], "DP", samples="")
    lake = own(tmp_path, first)
    before = (tmp_path / "catalogs/own.yaml").read_bytes()
    later = written(tmp_path, "b.vcf", ["1 7 . A C . . DP=1;MQ=60.5"], "DP", "MQ", samples="")
    lake.ingest("own", [later], dry_run=True)
    assert (tmp_path / "catalogs/own.yaml").read_bytes() == before


def test_a_catalog_is_not_written_over(tmp_path: Path) -> None:
    file = written(tmp_path, "a.vcf", ["1 5 . A C . . DP=9"], "DP", samples="")
    own(tmp_path, file)
    with pytest.raises(UsageError, match="there already"):
        own(tmp_path, file)


def test_new_samples_do_not_rewrite_the_cohort(tmp_path: Path) -> None:
    lines = ["1 5 . A C . . DP=9 GT 0/1 0/0"]
    first = written(tmp_path, "a.vcf", lines, "DP")
    lake = own(tmp_path, first)
    lake.ingest("own", [first], panel="")
    tables = ("variants", "genotypes", "calls", "entries")
    before = {table: data_files(lake, table) for table in tables}
    later = written(tmp_path, "b.vcf", lines, "DP", samples="S3 S4")
    again(tmp_path).ingest("own", [later], panel="")
    for table in tables:
        after = data_files(again(tmp_path), table)
        assert before[table] < after, table
    found = rows(again(tmp_path), "select sample, number from own.samples order by number")
    assert found == [("S1", 0), ("S2", 1), ("S3", 2), ("S4", 3)]


def data_files(lake: Lake, table: str) -> set[tuple[str, int]]:
    """Path and time of every data file of a table."""
    snapshot = lake.table(f"own.{table}").snapshot
    assert snapshot is not None
    paths = [Path(file.path.removeprefix("file://")) for file in snapshot.files]
    return {(str(path), path.stat().st_mtime_ns) for path in paths}
