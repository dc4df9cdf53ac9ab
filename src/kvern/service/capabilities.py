"""Capabilities as sets: what covers what, and what two have in common (contract 2)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from kvern.wire.capabilities import ID_SCOPES, Acl, ids_of

Mark: TypeAlias = tuple[str, int | str]
"""Where something is allowed: `("all", "")`, `("datasetScope", 7)`, or a scope as it stands."""

_EVERYWHERE: Mark = ("all", "")
_OWN: Mark = ("currentuserscope", "")


class Capabilities:
    """What a principal may do: for every action, such as `functionsAcl:READ`, the places where it holds.

    Args:
        acls: as the contract writes them, each of which was checked before.
    """

    def __init__(self, acls: list[Acl]) -> None:
        reach: dict[str, frozenset[Mark]] = {}
        for acl in acls:
            for name, body in acl.items():
                marks = _marks(body["scope"])
                for action in body["actions"]:
                    key = f"{name}:{action}"
                    reach[key] = reach.get(key, frozenset()) | marks
        self._reach: Mapping[str, frozenset[Mark]] = {key: marks for key, marks in reach.items() if marks}
        self.actions = frozenset(self._reach)
        """Every action that is allowed anywhere."""

    def only_own(self, key: str) -> bool:
        """Whether an action holds for what belongs to the caller only."""
        return self._reach.get(key) == frozenset((_OWN,))

    def covers(self, others: Capabilities) -> bool:
        """Whether all that `others` allow is allowed here as well."""
        return all(_covers(self._reach.get(key, frozenset()), marks) for key, marks in others._reach.items())

    def common(self, others: Capabilities) -> list[Acl]:
        """What both allow, as the contract writes it."""
        both: dict[tuple[str, frozenset[Mark]], list[str]] = {}
        for key, marks in self._reach.items():
            shared = _shared(marks, others._reach.get(key, frozenset()))
            if shared:
                name, _, action = key.partition(":")
                both.setdefault((name, shared), []).append(action)
        return [
            {name: {"actions": actions, "scope": scope}}
            for (name, marks), actions in both.items()
            for scope in _scopes(marks)
        ]


def _covers(have: frozenset[Mark], want: frozenset[Mark]) -> bool:
    return _EVERYWHERE in have or want <= have


def _shared(one: frozenset[Mark], other: frozenset[Mark]) -> frozenset[Mark]:
    if _EVERYWHERE in one:
        return other
    return one if _EVERYWHERE in other else one & other


def _marks(scope: dict[str, Any]) -> frozenset[Mark]:
    ((name, content),) = scope.items()
    if name in ("all", "currentuserscope"):
        return frozenset(((name, ""),))
    if name in ID_SCOPES and "ids" in content:
        try:
            return frozenset((ID_SCOPES[name], number) for number in ids_of(content))
        except (TypeError, ValueError):
            pass  # of the cloud's other services: compared as it stands
    return frozenset(((name, msgspec.json.encode(content, order="sorted").decode()),))


def _scopes(marks: frozenset[Mark]) -> list[dict[str, Any]]:
    if _EVERYWHERE in marks:
        return [{"all": {}}]
    scopes: list[dict[str, Any]] = []
    ids: dict[str, list[int]] = {}
    for name, what in sorted(marks, key=str):
        if isinstance(what, int):
            ids.setdefault(name, []).append(what)
        else:
            scopes.append({name: msgspec.json.decode(what) if what else {}})
    return [*scopes, *({name: {"ids": numbers}} for name, numbers in ids.items())]


@lru_cache(maxsize=4096)
def parsed(text: str) -> Capabilities:
    """Capabilities from the JSON text of an ACL list; the same text is parsed once."""
    return Capabilities(msgspec.json.decode(text, type=list[dict[str, Any]]))


@lru_cache(maxsize=1024)
def common(one: str, other: str) -> str:
    """What two JSON texts of ACL lists both allow, as such a text."""
    if one == other or parsed(other).covers(parsed(one)):
        return one
    return msgspec.json.encode(parsed(one).common(parsed(other))).decode()
