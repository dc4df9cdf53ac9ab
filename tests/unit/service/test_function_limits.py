"""What a function may ask for, what it has when it does not ask, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kvern.service.function_limits import FunctionLimits
from kvern.settings import Settings
from kvern.wire import functions as wire
from kvern.wire.errors import InvalidError


def limits(folder: Path, *runtimes: str, **settings: Any) -> FunctionLimits:
    made = FunctionLimits(Settings(data_dir=folder, **settings))
    made.runtimes = list(runtimes)
    return made


def test_what_may_be_asked_for_is_shown(tmp_path: Path) -> None:
    shown = limits(tmp_path, "py310", "py314", timeout_minutes=0.5, cpu_max=2.0, response_size_mb=3.0).shown()
    assert shown.timeout_minutes == 1
    assert shown.cpu_cores == wire.Range(min=0.1, max=2.0, default=1.0)
    assert shown.memory_gb == wire.Range(min=0.1, max=5.0, default=1.5)
    assert shown.runtimes == ["py310", "py314"]
    assert shown.response_size_mb == 3


@pytest.mark.parametrize(
    ("runtimes", "default"),
    [(["py310", "py314"], "py310"), (["py314"], "py314"), (["py311", "py312"], "py312"), (["py313", "py314"], "py313")],
)
def test_the_default_runtime_is_the_newest_up_to_3_13(tmp_path: Path, runtimes: list[str], default: str) -> None:
    assert limits(tmp_path, *runtimes).runtime(None) == default


def test_a_runtime_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    has = limits(tmp_path, "py311", "py312")
    assert has.runtime("py311") == "py311"
    with pytest.raises(InvalidError, match=r"py311, py312\), given 'py27'"):
        has.runtime("py27")


def test_a_soft_deadline_comes_before_the_time_limit(tmp_path: Path) -> None:
    has = limits(tmp_path, timeout_minutes=1.0)
    has.check_soft_deadline(None)
    has.check_soft_deadline(59.5)
    with pytest.raises(InvalidError, match="below the time limit of a call, 60 s, given 60"):
        has.check_soft_deadline(60.0)


def test_a_project_is_full_at_its_limit(tmp_path: Path) -> None:
    has = limits(tmp_path, max_functions=2)
    has.check_room(1)
    with pytest.raises(InvalidError, match="at most 2 functions"):
        has.check_room(2)
