"""What all data classes share: dumping, loading, equality, tables, and the client they came from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from kvern.client.casing import camel_keys, to_camel_case
from kvern.client.documents import dump_yaml, load_mapping, shown_json
from kvern.client.exceptions import CogniteMissingClientError
from kvern.client.redaction import redacted
from kvern.client.times import shown_with_dates

if TYPE_CHECKING:
    import pandas  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]
    from typing_extensions import Self

    from kvern.client import AsyncCogniteClient, CogniteClient
    from kvern.client.data_classes._list import CogniteResourceList


class _HoldsClient:
    """Something that came from a client and can ask it for more."""

    __client: AsyncCogniteClient | None = None

    @property
    def _cognite_client(self) -> AsyncCogniteClient:
        if self.__client is None:
            raise CogniteMissingClientError(self)
        return self.__client

    @_cognite_client.setter
    def _cognite_client(self, client: AsyncCogniteClient | CogniteClient) -> None:
        from kvern.client import AsyncCogniteClient, CogniteClient

        if isinstance(client, CogniteClient):
            client = client.get_async_client()
        if not isinstance(client, AsyncCogniteClient):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"Expected an AsyncCogniteClient or a CogniteClient, got {type(client).__name__}")
        self.__client = client

    def _get_cognite_client(self) -> AsyncCogniteClient | None:
        return self.__client

    def set_client_ref(self, client: AsyncCogniteClient | CogniteClient) -> Self:
        """Tells the object which client to ask.

        Args:
            client: Either kind of client.

        Returns:
            The object itself.
        """
        self._cognite_client = client
        return self


def _plain(value: Any, camel_case: bool) -> Any:
    if isinstance(value, (CogniteResource, CogniteFilter)):
        return value.dump(camel_case)
    return value


def _dump(instance: object, camel_case: bool) -> dict[str, Any]:
    fields = {
        name: _plain(value, camel_case)
        for name, value in vars(instance).items()
        if value is not None and not name.startswith("_")
    }
    return camel_keys(fields) if camel_case else fields


@cache
def _wire_fields(cls: type[CogniteResource]) -> tuple[tuple[str, str, bool], ...]:
    """(argument, wire name, required) of a class's constructor, which is its only list of fields."""
    constructor = cast("Any", cls.__init__)
    code = constructor.__code__
    names: tuple[str, ...] = code.co_varnames[1 : code.co_argcount]
    required = len(names) - len(constructor.__defaults__ or ())
    return tuple((name, to_camel_case(name), index < required) for index, name in enumerate(names))


