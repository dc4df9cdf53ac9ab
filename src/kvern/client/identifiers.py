"""Which resource is meant: an id, an external id, or (for files) an instance id."""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

if TYPE_CHECKING:
    from typing_extensions import Self

    from kvern.client.sequences import SequenceNotStr

MAX_ID = 9_007_199_254_740_991


class InstanceId:
    """The identity of a data-modelling instance.

    Args:
        space: Its space.
        external_id: Its external id in that space.
    """

    instance_type: ClassVar[str] = "node"

    def __init__(self, space: str, external_id: str) -> None:
        self.space = space
        self.external_id = external_id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InstanceId) and self.as_tuple() == other.as_tuple()

    def __hash__(self) -> int:
        return hash(self.as_tuple())

    def __repr__(self) -> str:
        return f"{type(self).__name__}(space={self.space!r}, external_id={self.external_id!r})"

    def dump(self, camel_case: bool = True, include_instance_type: bool = True) -> dict[str, str]:
        """As a dictionary, in camelCase or snake_case."""
        dumped = {"space": self.space, "externalId" if camel_case else "external_id": self.external_id}
        if include_instance_type:
            dumped["type"] = self.instance_type
        return dumped

    @classmethod
    def load(cls, data: InstanceId | dict[str, str] | tuple[str, str]) -> Self:
        """From a dictionary, a pair `(space, external_id)` or another instance id."""
        if isinstance(data, InstanceId):
            return cls(data.space, data.external_id)
        if isinstance(data, dict):
            external_id = data.get("externalId", data.get("external_id"))
            if "space" not in data or external_id is None:
                raise KeyError(f"An instance id has the keys 'space' and 'externalId', got {sorted(data)}")
            return cls(data["space"], external_id)
        if isinstance(data, tuple) and len(data) == 2:  # pyright: ignore[reportUnnecessaryIsInstance]
            return cls(data[0], data[1])
        raise ValueError(f"Expected (space, external_id) or a dictionary with these keys, got {data!r}")

    def as_tuple(self) -> tuple[str, str]:
        """`(space, external_id)`."""
        return self.space, self.external_id


class NodeId(InstanceId):
    """The identity of a node."""


Primitive = int | str | InstanceId


def identifier_dict(value: Primitive) -> dict[str, Any]:
    """The identifier as the API takes it."""
    if isinstance(value, InstanceId):
        return {"instanceId": value.dump(include_instance_type=False)}
    return {"id": value} if isinstance(value, int) else {"externalId": value}


class Identifiers:
    """The resources that an operation is about, in the order given: ids, then external ids, then instance ids.

    Args:
        ids: One id or several.
        external_ids: One external id or several.
        instance_ids: One instance id or several; a pair of strings is one.
        name: What the arguments are called, for error messages.

    Raises:
        TypeError: for an identifier of the wrong type.
    """

    def __init__(
        self,
        ids: int | Sequence[int] | None = None,
        external_ids: str | SequenceNotStr[str] | None = None,
        instance_ids: Any = None,
        name: str = "",
    ) -> None:
        prefix = f"{name}_" if name else ""
        given = [
            _ids(ids, f"{prefix}id"),
            _external_ids(external_ids, f"{prefix}external_id"),
            _instance_ids(instance_ids, f"{prefix}instance_id"),
        ]
        self.values: list[Primitive] = [value for values, _ in given for value in values]
        self.is_single: bool = len(self.values) == 1 and any(single for _, single in given)
        self._prefix = prefix

    def single(self) -> Primitive:
        """The one identifier; `ValueError` unless exactly one was given, and not in a list."""
        if not self.is_single:
            raise ValueError(
                f"Expected exactly one of {self._prefix}id and {self._prefix}external_id, got {self.values or 'none'}"
            )
        return self.values[0]

    def dicts(self) -> list[dict[str, Any]]:
        """All identifiers as the API takes them."""
        return [identifier_dict(value) for value in self.values]

    def chunks(self, size: int) -> Iterator[list[dict[str, Any]]]:
        """The identifiers as the API takes them, `size` at a time."""
        dicts = self.dicts()
        for start in range(0, len(dicts), size):
            yield dicts[start : start + size]


def _ids(given: object, name: str) -> tuple[list[Primitive], bool]:
    if given is None:
        return [], False
    if isinstance(given, numbers.Integral):
        return [int(given)], True
    if isinstance(given, Sequence) and not isinstance(given, str):
        return [int(one) for one in cast("Sequence[Any]", given)], False
    raise TypeError(f"Expected {name} to be an int or a sequence of ints, got {type(given).__name__}: {given!r}")


def _external_ids(given: object, name: str) -> tuple[list[Primitive], bool]:
    if given is None:
        return [], False
    if isinstance(given, str):
        return [given], True
    if isinstance(given, Sequence):
        return [str(one) for one in cast("Sequence[Any]", given)], False
    raise TypeError(f"Expected {name} to be a str or a sequence of strs, got {type(given).__name__}: {given!r}")


def _instance_ids(given: Any, name: str) -> tuple[list[Primitive], bool]:
    if given is None:
        return [], False
    if isinstance(given, (InstanceId, dict)) or (isinstance(given, tuple) and _is_pair(cast("tuple[Any, ...]", given))):
        return [NodeId.load(cast("Any", given))], True
    if isinstance(given, Sequence) and not isinstance(given, str):
        return [NodeId.load(one) for one in cast("Sequence[Any]", given)], False
    raise TypeError(
        f"Expected {name} to be an instance id or a sequence of them, got {type(given).__name__}: {given!r}"
    )


def _is_pair(given: tuple[Any, ...]) -> bool:
    return len(given) == 2 and all(isinstance(part, str) for part in given)


def one_of(function_id: int | None, function_external_id: str | None) -> int | str:
    """Which function is meant; `ValueError` unless exactly one of the two is given."""
    identifiers = Identifiers(function_id, function_external_id, name="function")
    if not identifiers.is_single:
        raise ValueError("Exactly one of function_id and function_external_id must be given")
    value = identifiers.values[0]
    assert not isinstance(value, InstanceId)
    return value
