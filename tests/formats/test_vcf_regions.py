"""Regions through .tbi and .csi, and samples, against bcftools view."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import lakeq
from lakeq.errors import BadSource, NotFound, UsageError
from lakeq.formats import ReadContext, ReadOptions, _tabix, vcf
from lakeq.formats._vcf_select import END, Region, open_text, parse_region
from lakeq.storage import SourceObject, local_source
from tests.support import bcftools
from tests.support.counting_server import counting_server
from tests.support.data import real_file
from tests.support.vcf import memory, text

PHASE3 = "genomics/thousand_genomes/phase3.chr22_16050075_16499957.vcf.gz"
GVCF = "genomics/callers/gatk3.4.CEUTrio.20.21.g.vcf.bgz"
REGIONS = ("22:16,100,000-16,120,000", "22:16499957", "22:16050075-", "22:1-1000", "22", "21")


class Counted:
    """A reader that counts the bytes it gives."""

    def __init__(self, source: SourceObject) -> None:
        self.source, self.sent = source, 0

    def open(self):  # type: ignore[no-untyped-def]  # must not be used
        raise AssertionError("the whole object is read")

    def read_range(self, offset: int, length: int) -> bytes:
        self.sent += length
        return self.source.read_range(offset, length)


def lines(
    path: Path,
    regions: tuple[str, ...],
    samples: tuple[str, ...] | None = None,
    *,
    whole: bool = False,
) -> tuple[list[str], int]:
    """The records of some regions, and how many raw bytes were read for them."""
    source = local_source(path)
    counted = Counted(source)
    given = source if whole else SourceObject(source.uri, source.size_bytes, "1", counted)
    options = ReadOptions(regions=regions, samples=samples)
    context = ReadContext(None, path.parent, options=options, other=opened)  # type: ignore[arg-type]  # not asked
    part = open_text(given, context, "GRCh37")
    data = b"".join(bytes(chunk[:size]) for chunk, size in part.chunks())
    return [line for line in data.decode().split("\n") if line], counted.sent


def opened(uri: str) -> SourceObject:
    path = Path(uri.removeprefix("file://"))
    if not path.exists():
        raise NotFound("no index", uri)
    return local_source(path)


@pytest.fixture(params=["--tbi", "--csi"])
def indexed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = Path(shutil.copy(real_file(PHASE3), tmp_path / "a.vcf.gz"))
    bcftools.run("index", request.param, path)
    return path


@pytest.mark.parametrize("region", REGIONS)
def test_records_of_a_region_equal_bcftools(indexed: Path, region: str) -> None:
    found, sent = lines(indexed, (region,))
    expected = bcftools.run("view", "-H", "-r", region.replace(",", ""), indexed).splitlines()
    assert found == expected
    if region == REGIONS[0]:
        assert 100 < len(found) < 400
        assert sent < indexed.stat().st_size / 3


def test_records_that_reach_into_a_region_belong_to_it(tmp_path: Path) -> None:
    path = Path(shutil.copy(real_file(GVCF), tmp_path / "g.vcf.gz"))
    bcftools.run("index", path)
    block = bcftools.query(path, "%CHROM\t%POS\t%END")[700]
    region = f"{block[0]}:{int(block[2])}-{int(block[2]) + 50}"
    found, _ = lines(path, (region,))
    assert [line.split("\t")[1] for line in found] == [
        row[0] for row in bcftools.query_region(path, "%POS", region)
    ]


def test_regions_of_bcf_equal_those_of_its_vcf(tmp_path: Path) -> None:
    vcf_, bcf = tmp_path / "a.vcf.gz", tmp_path / "a.bcf"
    bcftools.run("view", "-Oz", "-o", vcf_, real_file(GVCF))
    bcftools.run("view", "-Ob", "-o", bcf, real_file(GVCF))
    for path in (vcf_, bcf):
        bcftools.run("index", path)
    region = ("20:10,000,000-10,010,000",)
    sites = [[line.split("\t")[:5] for line in lines(path, region)[0]] for path in (vcf_, bcf)]
    assert sites[0] == sites[1]
    assert len(sites[0]) > 5


def test_several_regions_give_each_record_once(indexed: Path) -> None:
    found, _ = lines(indexed, ("22:16100000-16101000", "22:16100500-16102000"))
    once, _ = lines(indexed, ("22:16100000-16102000",))
    assert found == once


def test_without_an_index_the_object_is_read_and_filtered(tmp_path: Path) -> None:
    path = Path(shutil.copy(real_file(PHASE3), tmp_path / "a.vcf.gz"))
    region = "22:16100000-16101000"
    found, _ = lines(path, (region,), whole=True)
    assert found == bcftools.run("view", "-H", "-t", region, path).splitlines()


def test_samples_are_those_of_bcftools(indexed: Path) -> None:
    names = ("HG00097", "NA21144")
    found, _ = lines(indexed, ("22:16100000-16101000",), names)
    command = ["view", "-H", "-I", "-s", ",".join(names), "-r", "22:16100000-16101000"]
    assert found == bcftools.run(*command, indexed).splitlines()


def test_a_sample_that_is_not_there_is_named(indexed: Path) -> None:
    with pytest.raises(NotFound, match="no sample 'HG0'"):
        lines(indexed, (), ("HG0",), whole=True)


@pytest.mark.parametrize(
    ("given", "region"),
    [
        ("22:16,050,000-17,000,000", Region("22", 16050000, 17000000)),
        ("22:5", Region("22", 5, 5)),
        ("22:5-", Region("22", 5, END)),
        ("X", Region("X", 1, END)),
        ("HLA-A*01:01:100-200", Region("HLA-A*01:01", 100, 200)),
    ],
)
def test_regions_are_written_as_elsewhere(given: str, region: Region) -> None:
    assert parse_region(given) == region


@pytest.mark.parametrize("given", ["", "22:9-5"])
def test_what_is_no_region_is_told(given: str) -> None:
    with pytest.raises(UsageError):
        parse_region(given)


def test_line_numbers_stay_those_of_the_file() -> None:
    source = memory(text(["1 5 . A C . PASS .", "1 9 . A C bad PASS ."]))
    options = ReadOptions(regions=("1:9",))

    def nothing(uri: str) -> SourceObject:
        raise NotFound("no index", uri)

    from lakeq import catalog

    dataset = catalog.load().dataset("thousand_genomes")
    context = ReadContext(dataset, Path(), options=options, other=nothing)
    with pytest.raises(BadSource) as caught:
        list(vcf.read(source, {"variants": dataset.tables["variants"]}, context))
    assert caught.value.where == "memory.vcf, line 4, QUAL"


@pytest.mark.parametrize("cut", [3, 9, 40, 200])
def test_a_damaged_index_is_refused(indexed: Path, cut: int) -> None:
    import gzip

    path = next(p for p in indexed.parent.iterdir() if p.suffix in (".tbi", ".csi"))
    data = gzip.decompress(path.read_bytes())
    with pytest.raises(BadSource):
        _tabix.read_index(memory(gzip.compress(data[: len(data) - cut if cut > 9 else cut]), "i"))


def test_over_s3_only_the_bytes_of_the_region_are_sent(tmp_path: Path) -> None:
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    path = Path(shutil.copy(real_file(PHASE3), bucket / "a.vcf.gz"))
    bcftools.run("index", "--tbi", path)
    with counting_server(tmp_path) as server:
        lake = lakeq.connect(tmp_path / "lake", s3_endpoint_url=server.url, s3_anon=True)
        region = "22:16,100,000-16,120,000"
        uri = "s3://bucket/a.vcf.gz"
        done = lake.ingest("thousand_genomes.variants", [uri], panel="", region=region)
        sent = server.sent
    expected = bcftools.query_region(path, "%ALT", "22:16100000-16120000")
    assert done.rows == {"thousand_genomes.variants": sum(r[0].count(",") + 1 for r in expected)}
    assert sent < path.stat().st_size / 2  # header twice, index, blocks of the region and one more
