"""The log of a worker: one object of JSON a line, on standard error."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from lakeq.redact import redacted


class Lines(logging.Formatter):
    """A record as one line of JSON: time, level, logger, text, what the record tells, the trace."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        told: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "told", {}),
        }
        if record.exc_info:
            told["trace"] = self.formatException(record.exc_info)
        return redacted(json.dumps(told, ensure_ascii=True, default=str))


def begin(level: str = "info") -> None:
    """Write what the ingest has to say to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    logger = logging.getLogger("lakeq")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
