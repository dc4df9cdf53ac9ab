"""Changes to single fields of a resource: `set`, `setNull`, `add`, `remove` (contract 7.2)."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from msgspec import Meta

from kvern.wire.base import Body, Pairs, Text

MOST = 1000
"""Values that one change names."""

T = TypeVar("T")


class Change(Body, Generic[T]):
    """A new value for a field, or none any more: exactly one of the two."""

    set: T | None = None
    set_null: Literal[True] | None = None

    def __post_init__(self) -> None:
        _one_way(self.set, self.set_null)


class FixedChange(Body, Generic[T]):
    """A new value for a field that every such resource has."""

    set: T


class ListChange(Body, Generic[T]):
    """A new list; or values to add and to remove."""

    set: Annotated[list[T], Meta(max_length=MOST)] | None = None
    set_null: Literal[True] | None = None
    add: Annotated[list[T], Meta(max_length=MOST)] | None = None
    remove: Annotated[list[T], Meta(max_length=MOST)] | None = None

    def __post_init__(self) -> None:
        _one_way(self.set, self.set_null, (self.add, self.remove))


class MapChange(Body):
    """A new map; or pairs to add and keys to remove."""

    set: Pairs | None = None
    set_null: Literal[True] | None = None
    add: Pairs | None = None
    remove: Annotated[list[Text], Meta(max_length=MOST)] | None = None

    def __post_init__(self) -> None:
        _one_way(self.set, self.set_null, (self.add, self.remove))


def _one_way(new: object, nothing: object, steps: tuple[object, object] | None = None) -> None:
    ways = [new is not None, nothing is not None]
    if steps is not None:
        ways.append(any(step is not None for step in steps))
    if sum(ways) != 1:
        more = "" if steps is None else ", or `add` and `remove`"
        raise ValueError(f"Expected exactly one of `set` and `setNull`{more}")


def apply(document: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of a resource's fields with changes made to it; both as builtins, under their names on the wire.

    What is removed and not there, or added and there already, does no harm.
    """
    new = dict(document)
    for name, change in changes.items():
        if "setNull" in change:
            new.pop(name, None)
        elif "set" in change:
            new[name] = change["set"]
        else:
            new[name] = _stepped(new.get(name), change.get("add"), change.get("remove") or [])
    return new


def _stepped(old: Any, add: Any, remove: list[Any]) -> Any:
    if isinstance(old, dict) or isinstance(add, dict):
        pairs: dict[str, str] = {**(old or {}), **(add or {})}
        return {key: value for key, value in pairs.items() if key not in remove}
    values: list[Any] = [*(old or ())]
    more: list[Any] = [*(add or ())]
    values += [value for value in more if value not in values]
    return [value for value in values if value not in remove]
