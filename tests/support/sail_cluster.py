"""Sail as a cluster: a driver and workers that are processes, so that one of them can be killed.

Sail starts worker processes by Kubernetes alone; its local cluster is threads of one process
(docs/adr/0097-workers-of-spark.md). So a small server stands in for the API of Kubernetes: a pod
that is created is a process of this machine, begun as the pod's container would be. API:
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lakeq.engines._sail import SAIL

START_S = 60
CLOCK = os.sysconf("SC_CLK_TCK")
CLUSTER = {
    "SAIL_MODE": "kubernetes-cluster",
    "SAIL_CLUSTER__WORKER_INITIAL_COUNT": "2",
    "SAIL_CLUSTER__WORKER_TASK_SLOTS": "2",  # so that both have work
    "SAIL_CLUSTER__WORKER_HEARTBEAT_INTERVAL_SECS": "1",
    "SAIL_CLUSTER__WORKER_HEARTBEAT_TIMEOUT_SECS": "3",  # 120 unless it is set
    "SAIL_EXECUTION__DEFAULT_PARALLELISM": "4",
}


@dataclass
class SailCluster:
    """The address of the driver, and the workers that it has started until now."""

    remote: str
    log: Path
    workers: list[Worker] = field(default_factory=list)

    def at_work(self, least_s: float = 0.2, timeout_s: float = 60) -> Worker:
        """A worker that has run tasks for so many seconds of processor time."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            for worker in list(self.workers):
                if worker.worked_s() >= least_s:
                    return worker
            time.sleep(0.01)
        raise AssertionError("no worker of Sail came to work")


@dataclass
class Worker:
    """One process of `sail worker`."""

    process: subprocess.Popen[bytes]
    log: Path
    began_s: float | None = None

    def worked_s(self) -> float:
        """Processor time since it was ready; 0 when it is not, or has ended."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0
        if fields[0] == "Z" or "is ready" not in self.log.read_text():
            return 0
        now = (int(fields[11]) + int(fields[12])) / CLOCK
        if self.began_s is None:
            self.began_s = now
        return now - self.began_s


@contextmanager
def sail_cluster(folder: Path, environ: Mapping[str, str]) -> Iterator[SailCluster]:
    """A driver whose workers are processes; `environ` says how both reach S3."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "SAIL_"))}
    found = SailCluster(f"sc://127.0.0.1:{port}", folder / "driver.log")
    kubernetes = _Kubernetes(found, folder, {**kept, **SAIL, **environ})
    config = folder / "kubeconfig"
    config.write_text(json.dumps(_config(f"http://127.0.0.1:{kubernetes.server_port}")))
    given = {**kept, **SAIL, **environ, **CLUSTER, "KUBECONFIG": str(config), "RUST_LOG": "info"}
    command = [sys.executable, "-m", "pysail", "spark", "server", "--port", str(port)]
    with found.log.open("wb") as log:
        driver = subprocess.Popen(command, env=given, stdout=log, stderr=log)
    try:
        until = time.monotonic() + START_S
        while not _listens(port):
            if driver.poll() is not None or time.monotonic() > until:
                raise RuntimeError(found.log.read_text()[-2000:])
            time.sleep(0.05)
        yield found
    finally:
        driver.kill()
        driver.wait()
        kubernetes.shutdown()
        kubernetes.server_close()
        for worker in found.workers:
            worker.process.kill()
            worker.process.wait()


class _Kubernetes(ThreadingHTTPServer):
    """The part of the API that Sail uses: pods are created one by one and deleted together."""

    daemon_threads = True

    def __init__(self, cluster: SailCluster, folder: Path, environ: Mapping[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.cluster, self.folder, self.environ = cluster, folder, environ
        self.pods: dict[str, tuple[str, Worker]] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def create(self, pod: dict[str, Any]) -> None:
        """Begin the process of a pod's one container; fields of the pod's status are its host."""
        name, labels = pod["metadata"]["name"], pod["metadata"]["labels"]
        container = pod["spec"]["containers"][0]
        assert container["command"] == ["sail"]
        given = {e["name"]: e.get("value", "127.0.0.1") for e in container["env"]}
        log = self.folder / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "pysail", *container["args"]],
                env={**self.environ, **given},
                stdout=out,
                stderr=out,
            )
        worker = Worker(process, log)
        self.pods[name] = (labels["sail.lakesail.com/worker-manager"], worker)
        self.cluster.workers.append(worker)

    def delete(self, path: str) -> None:
        """End the pods of the worker manager that the label selector names."""
        for owner, worker in self.pods.values():
            if owner in path:
                worker.process.kill()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Kubernetes

    def do_POST(self) -> None:
        pod = json.loads(self._body())
        self.server.create(pod)
        self._answer(201, pod)

    def do_DELETE(self) -> None:
        self._body()
        self.server.delete(self.path)
        self._answer(200, {"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": []})

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, body: Mapping[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _config(url: str) -> dict[str, Any]:
    """A kubeconfig of one cluster without credentials."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "nobody"}}],
        "clusters": [{"name": "here", "cluster": {"server": url}}],
        "users": [{"name": "nobody", "user": {}}],
    }


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
