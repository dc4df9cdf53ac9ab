"""Settings: what a service cannot work with is refused before it starts, with the name and the value."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from kvern.settings import Settings


def test_the_defaults_are_good_and_those_of_the_contract() -> None:
    its = Settings()
    assert (its.max_functions, its.max_calls, its.max_function_calls) == (100, 250, 100)
    assert (its.max_schedules, its.max_function_schedules) == (1000, 100)
    assert (its.timeout_minutes, its.data_limit_mb, its.response_size_mb, its.retention_days) == (10, 9, 1, 90)
    assert (its.cpu_default, its.cpu_max, its.memory_default, its.memory_max) == (1.0, 3.0, 1.5, 5.0)
    assert (its.host, its.call_grace_ms, its.call_error) == ("127.0.0.1", 100, "auto")


def test_every_setting_is_described() -> None:
    described = re.findall(r"^ {8}(\w+): ", Settings.__doc__ or "", re.MULTILINE)
    assert described == [field.name for field in fields(Settings)]


@pytest.mark.parametrize("project", ["abc", "a-b", "1a1", "ABC", "x" * 32, "plant-7"])
def test_project_names_that_are_good(project: str) -> None:
    assert Settings(project=project).project == project


@pytest.mark.parametrize("project", ["", "ab", "x" * 33, "-abc", "abc-", "a_b", "a b", "a/b", "123", "æøå", "abc\n"])
def test_project_names_that_are_not(project: str) -> None:
    with pytest.raises(ValueError, match="project name") as caught:
        Settings(project=project)
    assert repr(project) in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {"port": -1},
        {"port": 70_000},
        {"timeout_minutes": 0},
        {"timeout_minutes": -1},
        {"timeout_minutes": float("nan")},
        {"timeout_minutes": float("inf")},
        {"data_limit_mb": 0},
        {"response_size_mb": 0},
        {"builds": 0},
        {"build_timeout_minutes": 0},
        {"call_grace_ms": -1},
        {"max_calls": -1},
        {"workers_per_function": -1},
        {"retention_days": float("nan")},
        {"cpu_min": 0},
        {"cpu_min": 2.0},
        {"cpu_default": 4.0},
        {"cpu_max": 0.5},
        {"memory_min": 0},
        {"memory_default": 9.0},
        {"memory_max": 1.0},
        {"public_url": ""},
        {"public_url": "functions.plant.example"},
        {"public_url": "ftp://functions.plant.example"},
        {"public_url": "https://"},
        {"public_url": "https://user:password@host"},
        {"public_url": "https://host/?a=b"},
        {"otlp_endpoint": "127.0.0.1:4318"},
        {"public_url": "https://ho st"},
    ],
    ids=str,
)
def test_values_with_which_no_service_can_work(given: dict[str, Any]) -> None:
    (value,) = given.values()
    with pytest.raises(ValueError, match=r"^Expected ") as caught:
        Settings(**given)
    assert str(value) in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {"port": 0},
        {"port": 65_535},
        {"call_grace_ms": 0},
        {"max_functions": 0},
        {"drain_seconds": 0},
        {"workers_per_function": 0},
        {"timeout_minutes": 0.01},
        {"cpu_min": 1.0, "cpu_default": 1.0, "cpu_max": 1.0},
        {"public_url": "https://functions.plant.example"},
        {"public_url": "http://[::1]:8000/kvern/"},
        {"otlp_endpoint": "http://127.0.0.1:4318"},
    ],
    ids=str,
)
def test_values_at_the_edge_that_are_good(given: dict[str, Any]) -> None:
    Settings(**given)


def test_settings_do_not_change() -> None:
    with pytest.raises(AttributeError):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(("figure", "size"), [(9, 9_000_000), (0.5, 500_000), (0.0000019, 1), (0, 0)])
def test_a_megabyte_is_a_million_bytes(figure: float, size: int) -> None:
    assert Settings().megabytes(figure) == size


@pytest.mark.parametrize(
    ("blobs", "folder"),
    [
        (None, None),
        ("s3://bucket/prefix", None),
        ("/mnt/kvern", Path("/mnt/kvern")),
        ("file:///mnt/a%20b", Path("/mnt/a b")),
        ("shared/blobs", Path("shared/blobs")),
    ],
)
def test_blobs_may_be_in_a_folder(blobs: str | None, folder: Path | None) -> None:
    assert Settings(blobs=blobs).blobs_folder == folder


@pytest.mark.parametrize("blobs", ["", "file://elsewhere/mnt", "file:", "gs://bucket", "s3:///prefix"])
def test_another_kind_of_place_for_blobs_is_refused(blobs: str) -> None:
    with pytest.raises(ValueError, match="place for blobs"):
        Settings(blobs=blobs)
