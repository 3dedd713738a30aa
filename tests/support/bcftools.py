"""bcftools as the independent reader: what it prints, as rows of text."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from shutil import which

from tests.support.required import missing


@cache
def executable() -> str:
    """Where bcftools is; skips the running test where it is not installed, and fails it in CI."""
    return which("bcftools") or missing("no bcftools on the PATH (apt-get install bcftools)")


def run(*arguments: str | Path) -> str:
    """What `bcftools ARGUMENTS` prints; its own words when it fails."""
    done = subprocess.run([executable(), *map(str, arguments)], capture_output=True, check=False)
    if done.returncode:
        words = done.stderr.decode("utf-8", "replace")
        raise AssertionError(f"bcftools {' '.join(map(str, arguments))}\n{words}")
    try:
        return done.stdout.decode("utf-8")
    except UnicodeDecodeError:  # bcftools copies the bytes of the file, whatever they are
        return done.stdout.decode("latin-1")


def query(
    path: Path, fields: str, samples: Sequence[str] = (), first: int | None = None
) -> list[list[str]]:
    r"""The rows of `bcftools query -f FIELDS`, split at tabs.

    query(path, "%CHROM\t%POS[\t%GT]") gives one row per record; `samples` limits the `[...]` part,
    `first` the records that are given back.
    """
    chosen = ["--samples", ",".join(samples)] if samples else []
    text = run("query", "--format", fields + "\n", *chosen, path)
    return [line.split("\t") for line in text.split("\n")[:-1][:first]]


def lines(path: Path, fields: str) -> Iterator[str]:
    """The lines of `bcftools query -f FIELDS` one by one, for more than fits in memory."""
    command = [executable(), "query", "--format", fields, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield from (line.rstrip("\n") for line in process.stdout)


def query_region(path: Path, fields: str, region: str) -> list[list[str]]:
    """The rows of `bcftools query -r REGION -f FIELDS`; needs the index."""
    text = run("query", "--regions", region, "--format", fields + "\n", path)
    return [line.split("\t") for line in text.splitlines()]


def normalised(path: Path, fields: str) -> list[list[str]]:
    """The rows of `query` after `bcftools norm -m -any`: one alternate allele a row.

    bcftools recounts nothing here: Number=A and Number=R fields are those of the allele.
    """
    split = subprocess.run(
        [executable(), "norm", "--multiallelics", "-any", "--output-type", "u", str(path)],
        capture_output=True,
        check=True,
    )
    text = subprocess.run(
        [executable(), "query", "--format", fields + "\n", "-"],
        input=split.stdout,
        capture_output=True,
        check=True,
    )
    return [line.split("\t") for line in text.stdout.decode().splitlines()]
