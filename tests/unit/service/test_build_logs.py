"""The logs of builds: followed while they grow, cut in the middle when they are too long, kept as files."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kvern.service import build_logs
from kvern.service.build_logs import LAST, BuildLog, BuildLogs


@pytest.fixture
def logs(tmp_path: Path) -> BuildLogs:
    return BuildLogs(tmp_path / "logs", lambda: 7)


async def texts(logs: BuildLogs, after: int = 0, seconds: float = 0) -> list[str]:
    return [entry.message for entry in await logs.read(1, after, seconds)]


async def test_a_log_can_be_read_while_it_grows_and_when_it_is_kept(logs: BuildLogs, tmp_path: Path) -> None:
    log = logs.begin(1)
    log.add("one")
    assert await texts(logs) == ["one"]
    log.add("two")
    assert await texts(logs, after=1) == ["two"]
    await logs.finish(1, log)
    assert await texts(logs) == ["one", "two"]
    again = BuildLogs(tmp_path / "logs", lambda: 8)
    assert [(entry.timestamp, entry.message) for entry in await again.read(1, 1, 30)] == [(7, "two")]


async def test_one_who_follows_is_told_at_once(logs: BuildLogs) -> None:
    log = logs.begin(1)
    followers = [asyncio.create_task(texts(logs, 0, 30)) for _ in range(2)]
    await asyncio.sleep(0)
    log.add("one")
    assert await asyncio.gather(*followers) == [["one"], ["one"]]
    waiting = asyncio.create_task(texts(logs, 1, 30))
    await asyncio.sleep(0)
    await logs.finish(1, log)
    assert await waiting == []


async def test_the_wait_is_over_when_it_is_over(logs: BuildLogs) -> None:
    logs.begin(1)
    assert await texts(logs, 0, 0.01) == []


async def test_of_a_log_that_is_too_long_beginning_and_end_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_logs, "MOST", 10)
    log = BuildLog(lambda: 7)
    for number in range(LAST + 50):
        log.add(f"{number:02}")
    log.finish()
    log.finish()
    kept = [entry.message for entry in log.entries]
    assert kept[:5] == ["00", "01", "02", "03", "04"]
    assert kept[5] == "… 45 lines are left out …"
    assert kept[6] == "50"
    assert kept[-1] == str(LAST + 49)


async def test_nothing_is_left_out_when_the_end_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_logs, "MOST", 4)
    log = BuildLog(lambda: 7)
    for number in range(9):
        log.add(f"{number:02}")
    log.finish()
    assert [entry.message for entry in log.entries] == [f"{number:02}" for number in range(9)]


async def test_a_log_goes_with_its_function(logs: BuildLogs, tmp_path: Path) -> None:
    for function_id in (1, 2):
        await logs.finish(function_id, logs.begin(function_id))
    await logs.forget(1)
    await logs.forget(1)
    logs.begin(3)
    await logs.forget(3)
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["2.json"]
    logs.clear({1})
    assert not list((tmp_path / "logs").iterdir())


async def test_a_file_that_is_damaged_is_an_empty_log(logs: BuildLogs, tmp_path: Path) -> None:
    await logs.finish(1, logs.begin(1))
    (tmp_path / "logs" / "1.json").write_text("[{")
    assert await texts(logs) == []


async def test_a_disk_that_takes_nothing_costs_no_build(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file in the place of the folder")
    logs = BuildLogs(tmp_path / "logs", lambda: 7)
    log = logs.begin(1)
    log.add("one")
    await logs.finish(1, log)
    assert await texts(logs) == ["one"]
