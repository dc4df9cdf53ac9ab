"""What a token may do: actions of an access-control list within a scope (contract 2)."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from kvern.client.casing import to_snake_case
from kvern.client.data_classes._base import CogniteResource, CogniteResourceList

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Scope:
    """Where an action is allowed."""

    name: ClassVar[str]

    def dump(self, camel_case: bool = True) -> dict[str, Any]:
        """The scope as the API answers it."""
        return {self.name: dict(vars(self))}

    @staticmethod
    def load(resource: Mapping[str, Any]) -> Scope:
        """The scope that the API answered, of a kind known here or else `UnknownScope`."""
        ((name, content),) = resource.items()
        known = _SCOPES.get(name)
        if known is None or set(content) != set(known.__dataclass_fields__):
            return UnknownScope(name, dict(content))
        return known(**content)


@dataclass(frozen=True)
class AllScope(Scope):
    """Everywhere."""

    name = "all"


@dataclass(frozen=True)
class CurrentUserScope(Scope):
    """What belongs to the caller."""

    name = "currentuserscope"


@dataclass(frozen=True)
class IDScope(Scope):
    """Only resources with these ids."""

    name = "idScope"
    ids: list[int]


@dataclass(frozen=True)
class IDScopeLowerCase(Scope):
    """Only resources with these ids; some lists spell it so."""

    name = "idscope"
    ids: list[int]


@dataclass(frozen=True)
class DataSetScope(Scope):
    """Only resources in these data sets."""

    name = "datasetScope"
    ids: list[int]


@dataclass(frozen=True)
class UnknownScope(Scope):
    """A scope that this client has no class for."""

    scope_name: str
    data: dict[str, Any]

    def dump(self, camel_case: bool = True) -> dict[str, Any]:
        """The scope as the API answered it."""
        return {self.scope_name: self.data}


_SCOPES: dict[str, type[Scope]] = {
    scope.name: scope for scope in (AllScope, CurrentUserScope, IDScope, IDScopeLowerCase, DataSetScope)
}


@dataclass
class Capability:
    """Actions that are allowed within a scope.

    Args:
        actions: The actions.
        scope: Where they are allowed.
    """

    _capability_name: ClassVar[str] = ""
    actions: Sequence[enum.Enum]
    scope: Scope

    Action: ClassVar[type[enum.Enum]]
    """The actions of this list."""

    @property
    def capability_name(self) -> str:
        """Name of the access-control list on the wire."""
        return self._capability_name

    @staticmethod
    def load(resource: Mapping[str, Any], allow_unknown: bool = False) -> Capability:
        """The capability that the API answered.

        Args:
            resource: `{"functionsAcl": {"actions": [...], "scope": {...}}}`.
            allow_unknown: Take lists and actions that this client does not know for `UnknownAcl`.

        Raises:
            ValueError: for an unknown list or action, unless allowed.
        """
        ((name, content),) = resource.items()
        known = _ACLS.get(name)
        words = {action.value for action in known.Action} if known else set[str]()
        if known is not None and words.issuperset(content["actions"]):
            return known([known.Action(action) for action in content["actions"]], Scope.load(content["scope"]))
        if allow_unknown:
            return UnknownAcl(name, content)
        raise ValueError(
            f"Expected one of {sorted(_ACLS)} with its own actions, got {name!r} with {sorted(content['actions'])}"
        )

    def dump(self, camel_case: bool = True) -> dict[str, Any]:
        """The capability as the API answers it."""
        name = self.capability_name if camel_case else to_snake_case(self.capability_name)
        return {name: {"actions": [action.value for action in self.actions], "scope": self.scope.dump(camel_case)}}


class FunctionsAcl(Capability):
    """Functions, their calls and schedules."""

    _capability_name = "functionsAcl"

    class Action(enum.Enum):
        """What may be done with functions."""

        Read = "READ"
        Write = "WRITE"
        Run = "RUN"


class SessionsAcl(Capability):
    """Sessions."""

    _capability_name = "sessionsAcl"

    class Action(enum.Enum):
        """What may be done with sessions."""

        List = "LIST"
        Create = "CREATE"
        Delete = "DELETE"


class FilesAcl(Capability):
    """Files."""

    _capability_name = "filesAcl"

    class Action(enum.Enum):
        """What may be done with files."""

        Read = "READ"
        Write = "WRITE"


class ProjectsAcl(Capability):
    """Projects."""

    _capability_name = "projectsAcl"

    class Action(enum.Enum):
        """What may be done with projects."""

        Read = "READ"
        List = "LIST"
        Create = "CREATE"
        Update = "UPDATE"
        Delete = "DELETE"


class GroupsAcl(Capability):
    """Groups of users."""

    _capability_name = "groupsAcl"

    class Action(enum.Enum):
        """What may be done with groups."""

        List = "LIST"
        Read = "READ"
        Create = "CREATE"
        Update = "UPDATE"
        Delete = "DELETE"


class DataSetsAcl(Capability):
    """Data sets."""

    _capability_name = "datasetsAcl"

    class Action(enum.Enum):
        """What may be done with data sets."""

        Read = "READ"
        Write = "WRITE"
        Owner = "OWNER"


class UnknownAcl(Capability):
    """An access-control list that this client has no class for.

    Args:
        capability_name: Its name on the wire.
        raw_data: What the API answered about it.
    """

    def __init__(self, capability_name: str, raw_data: Mapping[str, Any]) -> None:
        words = {str(action).title().replace(" ", ""): action for action in raw_data.get("actions", ())}
        super().__init__(list(enum.Enum("Action", words)) if words else [], Scope.load(raw_data["scope"]))
        self._name = capability_name
        self.raw_data: dict[str, dict[str, Any]] = {capability_name: dict(raw_data)}

    @property
    def capability_name(self) -> str:
        """Name of the access-control list on the wire."""
        return self._name

    def dump(self, camel_case: bool = True) -> dict[str, Any]:
        """The capability as the API answered it."""
        return self.raw_data


_ACLS: dict[str, type[Capability]] = {
    "functionsAcl": FunctionsAcl,
    "sessionsAcl": SessionsAcl,
    "filesAcl": FilesAcl,
    "projectsAcl": ProjectsAcl,
    "groupsAcl": GroupsAcl,
    "datasetsAcl": DataSetsAcl,
}


@dataclass(frozen=True)
class AllProjectsScope:
    """In all projects."""

    def dump(self) -> dict[str, Any]:
        """The scope as the API answers it."""
        return {"projectScope": {"allProjects": {}}}


@dataclass(frozen=True)
class ProjectsScope:
    """In some projects.

    Args:
        projects: Their names.
    """

    projects: list[str]

    def dump(self) -> dict[str, Any]:
        """The scope as the API answers it."""
        return {"projectScope": {"projects": self.projects}}


class ProjectCapability(CogniteResource):
    """A capability, and in which projects it holds.

    Args:
        capability: What is allowed.
        project_scope: In which projects.
    """

    class Scope:
        """The two kinds of project scope."""

        All = AllProjectsScope
        Projects = ProjectsScope

    def __init__(self, capability: Capability, project_scope: AllProjectsScope | ProjectsScope) -> None:
        self.capability = capability
        self.project_scope = project_scope

    @classmethod
    def _load(cls, resource: dict[str, Any]) -> Self:
        scope = resource["projectScope"]
        capability = {key: value for key, value in resource.items() if key != "projectScope"}
        return cls(
            Capability.load(capability, allow_unknown=True),
            ProjectsScope(scope["projects"]) if "projects" in scope else AllProjectsScope(),
        )

    def dump(self, camel_case: bool = True) -> dict[str, Any]:
        """The capability as the API answers it."""
        return {**self.capability.dump(camel_case), **self.project_scope.dump()}


class ProjectCapabilityList(CogniteResourceList[ProjectCapability]):
    """Capabilities."""

    _RESOURCE = ProjectCapability
