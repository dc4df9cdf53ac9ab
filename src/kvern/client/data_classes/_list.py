"""Lists of data classes: dumping, loading, lookup, tables, and the ids of all that they hold."""

# ruff: noqa: A002 (the names of the arguments are those of the official SDK)
from __future__ import annotations

from abc import abstractmethod
from collections import UserList
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, SupportsIndex, TypeVar, cast, overload

from kvern.client.data_classes._resource import (
    CogniteResource,
    CogniteResourceWithClientRef,
    T_CogniteResource,
    T_WritableCogniteResource,
    T_WriteClass,
)
from kvern.client.documents import dump_yaml, load_sequence, shown_json
from kvern.client.identifiers import Identifiers, InstanceId, NodeId
from kvern.client.redaction import redacted
from kvern.client.times import shown_with_dates

if TYPE_CHECKING:
    import pandas  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]
    from typing_extensions import Self

    from kvern.client import AsyncCogniteClient


class CogniteResourceList(UserList[T_CogniteResource], Generic[T_CogniteResource]):
    """A list of resources of one kind.

    Args:
        resources: The resources.

    Raises:
        TypeError: when the first one is of another kind.
    """

    _RESOURCE: type[T_CogniteResource]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        resource = cls.__dict__.get("_RESOURCE")
        if resource is not None:
            resource._LIST_CLASS = cls

    def __init__(self, resources: Sequence[T_CogniteResource]) -> None:
        if resources and not isinstance(resources[0], self._RESOURCE):
            raise TypeError(
                f"{type(self).__name__} holds {self._RESOURCE.__name__} objects, got {type(resources[0]).__name__}"
            )
        super().__init__(resources)

    def __iter__(self) -> Iterator[T_CogniteResource]:
        return iter(self.data)

    @overload
    def __getitem__(self, i: SupportsIndex) -> T_CogniteResource: ...
    @overload
    def __getitem__(self, i: slice) -> Self: ...
    def __getitem__(self, i: SupportsIndex | slice) -> T_CogniteResource | Self:
        return type(self)(self.data[i]) if isinstance(i, slice) else self.data[i]

    def __str__(self) -> str:
        return shown_json([redacted(shown_with_dates(item)) for item in self.dump(camel_case=False)])

    def __eq__(self, other: object) -> bool:
        return self.data == (cast("UserList[Any]", other).data if isinstance(other, UserList) else other)

    __hash__: ClassVar[None]  # pyright: ignore[reportIncompatibleMethodOverride] (they can change)

    def extend(self, other: Iterable[T_CogniteResource]) -> None:
        """Appends resources; `ValueError` when one of them has an id that the list holds already."""
        added = type(self)(list(other))
        ids: set[int | None] = {getattr(item, "id", None) for item in self.data} - {None}
        repeated = ids.intersection(getattr(item, "id", None) for item in added.data)
        if repeated:
            raise ValueError(f"The list already holds the resources with these ids: {repeated}")
        self.data.extend(added.data)

    def dump(self, camel_case: bool = True) -> list[dict[str, Any]]:
        """All resources as dictionaries.

        Args:
            camel_case: Names as on the wire; else as in Python.
        """
        return [item.dump(camel_case) for item in self.data]

    def dump_yaml(self) -> str:
        """All resources as YAML with the names of the wire."""
        return dump_yaml(self.dump())

    def dump_raw(self, camel_case: bool = True) -> dict[str, Any]:
        """All resources as the API lists them: `{"items": [...]}`."""
        return {"items": self.dump(camel_case)}

    def get(
        self,
        id: int | None = None,
        external_id: str | None = None,
        instance_id: InstanceId | tuple[str, str] | None = None,
    ) -> T_CogniteResource | None:
        """The resource with this identifier, or None.

        Args:
            id: Its id.
            external_id: Its external id.
            instance_id: Its instance id.

        Raises:
            ValueError: unless exactly one identifier is given.
        """
        wanted = Identifiers(id, external_id, instance_id).single()
        field = "instance_id" if isinstance(wanted, InstanceId) else "id" if isinstance(wanted, int) else "external_id"
        if isinstance(wanted, InstanceId):
            wanted = NodeId.load(wanted)
        return next((item for item in self.data if getattr(item, field, None) == wanted), None)

    def to_pandas(  # pyright: ignore[reportUnknownParameterType] (pandas is optional)
        self,
        camel_case: bool = False,
        expand_metadata: bool = False,
        metadata_prefix: str = "metadata.",
        convert_timestamps: bool = True,
    ) -> pandas.DataFrame:  # pyright: ignore[reportUnknownMemberType]
        """The resources as a data frame, one row each.

        Args:
            camel_case: Names as on the wire.
            expand_metadata: One column for each metadata key.
            metadata_prefix: What to put before these keys.
            convert_timestamps: Show times as dates instead of milliseconds.

        Raises:
            CogniteImportError: when pandas is not installed.
        """
        from kvern.client import views

        frame = cast("Any", views.list_frame)  # pyright: ignore[reportUnknownMemberType]
        return frame(self.dump(camel_case), expand_metadata, metadata_prefix, convert_timestamps)

    def _repr_html_(self) -> str:
        from kvern.client import views

        return views.list_html(self.dump(camel_case=False))

    @classmethod
    def load(cls, resource: Sequence[dict[str, Any]] | str) -> Self:
        """Makes a list from what the API answers.

        Args:
            resource: A list of dictionaries, or such a one as JSON (or, with PyYAML, YAML) text.

        Raises:
            TypeError: when it is no list.
        """
        return cls._load(load_sequence(resource))

    @classmethod
    def _load(cls, resource: Iterable[dict[str, Any]]) -> Self:
        return cls([cls._RESOURCE.load(item) for item in resource])

    @classmethod
    def load_if(cls, resource: Sequence[dict[str, Any]] | str | None) -> Self | None:
        """As `load`; None gives None."""
        return None if resource is None else cls.load(resource)


