"""The public surface of `kvern.client` against the official SDK's: name by name, signature by signature."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.parity.differences import Differences

Surface = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def surfaces(probe: Callable[..., Any]) -> dict[str, Surface]:
    return probe("describe_surface.py")


@pytest.fixture(scope="module")
def official(surfaces: dict[str, Surface]) -> Surface:
    return surfaces["official"]


@pytest.fixture(scope="module")
def ours(surfaces: dict[str, Surface]) -> Surface:
    return surfaces["ours"]


def joined(owner: str, member: str) -> str:
    return f"{owner}.{member}"


def pairs(official: Surface, ours: Surface) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Everything callable that both have, with its qualified name."""
    for owner, theirs in official.items():
        if theirs is None or ours.get(owner) is None:
            continue
        yield owner, theirs, ours[owner]
        for name, member in theirs["members"].items():
            twin = ours[owner]["members"].get(name)
            if twin is not None and member["kind"] == "method":
                yield joined(owner, name), member, twin


def test_the_probe_knows_the_official_sdk(official: Surface) -> None:
    assert [name for name, entry in official.items() if entry is None] == []
    assert len(official["CogniteClient().functions"]["members"]) >= 11


def test_every_official_name_is_there(official: Surface, ours: Surface) -> None:
    left_out = Differences("Left out")
    missing = [name for name in official if ours.get(name) is None and not left_out.cover(name)]
    for owner, entry in official.items():
        if ours.get(owner) is not None:
            names = set(entry["members"]) - set(ours[owner]["members"])
            missing += [joined(owner, name) for name in names if not left_out.cover(joined(owner, name))]
    assert missing == []
    assert set(left_out.patterns) - left_out.used == set(), "rows of the page that leave nothing out"


def test_signatures_have_the_same_names_order_kinds_and_defaults(official: Surface, ours: Surface) -> None:
    different = Differences("Other signatures")
    left_out = Differences("Left out")

    def shape(signature: list[dict[str, Any]] | None) -> Any:
        return signature and [(one["name"], one["kind"], one["default"]) for one in signature]

    unequal = {
        name: (shape(theirs["signature"]), shape(twin["signature"]))
        for name, theirs, twin in pairs(official, ours)
        if shape(theirs["signature"]) != shape(twin["signature"])
        and not different.cover(name)
        and not left_out.cover(name)
    }
    assert unequal == {}
    assert set(different.patterns) - different.used == set(), "rows of the page that differ in nothing"


def test_further_arguments_are_optional_and_given_by_keyword(official: Surface, ours: Surface) -> None:
    name = "CogniteClient().functions.calls"
    theirs = official[name]["members"]["get_logs"]["signature"]
    twin = ours[name]["members"]["get_logs"]["signature"]
    assert [one["name"] for one in twin][: len(theirs)] == [one["name"] for one in theirs]
    assert all(one["kind"] == "KEYWORD_ONLY" and one["default"] is not None for one in twin[len(theirs) :])


def test_arguments_have_the_same_types(official: Surface, ours: Surface) -> None:
    def normal(text: str | None) -> str:
        text = re.sub(r"\b(dict|list)\b(?!\[)", lambda bare: f"{bare[1]}[...]", text or "")
        text = re.sub(r"\b(dict\[str, Any\]|list\[Any\])", lambda full: full[1].split("[")[0] + "[...]", text)
        return text.replace("HttpxRe", "httpx2.Re")

    wider = {
        "client": "either kind of client is taken",
        "function_handle": "a plain function is taken, for type checkers too",
        "type": "the same words, under a name",
        "coordinates": "any depth",
        "i": "inherited from UserList",
        "other": "inherited from UserList",
        "lb": "there are no label definitions here",
    }
    unequal = {
        f"{name}({one['name']})": (one["annotation"], same["annotation"])
        for name, theirs, twin in pairs(official, ours)
        if "capabilities" not in name
        for one, same in zip(theirs["signature"] or (), twin["signature"] or (), strict=False)
        if one["name"] not in wider and normal(one["annotation"]) != normal(same["annotation"])
    }
    assert unequal == {}


def test_what_is_awaited_there_is_awaited_here(official: Surface, ours: Surface) -> None:
    assert [
        name for name, theirs, twin in pairs(official, ours) if theirs.get("asynchronous") != twin.get("asynchronous")
    ] == []


def test_classes_have_the_same_bases(official: Surface, ours: Surface) -> None:
    missing = {
        name: sorted(lacking)
        for name, theirs in official.items()
        if theirs and ours.get(name) and "capabilities" not in name
        if (lacking := {base for base in theirs["bases"] if not base.startswith("_")} - set(ours[name]["bases"]))
    }
    assert missing == {}


def test_additions_are_told(official: Surface, ours: Surface) -> None:
    added, left_out = Differences("Added"), Differences("Left out")
    untold = [
        joined(owner, name)
        for owner, entry in ours.items()
        if entry and official.get(owner)
        for name in set(entry["members"]) - set(official[owner]["members"])
        if not added.cover(joined(owner, name)) and not left_out.cover(joined(owner, name))
    ]
    assert untold == []
    added.cover("config.GlobalConfig.concurrency_settings.waiting")
    assert set(added.patterns) - added.used == set(), "rows of the page that add nothing"
