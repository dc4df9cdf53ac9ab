"""Folders of unfinished work, locks among servers, and trees that nobody may write to."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from pathlib import Path

import pytest

from kvern.build.staging import clear, exclusive, flush, in_thread, remove, seal, staging


async def test_a_staging_folder_is_private_and_goes_with_the_work(tmp_path: Path) -> None:
    async with staging(tmp_path) as work:
        assert stat.S_IMODE(work.stat().st_mode) == 0o700
        (work / "half").write_text("done")
    assert list(tmp_path.iterdir()) == []


async def test_it_goes_when_the_work_fails_or_is_cancelled(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"):
        async with staging(tmp_path):
            raise ValueError("no")
    begun = asyncio.Event()

    async def work() -> None:
        async with staging(tmp_path):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(tmp_path.iterdir()) == []


async def test_clearing_spares_work_that_goes_on(tmp_path: Path) -> None:
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / ".alive").touch()
    (tmp_path / "older").mkdir()
    (tmp_path / "stray").touch()
    async with staging(tmp_path) as work:
        clear(tmp_path)
        assert list(tmp_path.iterdir()) == [work]


def test_clearing_where_nothing_is(tmp_path: Path) -> None:
    clear(tmp_path / "none")


async def test_one_at_a_time(tmp_path: Path) -> None:
    lock, inside, most = tmp_path / "a" / "lock", 0, 0

    async def work() -> None:
        nonlocal inside, most
        async with exclusive(lock):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(work() for _ in range(10)))
    assert most == 1
    assert not lock.exists()


def test_sealing_leaves_links_and_what_a_cache_shares(tmp_path: Path) -> None:
    cache, tree = tmp_path / "cache", tmp_path / "tree"
    cache.write_text("shared")
    cache.chmod(0o644)
    (tree / "in").mkdir(parents=True)
    for name, mode in (("own", 0o644), ("tool", 0o4755)):
        (tree / "in" / name).write_text("x")
        (tree / "in" / name).chmod(mode)
    os.link(cache, tree / "linked")
    (tree / "away").symlink_to(cache)
    (tree / "folder").symlink_to(tmp_path)
    seal(tree)
    modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in (tree, *tree.rglob("*"), cache)}
    assert modes["tree"] == modes["in"] == modes["tool"] == 0o555
    assert modes["own"] == 0o444
    assert modes["cache"] == modes["linked"] == 0o644
    assert stat.S_IMODE(tmp_path.stat().st_mode) != 0o555


def test_removing_a_sealed_tree_follows_no_links(tmp_path: Path) -> None:
    tree, other = tmp_path / "tree", tmp_path / "other"
    (tree / "a" / "b").mkdir(parents=True)
    other.mkdir()
    (other / "kept").touch()
    (tree / "a" / "link").symlink_to(other)
    (tree / "a" / "b").chmod(0)
    seal(tree)
    remove(tree)
    assert not tree.exists()
    assert (other / "kept").exists()
    remove(tree)


def test_removing_a_link_leaves_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    remove(tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir()] == ["real"]


async def test_a_thread_that_writes_is_waited_for_when_the_work_is_called_off(tmp_path: Path) -> None:
    begun, go = threading.Event(), threading.Event()

    def write(folder: Path) -> None:
        begun.set()
        assert go.wait(30)
        (folder / "late").write_text("x")

    async def work() -> None:
        async with staging(tmp_path / "staging") as folder:
            await in_thread(write, folder)

    task = asyncio.create_task(work())
    assert await asyncio.to_thread(begun.wait, 30)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=0.1)
    assert not done
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list((tmp_path / "staging").iterdir()) == []


async def test_what_a_thread_raises_is_raised(tmp_path: Path) -> None:
    assert await in_thread(int, "7") == 7
    with pytest.raises(ValueError, match="seven"):
        await in_thread(int, "seven")


@pytest.mark.parametrize("count", [3, 200])
def test_a_tree_is_flushed_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    for number in range(count):
        (tmp_path / "inner" / f"{number}").mkdir(parents=True)
        (tmp_path / "inner" / f"{number}" / "file").write_text("x")
    flushed: set[str] = set()
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.add(os.readlink(f"/proc/self/fd/{descriptor}")))
    monkeypatch.setattr(os, "sync", lambda: flushed.update(map(str, [tmp_path, *tmp_path.rglob("*")])))
    flush(tmp_path)
    assert flushed == {str(path) for path in [tmp_path, *tmp_path.rglob("*")]}
