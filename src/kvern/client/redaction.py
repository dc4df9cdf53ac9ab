"""What must never be shown: secrets in printed objects and in debug logs, and orders to a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

HIDDEN = "***"

_HEADER = re.compile(
    r"auth|token|secret|password|cookie|credential|signature|(?:api|access|client)[-_]?key", re.IGNORECASE
)
_FIELD = re.compile(r"secret|password|passphrase|nonce|access_?token|refresh_?token|index_?urls?$", re.IGNORECASE)


def redacted_headers(headers: Mapping[str, Any]) -> dict[str, str]:
    """A copy of the headers with what gives access hidden."""
    return {name: HIDDEN if _HEADER.search(name) else str(value) for name, value in headers.items()}


def redacted(value: Any) -> Any:
    """A copy of the value with every field hidden whose name tells of a secret; the names of a map of secrets stay."""
    if isinstance(value, dict):
        fields = cast("dict[Any, Any]", value)
        return {key: _hidden(item) if _FIELD.search(str(key)) else redacted(item) for key, item in fields.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(item) for item in cast("list[Any]", value)]
    return value


def printable(line: str) -> str:
    """A line for a terminal, with escapes in the place of what it would act upon; names and codes are others' text."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in line)


def redacted_body(text: str, max_characters: int = 1_000) -> str:
    """A body for the debug log: hidden fields, and cut at `max_characters`."""
    try:
        text = json.dumps(redacted(json.loads(text)))
    except ValueError:
        pass
    return text if len(text) <= max_characters else text[: max_characters - 3] + "..."


def _hidden(value: Any) -> Any:
    if isinstance(value, dict):
        return dict.fromkeys(cast("dict[Any, Any]", value), HIDDEN)
    if isinstance(value, list):
        return [HIDDEN for _ in cast("list[Any]", value)]
    return value if value is None else HIDDEN
