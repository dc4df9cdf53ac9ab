"""How far a capability goes (contract 2)."""

from __future__ import annotations

from typing import Any

import pytest

from kvern.service.identity import Principal
from kvern.service.reach import reach
from kvern.wire.base import encode


def who(*acls: dict[str, Any]) -> Principal:
    return Principal("somebody", "plant", encode(list(acls)).decode(), expires=2**52)


def files(scope: dict[str, Any], *actions: str) -> dict[str, Any]:
    return {"filesAcl": {"actions": list(actions or ("READ",)), "scope": scope}}


@pytest.mark.parametrize(
    ("scopes", "covered"),
    [
        ([], set()),
        ([{"all": {}}], {None, 1, 2}),
        ([{"datasetScope": {"ids": [1]}}], {1}),
        ([{"datasetScope": {"ids": ["1", 2]}}], {1, 2}),
        ([{"datasetScope": {"ids": []}}], set()),
        ([{"datasetScope": {"ids": [1]}}, {"datasetScope": {"ids": [2]}}], {1, 2}),
        ([{"datasetScope": {"ids": [1]}}, {"all": {}}], {None, 1, 2}),
        ([{"idscope": {"ids": [1]}}], {1}),
        ([{"idScope": {"ids": [1]}}], {1}),
        ([{"currentuserscope": {}}], set()),
        ([{"tableScope": {}}], set()),
    ],
    ids=str,
)
def test_a_scope_covers_what_it_names(scopes: list[dict[str, Any]], covered: set[int | None]) -> None:
    found = reach(who(*(files(scope) for scope in scopes)), "filesAcl:READ")
    assert {place for place in (None, 1, 2) if found.covers(place)} == covered


def test_one_action_says_nothing_of_another() -> None:
    somebody = who(files({"all": {}}, "READ"), files({"datasetScope": {"ids": [1]}}, "WRITE"))
    assert reach(somebody, "filesAcl:READ").everything
    assert not reach(somebody, "filesAcl:WRITE").covers(2)
    assert reach(somebody, "filesAcl:WRITE").covers(1)
    assert not reach(somebody, "datasetsAcl:READ").covers(1)
