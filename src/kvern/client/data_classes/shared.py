"""Data classes that several resources use."""

# ruff: noqa: A002 (the names of the arguments are those of the official SDK)
from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from kvern.client.data_classes._base import CogniteFilter, CogniteResource
from kvern.client.times import timestamp_to_ms

if TYPE_CHECKING:
    from typing_extensions import Self

GeometryType: TypeAlias = Literal["Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon"]
_GEOMETRIES = ("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon")


class TimestampRange(CogniteResource):
    """A span of time, inclusive at both ends.

    Args:
        max: The end: milliseconds since the epoch, a datetime, or a shift such as `"2d-ago"`. None is open.
        min: The start, in the same forms.
        **_: Ignored.
    """

    def __init__(
        self,
        max: int | float | str | datetime | None = None,
        min: int | float | str | datetime | None = None,
        **_: Any,
    ) -> None:
        self.max: int | None = timestamp_to_ms(max) if max is not None else None
        self.min: int | None = timestamp_to_ms(min) if min is not None else None


def _checked_geometry(kind: str) -> None:
    if kind not in _GEOMETRIES:
        raise ValueError(f"Expected a geometry type of {', '.join(_GEOMETRIES)}, got {kind!r}")


class Geometry(CogniteResource):
    """A GeoJSON geometry (RFC 7946, section 3.1).

    Args:
        type: Its kind.
        coordinates: Longitude and latitude, nested as the kind demands.
        geometries: Parts, for a collection.
    """

    def __init__(
        self,
        type: GeometryType,
        coordinates: list[Any],
        geometries: Collection[Geometry] | None = None,
    ) -> None:
        _checked_geometry(type)
        self.type = type
        self.coordinates = coordinates
        self.geometries: list[Geometry] | None = list(geometries) if geometries else None

    @classmethod
    def _load_field(cls, name: str, value: Any) -> Any:
        return [cls.load(part) for part in value] if name == "geometries" and value else value

    def dump(self, camel_case: bool = True) -> dict[str, Any]:
        """The geometry as GeoJSON."""
        dumped = super().dump(camel_case)
        if self.geometries:
            dumped["geometries"] = [part.dump(camel_case) for part in self.geometries]
        return dumped


class GeometryFilter(CogniteFilter):
    """The shape that a location is compared with.

    Args:
        type: Its kind.
        coordinates: Longitude and latitude, nested as the kind demands.
    """

    def __init__(self, type: GeometryType, coordinates: Sequence[Any]) -> None:
        _checked_geometry(type)
        self.type = type
        self.coordinates: list[Any] = list(coordinates)

    @classmethod
    def load(cls, raw_geometry: dict[str, Any]) -> Self:
        """From a GeoJSON geometry."""
        return cls(raw_geometry["type"], raw_geometry["coordinates"])


class GeoLocation(CogniteResource):
    """A GeoJSON feature (RFC 7946, section 3.2).

    Args:
        type: Always `"Feature"`.
        geometry: Its shape.
        properties: Anything else about it.
    """

    def __init__(self, type: Literal["Feature"], geometry: Geometry, properties: dict[str, Any] | None = None) -> None:
        if type != "Feature":
            raise ValueError(f"Expected the type 'Feature', got {type!r}")
        self.type = type
        self.geometry = geometry
        self.properties = properties

    @classmethod
    def _load_field(cls, name: str, value: Any) -> Any:
        return Geometry.load(value) if name == "geometry" else value


class GeoLocationFilter(CogniteResource):
    """Keeps what stands in a relation to a shape.

    Args:
        relation: `INTERSECTS`, `DISJOINT` or `WITHIN`.
        shape: The shape.
    """

    def __init__(self, relation: str, shape: GeometryFilter) -> None:
        self.relation = relation
        self.shape = shape


class Label(CogniteResource):
    """A label that a resource bears.

    Args:
        external_id: External id of the label.
    """

    def __init__(self, external_id: str) -> None:
        self.external_id = external_id

    @staticmethod
    def convert_label(lb: Label | str | dict[str, Any]) -> Label:
        """A label given as such, by its external id, or as a dictionary. Raises `ValueError` for anything else."""
        if isinstance(lb, Label):
            return lb
        if isinstance(lb, str):
            return Label(lb)
        external_id = lb.get("externalId", lb.get("external_id")) if isinstance(cast("Any", lb), dict) else None
        if external_id is None:
            raise ValueError(f"Expected a Label, an external id or a dictionary with 'externalId', got {lb!r}")
        return Label(external_id)


def labels_of(given: Sequence[Label | str | dict[str, Any]] | None) -> list[Label] | None:
    """Labels in any of the forms that `Label.convert_label` takes."""
    return None if given is None else [Label.convert_label(label) for label in given]


class LabelFilter(CogniteFilter):
    """Keeps what bears labels.

    Args:
        contains_any: External ids of which at least one must be there.
        contains_all: External ids that must all be there.
    """

    def __init__(self, contains_any: list[str] | None = None, contains_all: list[str] | None = None) -> None:
        self.contains_any = contains_any
        self.contains_all = contains_all

    def dump(self, camel_case: bool = True) -> dict[str, Any]:
        """The condition as the API takes it; its own keys are camelCase in either case."""
        key = "externalId" if camel_case else "external_id"
        given = {"containsAny": self.contains_any, "containsAll": self.contains_all}
        return {name: [{key: one} for one in ids] for name, ids in given.items() if ids}
