"""How far a capability goes: every data set of the project, or those that its scope names (contract 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kvern.service.identity import Principal
from kvern.wire.capabilities import ID_SCOPES, ids_of


@dataclass(frozen=True, slots=True)
class Reach:
    """What a capability covers.

    Args:
        everything: all data sets, and what is in none.
        data_sets: otherwise, the ids of those that are covered.
    """

    everything: bool
    data_sets: frozenset[int] = frozenset()

    def covers(self, data_set_id: int | None) -> bool:
        """Whether what is in this data set, or in none, is covered."""
        return self.everything or data_set_id in self.data_sets


def reach(who: Principal, capability: str) -> Reach:
    """How far `who` has a capability, such as `filesAcl:READ`. A scope that is not known here covers nothing."""
    name, _, action = capability.partition(":")
    everything = False
    data_sets: set[int] = set()
    for acl in who.acls:
        body: dict[str, Any] = acl.get(name) or {}
        if action not in body.get("actions", ()):
            continue
        scope: dict[str, Any] = body.get("scope") or {}
        everything = everything or "all" in scope
        for kind in ID_SCOPES.keys() & scope.keys():
            data_sets.update(ids_of(scope[kind]))
    return Reach(everything, frozenset(data_sets))
