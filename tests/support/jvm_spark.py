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
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
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
def jvm_server(folder: Path, *conf: str, master: str = "local[2]") -> Iterator[str]:
    """A Spark Connect server; yields its address."""
    home = spark_home()
    assert home is not None
    port = _free_port()
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
    command = [str(home / "bin" / "spark-submit"), "--class", MAIN, "--master", master]
    command += ["--driver-memory", "2g"]
    command += [part for option in options for part in ("--conf", option)]
    with _started([*command, "spark-internal"], folder, folder / "spark.log", port):
        yield f"sc://127.0.0.1:{port}"


@dataclass(frozen=True)
class JvmWorker:
    """A worker of a standalone cluster: a process, whose executors are its children."""

    process: subprocess.Popen[bytes]
    folder: Path

    def tasks(self) -> int:
        """How many tasks its executors have begun."""
        logs = self.folder.glob("app-*/*/stderr")
        return sum(log.read_text().count("Running task") for log in logs)

    def kill(self) -> None:
        """End it and its executors at once."""
        os.killpg(self.process.pid, 9)


@contextmanager
def jvm_cluster(folder: Path, count: int = 2) -> Iterator[tuple[str, list[JvmWorker]]]:
    """A standalone cluster: a master, workers and a Connect server, each a process of its own."""
    home = spark_home()
    assert home is not None
    port, start = _free_port(), [str(home / "bin" / "spark-class")]
    master = [*start, "org.apache.spark.deploy.master.Master", "--host", "127.0.0.1"]
    master += ["--port", str(port), "--webui-port", "0"]
    with ExitStack() as stack:
        stack.enter_context(_started(master, folder, folder / "master.log", port))
        workers = []
        for number in range(count):
            work = folder / f"work-{number}"
            command = [*start, "org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1"]
            command += ["--cores", "1", "--memory", "1g", "--work-dir", str(work)]
            command += ["--webui-port", "0", f"spark://127.0.0.1:{port}"]
            log = folder / f"worker-{number}.log"
            workers.append(JvmWorker(stack.enter_context(_started(command, folder, log)), work))
        one_core = ("spark.executor.memory=512m", "spark.sql.shuffle.partitions=8")
        address = f"spark://127.0.0.1:{port}"
        yield stack.enter_context(jvm_server(folder, *one_core, master=address)), workers


@contextmanager
def _started(
    command: list[str], folder: Path, log: Path, port: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process of Spark in a group of its own, waited for until it listens at `port`."""
    home = spark_home()
    environ = {**os.environ, "SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1", "TZ": "UTC"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["bash", *command], env=environ, cwd=folder, stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip
    try:
        until = time.monotonic() + START_S
        while port is not None and not _listens(port):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(log.read_text()[-2000:])
            time.sleep(0.5)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
