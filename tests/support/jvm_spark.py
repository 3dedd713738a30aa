"""Spark itself on its own JVM, speaking Spark Connect: the reference where Spark and Trino agree.

It is not in the lock file: 450 MB. `SPARK_HOME` names a Spark 4 with `jars` and `bin`; the folder
`deps` of pyspark's source archive is one, and so is an installed `pyspark`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

MAIN = "org.apache.spark.sql.connect.service.SparkConnectServer"
START_S = 180


def spark_home() -> Path | None:
    """Where a whole Spark is that has Connect, or None."""
    found = find_spec("pyspark")
    homes = [
        os.environ.get("SPARK_HOME", ""),
        str(Path(found.origin).parent) if found and found.origin else "",
    ]
    for home in map(Path, filter(None, homes)):
        if any((home / "jars").glob("spark-connect_*.jar")):
            return home
    return None


def why_not() -> str:
    """Why it cannot run here; empty when it can."""
    if shutil.which("java") is None:
        return "no java on this machine"
    if spark_home() is None:
        return "no whole Spark with Connect: pip download pyspark, and set SPARK_HOME"
    return ""


@contextmanager
def jvm_server(folder: Path, *conf: str) -> Iterator[str]:
    """A Spark Connect server; yields its address."""
    home = spark_home()
    assert home is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = (
        f"spark.connect.grpc.binding.port={port}",
        "spark.connect.grpc.binding.address=127.0.0.1",
        "spark.driver.host=127.0.0.1",
        "spark.ui.enabled=false",
        "spark.sql.shuffle.partitions=2",
        f"spark.sql.warehouse.dir={folder}/warehouse",
        f"spark.local.dir={folder}",
        *conf,
    )
    command = ["bash", str(home / "bin" / "spark-submit"), "--class", MAIN, "--master", "local[2]"]
    command += ["--driver-memory", "2g"]
    command += [part for option in options for part in ("--conf", option)]
    log = (folder / "spark.log").open("wb")
    environ = {**os.environ, "SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1", "TZ": "UTC"}
    process = subprocess.Popen(
        [*command, "spark-internal"], env=environ, cwd=folder, stdout=log, stderr=log,
        start_new_session=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + START_S
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError((folder / "spark.log").read_text()[-2000:])
            time.sleep(0.5)
        yield f"sc://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 9)
        process.wait()
        log.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
