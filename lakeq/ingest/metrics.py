"""Metrics for Prometheus at http://127.0.0.1:PORT/metrics; needs the extra `ingest`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lakeq.errors import UsageError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

LAGS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)


class Metrics:
    """The counters of one worker; a listener of its `Tally`."""

    def __init__(self, dataset: str, depth: Callable[[], float] | None = None) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        except ImportError as error:
            hint = "pip install 'lakeq[ingest]'"
            raise UsageError("metrics need prometheus-client", "--metrics-port", hint) from error
        self.registry: CollectorRegistry = CollectorRegistry()
        labels = {"dataset": dataset}
        self._events = Counter(
            "lakeq_ingest_events",
            "Events by what became of them",
            ["dataset", "status"],
            registry=self.registry,
        )
        self._dataset = dataset
        self._lag = Histogram(
            "lakeq_ingest_lag_seconds",
            "From an event to its rows",
            ["dataset"],
            buckets=LAGS_S,
            registry=self.registry,
        ).labels(**labels)
        self._bytes = Counter(
            "lakeq_ingest_read_bytes", "Raw bytes read", ["dataset"], registry=self.registry
        ).labels(**labels)
        self._throttled = Counter(
            "lakeq_ingest_throttled",
            "Times that a service asked for less",
            ["dataset"],
            registry=self.registry,
        ).labels(**labels)
        if depth is not None:
            gauge = Gauge(
                "lakeq_ingest_in_flight", "Messages at work", ["dataset"], registry=self.registry
            )
            gauge.labels(**labels).set_function(depth)

    def event(self, status: str, lag_s: float | None) -> None:
        """What became of an event, and how long after it happened."""
        self._events.labels(dataset=self._dataset, status=status).inc()
        if lag_s is not None:
            self._lag.observe(lag_s)

    def bytes_read(self, amount: int) -> None:
        """Raw bytes were read."""
        self._bytes.inc(amount)

    def throttled(self) -> None:
        """A service asked for less."""
        self._throttled.inc()

    def serve(self, port: int, address: str = "127.0.0.1") -> int:
        """Answer at this port, 0 for any that is free, until the process ends; returns it."""
        from prometheus_client import start_http_server

        try:
            server, _ = start_http_server(port, addr=address, registry=self.registry)
        except OSError as error:
            what = f"cannot listen at port {port}: {error.strerror}"
            raise UsageError(what, "--metrics-port", "name another port") from error
        return int(server.server_port)
