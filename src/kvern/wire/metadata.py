"""Metadata of files and data sets: text to text, counted in bytes (contract 7.1). Functions have rules of their own."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

Metadata: TypeAlias = Annotated[dict[str, Annotated[str, Meta(max_length=10_240)]], Meta(max_length=256)]

_BYTES = 10_240
_KEY_BYTES = 128


def check_metadata(metadata: dict[str, str] | None) -> None:
    """Raises `ValueError` for a key, or a whole, of too many bytes."""
    total = 0
    for key, value in (metadata or {}).items():
        size = len(key.encode())
        if size > _KEY_BYTES:
            raise ValueError(f"Expected metadata keys of at most {_KEY_BYTES} bytes, given one of {size}")
        total += size + len(value.encode())
    if total > _BYTES:
        raise ValueError(f"Expected at most {_BYTES} bytes of metadata, given {total}")
