"""No list, map or text of any request is without a bound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec.inspect as shapes
import pytest
from tests.unit.fakes import plant

from kvern.server.app import routes

FREE = {"geoLocation", "capabilities", "assetSubtreeIds", "members"}
"""Of no fixed shape: the bytes of the whole are bounded, or there is nothing that they are good for."""


def unbounded(shape: Any, path: str) -> Iterator[str]:
    if isinstance(shape, shapes.StructType):
        for field in shape.fields:
            if field.encode_name not in FREE:
                yield from unbounded(field.type, f"{path}.{field.encode_name}")
    elif isinstance(shape, shapes.UnionType):
        for one in shape.types:
            yield from unbounded(one, path)
    elif isinstance(shape, shapes.Metadata):
        yield from unbounded(shape.type, path)
    elif isinstance(shape, shapes.ListType | shapes.DictType | shapes.StrType):
        if shape.max_length is None:
            yield path
        if isinstance(shape, shapes.ListType):
            yield from unbounded(shape.item_type, f"{path}[]")
        if isinstance(shape, shapes.DictType):
            yield from unbounded(shape.value_type, f"{path}{{}}")
    elif isinstance(shape, shapes.AnyType):
        yield path


@pytest.mark.asyncio
async def test_everything_that_a_request_lists_is_bounded(tmp_path: Any) -> None:
    async with plant(tmp_path / "data") as p:
        bodies = {f"{row.method} {row.path}": row.body for row in routes(p.service) if row.body is not None}
    assert len(bodies) > 30
    assert [path for name, body in bodies.items() for path in unbounded(shapes.type_info(body), name)] == []
