"""snake_case in Python, camelCase on the wire."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])")


@lru_cache(maxsize=512)
def to_camel_case(name: str) -> str:
    """`external_id` -> `externalId`."""
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


@lru_cache(maxsize=512)
def to_snake_case(name: str) -> str:
    """`externalId` -> `external_id`."""
    return _HUMP.sub("_", name).lower()


def camel_keys(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The same mapping with its own keys, not those of nested ones, in camelCase."""
    return {to_camel_case(key): value for key, value in mapping.items()}


def snake_keys(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The same mapping with its own keys, not those of nested ones, in snake_case."""
    return {to_snake_case(key): value for key, value in mapping.items()}