class CogniteResource(ABC):
    """Base of everything that the API sends or takes."""

    _LIST_CLASS: ClassVar[type[CogniteResourceList[Any]] | None] = None

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.dump() == cast("CogniteResource", other).dump()

    __hash__: ClassVar[None]  # pyright: ignore[reportIncompatibleMethodOverride] (they can change)

    def __str__(self) -> str:
        return shown_json(redacted(shown_with_dates(self.dump(camel_case=False))))

    def __repr__(self) -> str:
        known = ((name, getattr(self, name, None)) for name in ("id", "external_id", "name", "status"))
        shown = ", ".join(f"{name}={value!r}" for name, value in known if value is not None)
        return f"<{type(self).__name__} {shown}>" if shown else f"<{type(self).__name__}>"

    def dump(self, camel_case: bool = True) -> dict[str, Any]:
        """The fields that are set, as a dictionary that JSON can hold.

        Args:
            camel_case: Names as on the wire; else as in Python.
        """
        return _dump(self, camel_case)

    def dump_yaml(self) -> str:
        """The fields that are set, as YAML with the names of the wire."""
        return dump_yaml(self.dump())

    @classmethod
    def load(cls, resource: dict[str, Any] | str) -> Self:
        """Makes an instance from what the API answers.

        Args:
            resource: A dictionary with the names of the wire, or such a one as JSON (or, with PyYAML, YAML) text.

        Raises:
            KeyError: when a field is missing that this class cannot do without.
            TypeError: when it is no dictionary.
        """
        return cls._load(load_mapping(resource))

    @classmethod
    def _load(cls, resource: dict[str, Any]) -> Self:
        arguments: dict[str, Any] = {}
        for name, wire_name, required in _wire_fields(cls):
            if wire_name in resource:
                arguments[name] = cls._load_field(name, resource[wire_name])
            elif required:
                raise KeyError(wire_name)
        return cls(**arguments)

    @classmethod
    def _load_field(cls, name: str, value: Any) -> Any:
        return value

    @classmethod
    def load_if(cls, resource: dict[str, Any] | str | None) -> Self | None:
        """As `load`; None gives None."""
        return None if resource is None else cls.load(resource)

    def to_pandas(  # pyright: ignore[reportUnknownParameterType] (pandas is optional)
        self,
        expand_metadata: bool = False,
        metadata_prefix: str = "metadata.",
        ignore: list[str] | None = None,
        camel_case: bool = False,
        convert_timestamps: bool = True,
    ) -> pandas.DataFrame:  # pyright: ignore[reportUnknownMemberType]
        """The fields as a data frame with one column, `value`.

        Args:
            expand_metadata: One row for each metadata key.
            metadata_prefix: What to put before these keys.
            ignore: Fields to leave out.
            camel_case: Names as on the wire.
            convert_timestamps: Show times as dates instead of milliseconds.

        Raises:
            CogniteImportError: when pandas is not installed.
        """
        from kvern.client import views

        frame = cast("Any", views.plain_item_frame if self._LIST_CLASS is None else views.item_frame)  # pyright: ignore[reportUnknownMemberType]
        return frame(
            self.dump(camel_case),
            ignore,
            expand_metadata=expand_metadata,
            metadata_prefix=metadata_prefix,
            convert_timestamps=convert_timestamps,
        )

    def _repr_html_(self) -> str:
        from kvern.client import views

        return views.item_html(self.dump(camel_case=False))


T_CogniteResource = TypeVar("T_CogniteResource", bound=CogniteResource)
T_WriteClass = TypeVar("T_WriteClass", bound=CogniteResource)


class WriteableCogniteResource(CogniteResource, Generic[T_WriteClass]):
    """Something that can be created again from what was read."""

    @abstractmethod
    def as_write(self) -> T_WriteClass:
        """What to send in order to create the same again."""


T_WritableCogniteResource = TypeVar("T_WritableCogniteResource", bound=WriteableCogniteResource[Any])


def take_over(resource: T_CogniteResource, latest: T_CogniteResource) -> None:
    """Sets all fields of a resource to those of a newer reading of the same one."""
    for name, value in vars(latest).items():
        if not name.startswith("_"):
            setattr(resource, name, value)


class CogniteResourceWithClientRef(_HoldsClient, CogniteResource):
    """Something that can ask its client for more."""


class WriteableCogniteResourceWithClientRef(
    CogniteResourceWithClientRef, WriteableCogniteResource[T_WriteClass], Generic[T_WriteClass]
):
    """Something that can ask its client for more, and be created again."""

    @abstractmethod
    def as_write(self) -> T_WriteClass:
        """What to send in order to create the same again."""


class CogniteFilter(ABC):
    """Base of what narrows a list down."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.dump() == cast("CogniteFilter", other).dump()

    __hash__: ClassVar[None]  # pyright: ignore[reportIncompatibleMethodOverride] (they can change)

    def __str__(self) -> str:
        return shown_json(shown_with_dates(self.dump(camel_case=False)))

    def __repr__(self) -> str:
        return str(self)

    def dump(self, camel_case: bool = True) -> dict[str, Any]:
        """The conditions that are set, as a dictionary that JSON can hold.

        Args:
            camel_case: Names as on the wire; else as in Python.
        """
        return _dump(self, camel_case)