T_CogniteResourceList = TypeVar("T_CogniteResourceList", bound=CogniteResourceList[Any])
T_Attached = TypeVar("T_Attached", bound="CogniteResource | CogniteResourceList[Any]")


def attach(resource: T_Attached, client: AsyncCogniteClient) -> T_Attached:
    """The same resource or list, which from now on knows its client if it is of a kind that asks for more."""
    if isinstance(resource, CogniteResourceList):
        for item in resource.data:
            attach(item, client)
    elif isinstance(resource, CogniteResourceWithClientRef):
        resource.set_client_ref(client)
    return resource


class WriteableCogniteResourceList(
    CogniteResourceList[T_WritableCogniteResource], Generic[T_WriteClass, T_WritableCogniteResource]
):
    """A list of what can be created again."""

    @abstractmethod
    def as_write(self) -> CogniteResourceList[T_WriteClass]:
        """What to send in order to create the same again."""


class ExternalIDTransformerMixin:
    """A list whose items have external ids."""

    data: list[Any]

    def as_external_ids(self) -> list[str]:
        """The external ids of all items; `ValueError` when one has none."""
        return _all_set(self.data, "external_id")


class InternalIdTransformerMixin:
    """A list whose items have ids."""

    data: list[Any]

    def as_ids(self) -> list[int]:
        """The ids of all items; `ValueError` when one has none."""
        return _all_set(self.data, "id")


class IdTransformerMixin(ExternalIDTransformerMixin, InternalIdTransformerMixin):
    """A list whose items have ids and may have external ids."""


def _all_set(items: list[Any], field: str) -> list[Any]:
    values = [getattr(item, field) for item in items]
    if None in values:
        raise ValueError(
            f"All items must have {field}; item {values.index(None)} ({items[values.index(None)]!r}) has none"
        )
    return values
