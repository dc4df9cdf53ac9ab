"""The service's own log on stderr: for people, or one JSON object a line.

Bodies, tokens, headers and query strings are never logged; a link's proof is left out of its path.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

from kvern.service import log_context

ACCESS = logging.getLogger("kvern.access")

_CHATTY = ("alembic", "sqlalchemy", "asyncio", "httpx2", "httpcore2", "urllib3")

_ESCAPED = {number: f"\\x{number:02x}" for number in (*range(32), 127) if number not in (9, 10)} | {10: "\\n"}
"""A line stays a line, whatever a client's words in it are."""


def configure(level: str, kind: Literal["text", "json"]) -> None:
    """Lead all logs of this process to stderr.

    Args:
        level: what is logged from, such as `info`.
        kind: how.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if kind == "json" else TextLines())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)


class TextLines(logging.Formatter):
    """`2026-01-31 12:00:00,000 INFO kvern: words [request_id=… call_id=…]`, and tracebacks below."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """One line; the traceback is none of it."""
        line = super().formatMessage(record).translate(_ESCAPED)
        said = " ".join(f"{name}={value}" for name, value in log_context.fields().items())
        return f"{line} [{said}]" if said else line


class JsonLines(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `message`, whose work it was, and a fault's `traceback`."""

    def format(self, record: logging.LogRecord) -> str:
        """The whole record."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **log_context.fields(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def access(method: str, path: str, route: str, status: int, seconds: float, client: str | None) -> None:
    """A line of the access log."""
    milliseconds = round(seconds * 1000, 2)
    ACCESS.info(
        "%s %s %s %s ms",
        method,
        path,
        status,
        milliseconds,
        extra={
            "fields": {
                "method": method,
                "path": path,
                "route": route,
                "status": status,
                "milliseconds": milliseconds,
                "client": client,
            }
        },
    )
