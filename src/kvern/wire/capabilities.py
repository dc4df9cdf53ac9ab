"""Capabilities: which actions on which resources, within which scope (contract 2)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

Acl: TypeAlias = dict[str, Any]
"""One capability as the contract writes it: `{"functionsAcl": {"actions": [...], "scope": {...}}}`."""

CAPABILITIES_BYTES = 500_000
"""Of all capabilities of a group or client, as JSON: they are worked out when somebody of the group asks."""

ACTIONS: dict[str, tuple[str, ...]] = {
    "functionsAcl": ("READ", "WRITE", "RUN"),
    "sessionsAcl": ("LIST", "CREATE", "DELETE"),
    "filesAcl": ("READ", "WRITE"),
    "projectsAcl": ("LIST", "READ", "CREATE", "UPDATE"),
    "groupsAcl": ("LIST", "READ", "CREATE", "UPDATE", "DELETE"),
    "datasetsAcl": ("READ", "WRITE", "OWNER"),
}
"""What means something here."""

ID_SCOPES = {"datasetScope": "datasetScope", "idScope": "idScope", "idscope": "idScope"}
"""Scopes that list ids, and the one name by which they are compared."""

_SCOPES = {
    "filesAcl": ("all", "datasetScope"),
    "groupsAcl": ("all", "currentuserscope"),
    "datasetsAcl": ("all", "idScope", "idscope"),
}

_ELSEWHERE = """
    agents analytics annotations appConfig appHosting assets auditlog chartsAdmin cogUnits dataModelInstances dataModels
    dataProducts diagramParsing digitalTwin documentFeedback documentPipelines entitymatching events experiment
    extractionConfigs extractionPipelines extractionRuns filePipelines generics geospatial geospatialCrs
    hostedExtractors integrationConfigs integrations labels locationFilters modelHosting monitoringTasks notifications
    pipelines postgresGateway raw relationships robotics sapWriteback sapWritebackRequests scheduledCalculations
    securityCategories seismic sequences simulators sla streamRecords streams subscribeSignals templateGroups
    templateInstances threed timeSeries timeSeriesSubscriptions transformations transformationsExternalDataSources types
    userProfiles visionModel wells workflowOrchestration
"""
ELSEWHERE = frozenset(f"{name}Acl" for name in _ELSEWHERE.split())
"""Of the cloud's other services: kept and given back, so that groups can be brought along; they allow nothing here."""

_WORD = re.compile(r"([A-Za-z0-9]+):([A-Za-z,*]+)")


def every_capability() -> list[Acl]:
    """All that there is, everywhere."""
    return [{name: {"actions": list(actions), "scope": {"all": {}}}} for name, actions in ACTIONS.items()]


class _Content(msgspec.Struct):
    actions: Annotated[list[str], Meta(min_length=1, max_length=100)]
    scope: dict[str, dict[str, Any]]


class _IdScope(msgspec.Struct):
    ids: Annotated[list[int | str], Meta(max_length=10_000)]


def check(acl: object) -> None:
    """Raises `ValueError` unless it is one capability with known name, actions and scope."""
    given = msgspec.convert(acl, dict[str, _Content])
    if len(given) != 1:
        raise ValueError(f"Expected an object with one capability, given {len(given)}")
    ((name, content),) = given.items()
    if len(content.scope) != 1:
        raise ValueError(f"Expected one scope in {name[:60]}, given {len(content.scope)}")
    if name in ELSEWHERE:
        return
    if name not in ACTIONS:
        raise ValueError(f"Expected a known capability ({', '.join(ACTIONS)}), given {name[:60]!r}")
    for action in content.actions:
        if action not in ACTIONS[name]:
            raise ValueError(f"Expected actions of {name} ({', '.join(ACTIONS[name])}), given {action[:60]!r}")
    ((scope, where),) = content.scope.items()
    known = _SCOPES.get(name, ("all",))
    if scope not in known:
        raise ValueError(f"Expected a scope of {name} ({', '.join(known)}), given {scope[:60]!r}")
    if scope in ID_SCOPES:
        for number in msgspec.convert(where, _IdScope).ids:
            if not 0 < _number(number) < 2**53:
                raise ValueError(f"Expected ids in {scope} of {name}, given {str(number)[:60]!r}")


def _number(given: int | str) -> int:
    if isinstance(given, int):
        return given
    return int(given) if given.isascii() and given.isdigit() and len(given) < 17 else 0


def ids_of(content: dict[str, Any]) -> list[int]:
    """The ids of a scope that `check` found good: numbers, or as some group files have them, digits in quotes."""
    return [_number(given) for given in content["ids"]]


def read(given: Iterable[str | Acl]) -> list[Acl]:
    """Capabilities from words such as `functions:read,run` (`functions:*` for every action, `all` for everything).

    Objects in the contract's shape, or their JSON text, are taken as well: they can have a scope.

    Raises:
        ValueError: one of them is not good; the text says which.
    """
    found: list[Acl] = []
    for one in given:
        if one == "all":
            found.extend(every_capability())
        elif isinstance(one, str) and not one.startswith("{"):
            found.append(_from_word(one))
        else:
            acl: Acl = msgspec.json.decode(one, type=dict[str, Any]) if isinstance(one, str) else one
            check(acl)
            found.append(acl)
    return found


def _from_word(word: str) -> Acl:
    parts = _WORD.fullmatch(word)
    named = {name.removesuffix("Acl").lower(): name for name in ACTIONS}
    name = named.get(parts[1].lower().removesuffix("acl")) if parts else None
    if parts is None or name is None:
        raise ValueError(
            f"Expected a capability such as functions:read,run (of {', '.join(named)}), given {word[:60]!r}"
        )
    actions = list(ACTIONS[name]) if parts[2] == "*" else parts[2].upper().split(",")
    acl: Acl = {name: {"actions": actions, "scope": {"all": {}}}}
    check(acl)
    return acl


def words(capabilities: Iterable[Acl]) -> list[str]:
    """Capabilities in the short form, with the scope in brackets unless it is everything."""
    short: list[str] = []
    for acl in capabilities:
        for name, body in acl.items():
            ((scope, content),) = body["scope"].items()
            where = "" if scope == "all" else f" ({scope}{' ' + str(content['ids']) if 'ids' in content else ''})"
            short.append(f"{name.removesuffix('Acl')}:{','.join(body['actions']).lower()}{where}")
    return short
