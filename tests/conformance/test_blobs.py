"""What every `Blobs` guarantees."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pytest
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

from kvern.store import blobs as local_blobs
from kvern.store import s3 as s3_blobs
from kvern.store.blobs import Blobs, LocalBlobs
from kvern.store.s3 import S3Blobs
from kvern.wire.errors import TooLargeError

MEGA = 1_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of a server that speaks S3, with its objects in memory."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class Place:
    """Where blobs are: opened as often as a test likes, and looked into."""

    def __init__(self, open_: Callable[..., Blobs], everything: Callable[[], list[str]], half: Path) -> None:
        self.open = open_
        self.everything = everything
        self.half = half


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, root: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param == "local":
        return Place(lambda: LocalBlobs(root), lambda: [path.name for path in all_files(root)], root / "incoming")
    address = request.getfixturevalue("s3")
    for name, value in (
        ("ENDPOINT_URL", address),
        ("ACCESS_KEY_ID", "k"),
        ("SECRET_ACCESS_KEY", "s"),
        ("REGION", "us-east-1"),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)
    bucket = f"b-{secrets.token_hex(8)}"
    httpx2.put(f"{address}/{bucket}").raise_for_status()
    look = S3Store(bucket, client_options={"allow_http": True})

    def everything() -> list[str]:
        return [one["path"] for page in look.list() for one in page] + [path.name for path in all_files(root)]

    return Place(lambda: S3Blobs(f"s3://{bucket}/some/prefix", root), everything, root)


@pytest.fixture
def blobs(place: Place) -> Blobs:
    return place.open()


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


async def test_bytes_are_there_after_opening_anew(blobs: Blobs, place: Place) -> None:
    key = await keep(blobs, b"kept")
    assert await content_of(place.open(), key) == b"kept"


async def test_what_is_read_leaves_no_copy(blobs: Blobs, place: Place) -> None:
    key = await keep(blobs, b"kept")
    with pytest.raises(LookupError):
        async with blobs.local(key):
            raise LookupError
    assert len(place.everything()) == 1


@pytest.mark.parametrize("large", [(b"x" * 11,), (b"x" * 5, b"x" * 6), (b"x" * 2 * MEGA,)])
async def test_more_than_the_limit_is_refused_and_leaves_nothing(
    blobs: Blobs, place: Place, large: tuple[bytes, ...]
) -> None:
    with pytest.raises(TooLargeError, match="10 bytes"):
        await blobs.write(parts(*large), 10)
    assert place.everything() == []


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


async def test_content_that_breaks_off_leaves_nothing(blobs: Blobs, place: Place) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"some"
        raise ConnectionError("the client went away")

    with pytest.raises(ConnectionError):
        await blobs.write(broken(), MEGA)
    assert place.everything() == []


async def test_a_cancelled_write_leaves_nothing(blobs: Blobs, place: Place) -> None:
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
    assert place.everything() == []


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


async def test_what_was_never_finished_is_cleared_away(blobs: Blobs, place: Place) -> None:
    kept, forgotten = await keep(blobs, b"kept"), await keep(blobs, b"forgotten")
    half = place.half / ("f" * 40)
    half.write_bytes(b"of a write that was killed")
    await blobs.clear_leftovers({kept})
    assert not half.exists()
    assert await content_of(blobs, kept) == b"kept"
    with pytest.raises(FileNotFoundError):
        await content_of(blobs, forgotten)
    assert len(place.everything()) == 1


async def test_clearing_leaves_copies_alone(blobs: Blobs) -> None:
    original = await keep(blobs, b"abc")
    copy = await blobs.copy(original)
    await blobs.clear_leftovers({copy})
    assert await content_of(blobs, copy) == b"abc"


async def test_writing_goes_on_after_clearing(blobs: Blobs) -> None:
    await blobs.clear_leftovers(set())
    assert await content_of(blobs, await keep(blobs, b"abc")) == b"abc"


async def test_a_place_is_known_again_by_the_first_mark_that_it_got(place: Place) -> None:
    assert await place.open().mark(None) is None
    assert await place.open().mark("17") == "17"
    assert await place.open().mark("18") == "17"
    await place.open().clear_leftovers(set())
    assert await place.open().mark(None) == "17"


async def test_what_another_service_writes_or_is_about_to_name_is_not_cleared(
    blobs: Blobs, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await keep(blobs, b"abc")
    half = place.half / ("f" * 40)
    half.write_bytes(b"of a write that goes on")
    for path in all_files(place.half.parent):
        os.utime(path, (0, 0))  # as that of a copy, which is a second name for old bytes
    await blobs.clear_leftovers(set(), young=3600)
    assert await content_of(blobs, key) == b"abc"
    assert half.exists()
    later = SimpleNamespace(time=lambda: time.time() + 7200)
    for module in (local_blobs, s3_blobs):
        monkeypatch.setattr(module, "time", later)
    await blobs.clear_leftovers(set(), young=3600)
    assert place.everything() == []


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
