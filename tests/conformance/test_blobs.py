"""What every `Blobs` guarantees."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kvern.store.blobs import Blobs, LocalBlobs
from kvern.wire.errors import TooLargeError

MEGA = 1_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def blobs(root: Path) -> Blobs:
    return LocalBlobs(root)


async def parts(*content: bytes) -> AsyncIterator[bytes]:
    for part in content:
        yield part


async def keep(blobs: Blobs, content: bytes) -> str:
    key, _ = await blobs.write(parts(content), 10 * MEGA)
    return key


async def content_of(blobs: Blobs, key: str) -> bytes:
    async with blobs.local(key) as path:
        return path.read_bytes()


def all_files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "content",
    [(), (b"",), (b"abc",), (b"a", b"", b"bc"), (os.urandom(3 * MEGA), b"end"), (b"x" * 70_000,) * 10],
    ids=["nothing", "an empty part", "one part", "parts", "a large part", "many parts"],
)
async def test_bytes_come_back_as_they_were(blobs: Blobs, content: tuple[bytes, ...]) -> None:
    key, size = await blobs.write(parts(*content), 10 * MEGA)
    assert size == len(b"".join(content))
    assert await content_of(blobs, key) == b"".join(content)


async def test_equal_bytes_get_keys_of_their_own(blobs: Blobs) -> None:
    keys = [await keep(blobs, b"same") for _ in range(20)]
    assert len(set(keys)) == 20
    await blobs.delete(keys[0])
    assert await content_of(blobs, keys[1]) == b"same"


async def test_many_writes_at_once(blobs: Blobs) -> None:
    contents = [bytes([number]) * 5000 for number in range(50)]
    keys = await asyncio.gather(*(keep(blobs, content) for content in contents))
    assert [await content_of(blobs, key) for key in keys] == contents


async def test_bytes_are_there_after_opening_anew(blobs: Blobs, root: Path) -> None:
    key = await keep(blobs, b"kept")
    assert await content_of(LocalBlobs(root), key) == b"kept"


@pytest.mark.parametrize("large", [(b"x" * 11,), (b"x" * 5, b"x" * 6), (b"x" * 2 * MEGA,)])
async def test_more_than_the_limit_is_refused_and_leaves_nothing(
    blobs: Blobs, root: Path, large: tuple[bytes, ...]
) -> None:
    with pytest.raises(TooLargeError, match="10 bytes"):
        await blobs.write(parts(*large), 10)
    assert all_files(root) == []


async def test_exactly_the_limit_is_kept(blobs: Blobs) -> None:
    _, size = await blobs.write(parts(b"x" * 5, b"x" * 5), 10)
    assert size == 10


async def test_more_than_the_limit_ends_the_reading(blobs: Blobs) -> None:
    """An endless upload must not be read to its end to be refused."""
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"x" * 100

    with pytest.raises(TooLargeError):
        await blobs.write(endless(), 1000)
    assert read == 11


async def test_content_that_breaks_off_leaves_nothing(blobs: Blobs, root: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"some"
        raise ConnectionError("the client went away")

    with pytest.raises(ConnectionError):
        await blobs.write(broken(), MEGA)
    assert all_files(root) == []


async def test_a_cancelled_write_leaves_nothing(blobs: Blobs, root: Path) -> None:
    reading = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield b"some"
        reading.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(blobs.write(stalled(), MEGA))
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all_files(root) == []


async def test_a_copy_does_not_depend_on_its_original(blobs: Blobs) -> None:
    original = await keep(blobs, b"abc")
    copy = await blobs.copy(original)
    assert copy != original
    await blobs.delete(original)
    assert await content_of(blobs, copy) == b"abc"
    again = await blobs.copy(copy)
    await blobs.delete(copy)
    assert await content_of(blobs, again) == b"abc"


async def test_a_key_that_names_nothing(blobs: Blobs) -> None:
    gone = await keep(blobs, b"abc")
    await blobs.delete(gone)
    for key in (gone, "0" * 40):
        await blobs.delete(key)
        with pytest.raises(FileNotFoundError):
            await blobs.copy(key)
        with pytest.raises(FileNotFoundError):
            async with blobs.local(key):
                pass


async def test_what_was_never_finished_is_cleared_away(blobs: Blobs, root: Path) -> None:
    kept, forgotten = await keep(blobs, b"kept"), await keep(blobs, b"forgotten")
    half = root / "incoming" / ("f" * 40)
    half.write_bytes(b"of a write that was killed")
    await blobs.clear_leftovers({kept})
    assert not half.exists()
    assert await content_of(blobs, kept) == b"kept"
    with pytest.raises(FileNotFoundError):
        await content_of(blobs, forgotten)
    assert len(all_files(root)) == 1


async def test_clearing_leaves_copies_alone(blobs: Blobs) -> None:
    original = await keep(blobs, b"abc")
    copy = await blobs.copy(original)
    await blobs.clear_leftovers({copy})
    assert await content_of(blobs, copy) == b"abc"


async def test_writing_goes_on_after_clearing(blobs: Blobs) -> None:
    await blobs.clear_leftovers(set())
    assert await content_of(blobs, await keep(blobs, b"abc")) == b"abc"


async def test_only_the_owner_reads_local_blobs(root: Path) -> None:
    blobs = LocalBlobs(root)
    await keep(blobs, b"secret code")
    folders = [path for path in root.iterdir() if path.is_dir()]
    assert len(folders) == 2
    assert {oct(path.stat().st_mode & 0o777) for path in folders} == {"0o700"}


async def test_local_blobs_are_flushed_before_their_key_is_given(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes first, then the name: power that fails in between leaves no name without bytes."""
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def see_fsync(descriptor: int) -> None:
        steps.append("folder" if Path(f"/proc/self/fd/{descriptor}").resolve().is_dir() else "bytes")
        fsync(descriptor)

    def see_rename(path: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", see_fsync)
    monkeypatch.setattr(Path, "rename", see_rename)
    await keep(LocalBlobs(root), b"abc")
    assert steps == ["bytes", "rename", "folder", "folder"]
