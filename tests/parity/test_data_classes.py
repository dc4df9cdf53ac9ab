"""The data classes and exceptions do what the official SDK's do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.parity import exercise_names


@pytest.fixture(scope="module")
def seen(probe: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    return probe("exercise_data_classes.py")


def test_the_same_things_were_done_to_both(seen: dict[str, dict[str, Any]]) -> None:
    assert list(seen["official"]) == list(seen["ours"]) == exercise_names.DATA_CLASSES


@pytest.mark.parametrize("name", exercise_names.DATA_CLASSES)
def test_the_same_comes_of_it(seen: dict[str, dict[str, Any]], name: str) -> None:
    assert seen["ours"][name] == seen["official"][name]


def test_yaml_is_read_back_as_it_was_by_a_yaml_package(probe: Callable[..., Any]) -> None:
    assert probe("exercise_yaml.py") == []
