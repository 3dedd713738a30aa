"""What attacks aim at: real tables on disk and on S3, beside things that nobody may reach."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import lakeq
from lakeq.api import Lake
from lakeq.engines.duckdb import Engine
from tests.attacks.attacks import Attack, T
from tests.support.data import real_file
from tests.support.s3 import REGION, S3

CHR_MT = "genomics/thousand_genomes/ALL.chrMT.phase3_callmom-v0_4.20130502.genotypes.vcf.gz"
PANEL = "genomics/thousand_genomes/integrated_call_samples_plus31related.panel"
CLINVAR_2016 = "genomics/clinvar/clinvar_2016-11-28.GRCh37.full.tsv.gz"
OUTSIDE = "CANARY-OUTSIDE-7f3b9c"  # the content of what lies outside the lake
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIACANARYFENCE00000",
    "AWS_SECRET_ACCESS_KEY": "canary-fence-secret-key",
    "AWS_SESSION_TOKEN": "canary-fence-session-token",
    "AWS_DEFAULT_REGION": REGION,
}


@dataclass
class Listener:
    """A port of the loopback that counts who connects."""

    port: int
    connections: list[object] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextmanager
def listening() -> Iterator[Listener]:
    server = socket.create_server(("127.0.0.1", 0))
    state = Listener(server.getsockname()[1])

    def accept() -> None:
        while True:
            try:
                connection, address = server.accept()
            except OSError:
                return
            state.connections.append(address)
            connection.close()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield state
    finally:
        server.close()


@dataclass
class Target:
    """A lake under attack."""

    lake: Lake
    root: Path
    listener: Listener
    s3: S3
    bucket: str
    seen: dict[str, str] = field(default_factory=dict)  # the state when the last test ended

    def sql(self, attack: Attack) -> str:
        """The attack's text with this target's places in it."""
        data = self.data
        canary = self.root / "outside" / "canary.txt"
        places = {
            "T": T,
            "canary": str(canary),
            "folder": str(canary.parent),
            "up": "/".join([".."] * 12) + str(canary),
            "canarybracket": str(canary).replace("canary.txt", "[c]anary.txt"),
            "data": data,
            "dataglob": data.rpartition("/")[0] + "/*.parquet",
            "sibling": f"{data.rpartition('/')[0]}/sibling.parquet",
            "lake": str(self.lake.settings.lake),
            "catalog": str(self.lake.settings.lake / "catalog.db"),
            "out": str(self.root / "cwd" / "out"),
            "url": f"http://{self.listener.host}",
            "host": self.listener.host,
            "bucket": self.bucket,
        }
        text = attack.sql
        for name, value in places.items():
            text = text.replace("{" + name + "}", value)
        return text

    @property
    def data(self) -> str:
        """One data file of the table."""
        snapshot = self.lake.table(T).snapshot
        assert snapshot is not None
        return snapshot.files[0].path

    def engine(self) -> Engine:
        """An engine as lakeq makes it, for SQL that no guard has seen; DuckDB logs its files."""
        engine = Engine(self.lake.settings)
        engine.connection.execute("CALL enable_logging('FileSystem')")
        return engine

    def state(self) -> dict[str, str]:
        """Every file and object there is, with what shows that it was written to.

        All but the ledger, in which lakeq itself notes that a query was refused.
        """
        paths = (path for path in self.root.rglob("*") if not path.name.startswith("ledger.db"))
        found = ((path, path.stat()) for path in paths)
        files = {
            str(path): "" if path.is_dir() else f"{status.st_size} {status.st_mtime_ns}"
            for path, status in found
        }
        if self.lake.settings.warehouse == "":
            return files
        listed = self.s3.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return files | {item["Key"]: item["ETag"] for item in listed}


def _fill(lake: Lake) -> None:
    lake.ingest("thousand_genomes", [real_file(CHR_MT)], panel=real_file(PANEL))
    lake.ingest("clinvar", [real_file(CLINVAR_2016)])


@pytest.fixture(scope="session")
def listener() -> Iterator[Listener]:
    with listening() as listener:
        yield listener


@pytest.fixture(scope="session")
def real_lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """chrMT of 1000 Genomes and a ClinVar release, on disk."""
    lake = lakeq.connect(tmp_path_factory.mktemp("real") / "root" / "lake")
    _fill(lake)
    return lake


@pytest.fixture(scope="session")
def targets(
    real_lake: Lake, listener: Listener, s3: S3, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Target]:
    """The same tables on disk and on S3, each with a canary and a sibling file beside them."""
    bucket = s3.bucket()
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        remote = lakeq.connect(
            tmp_path_factory.mktemp("remote") / "root" / "lake",
            warehouse=f"s3://{bucket}/lake",
            s3_endpoint_url=s3.endpoint_url,
            s3_anon=False,
        )
        _fill(remote)
    for kind, lake in (("local", real_lake), ("s3", remote)):
        root = lake.settings.lake.parent
        for folder in ("outside", "cwd"):
            (root / folder).mkdir()
        (root / "outside" / "canary.txt").write_text(OUTSIDE + "\n")
        found[kind] = Target(lake, root, listener, s3, bucket)
        _sibling(found[kind])
    s3.put(bucket, "canary.txt", OUTSIDE.encode())
    return found


def _sibling(target: Target) -> None:
    """A Parquet file in the table's folder that no snapshot names."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = target.root / "outside" / "sibling.parquet"
    pq.write_table(pa.table({"x": [OUTSIDE]}), path)
    place = target.data.rpartition("/")[0] + "/sibling.parquet"
    if place.startswith("s3://"):
        split = urlsplit(place)
        target.s3.put(split.netloc, split.path.lstrip("/"), path)
    else:
        Path(place).write_bytes(path.read_bytes())


@pytest.fixture(params=["local", "s3"])
def target(
    request: pytest.FixtureRequest, targets: dict[str, Target], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Target]:
    """A target that must be as it was when the test ends, and that nobody was told of."""
    found = targets[request.param]
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(found.root / "cwd")
    before, calls = found.seen or found.state(), len(found.listener.connections)
    yield found
    found.seen = found.state()
    assert found.seen == before
    assert len(found.listener.connections) == calls


def opened(engine: Engine) -> set[str]:
    """Every path that the engine touched: by DuckDB's own log, and as lakeq served it."""
    lines = engine.connection.cursor().execute(
        "SELECT message FROM duckdb_logs WHERE type = 'FileSystem'"
    )
    paths = {json.loads(line)["path"] for (line,) in lines.fetchall()}
    served = {read.path for read in engine.access().reads}
    return served | {path for path in paths if not re.fullmatch(r"lakeq://\d+", path)}
