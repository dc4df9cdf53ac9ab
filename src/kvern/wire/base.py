"""What all resources share: ids, times, ranges, item lists, and how a struct is written as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Generic, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

GREATEST = 9_007_199_254_740_991
"""The greatest whole number that every JSON reader keeps exactly: 2^53 - 1."""

LIST_DEFAULT = 100
"""Items of a list for which no `limit` was given (contract 1.7)."""

Id: TypeAlias = Annotated[int, Meta(ge=1, le=GREATEST)]
"""Server-generated, never reused (contract 1.4)."""

ExternalId: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255)]
Prefix: TypeAlias = Annotated[str, Meta(max_length=255)]
Text: TypeAlias = Annotated[str, Meta(max_length=1024)]
"""What a filter compares with; no field that it is compared with is longer."""

Pairs: TypeAlias = Annotated[dict[str, Annotated[str, Meta(max_length=10_240)]], Meta(max_length=256)]
"""Metadata that a filter or a change names."""

Milliseconds: TypeAlias = Annotated[int, Meta(ge=0, le=GREATEST)]
"""Since the Unix epoch, UTC."""

Cursor: TypeAlias = Annotated[str, Meta(max_length=1024)]
ListLimit: TypeAlias = Annotated[int, Meta(ge=1)]
"""Larger values than a list gives are clamped, not refused (contract 13.8)."""


class Body(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A JSON object of the contract. An optional field that is `null` counts as absent, in both directions."""


class TimeRange(Body):
    """Inclusive at both ends; each end is optional."""

    min: Milliseconds | None = None
    max: Milliseconds | None = None


class ById(Body):
    id: Id


class ByIdOrExternalId(Body):
    """Exactly one of the two."""

    id: Id | None = None
    external_id: ExternalId | None = None

    def __post_init__(self) -> None:
        if (self.id is None) == (self.external_id is None):
            raise ValueError("Expected exactly one of `id` and `externalId`")

    def as_dict(self) -> dict[str, Any]:
        """The identifier in the shape in which it was sent."""
        return {"id": self.id} if self.id is not None else {"externalId": self.external_id}


class Ids(Body):
    """The body of byids where only ids are known; each at most once (contract 4.6, 5.5)."""

    items: Annotated[list[ById], Meta(min_length=1, max_length=10_000)]
    ignore_unknown_ids: bool | None = False

    def __post_init__(self) -> None:
        twice = first_twice(item.id for item in self.items)
        if twice is not None:
            raise ValueError(f"Expected each id once in `items`, given {twice} more than once")


T = TypeVar("T")


class Items(Body, Generic[T], omit_defaults=False):
    """What lists and batches answer."""

    items: list[T]


class Page(Body, Generic[T]):
    """A part of a list; `nextCursor` is there when there is more (contract 1.7)."""

    items: list[T]
    next_cursor: str | None = None


class Empty(Body):
    """`{}`: what deletions answer."""


_encoder = msgspec.json.Encoder()
encode = _encoder.encode
"""Any struct of this package as JSON bytes."""


def list_body(items: list[Any], next_cursor: str | None = None) -> dict[str, Any]:
    """`{"items": […]}`, with `nextCursor` only when there is more (contract 1.7)."""
    return {"items": items} if next_cursor is None else {"items": items, "nextCursor": next_cursor}


def page_size(limit: int | None, most: int) -> int:
    """How many items a list gives for a `limit`: too large a one is clamped (contract 13.8)."""
    return min(LIST_DEFAULT if limit is None else limit, most)


def check_size(name: str, value: Any, most: int) -> None:
    """Raises `ValueError` for a field that has more than `most` bytes of JSON."""
    size = len(encode(value))
    if size > most:
        raise ValueError(f"Expected at most {most} bytes of JSON as `{name}`, given {size}")


def first_twice(values: Iterable[int]) -> int | None:
    """The first value that came before, or None."""
    seen: set[int] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None
