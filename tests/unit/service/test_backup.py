"""Backups: of one moment whatever goes on meanwhile, whole or not at all; and what is refused when they come back."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from kvern.service import backup as module
from kvern.service.backup import back_up, restore
from kvern.service.backup_file import BackupError, may_be_named
from kvern.store import StoreFault, schema, tables
from kvern.store.sqlite import SqliteStore

FILE = {"project": "plant", "name": "f", "details": "{}", "created_time": 1, "last_updated_time": 1}


class DataFolder:
    """A data folder with a database that is open, as a service has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "keys").mkdir(parents=True)
        path.chmod(0o700)
        (path / "keys" / "master.key").write_bytes(b"k1")
        (path / "keys" / ".master.key.123").write_bytes(b"half written")
        (path / "client.json").write_text("{}")
        (path / "run").mkdir()
        self.store = SqliteStore(path / "kvern.db")
        self.store.start()
        self._made = 0

    async def file(self, content: bytes, *, on_disk: bool = True) -> str:
        """The key of the blob of a new file."""
        self._made += 1
        key = f"{self._made:040x}"
        if on_disk:
            self.blob(key).parent.mkdir(parents=True, exist_ok=True)
            self.blob(key).write_bytes(content)
        row = {**FILE, "id": self._made, "blob": key, "size": len(content)}
        await self.store.transact(lambda connection: connection.execute(insert(tables.files), row))
        return key

    def blob(self, key: str) -> Path:
        return self.path / "blobs" / key[:2] / key

    async def delete(self, key: str) -> None:
        """As the service does it: the row, then the bytes."""
        gone = tables.files.delete().where(tables.files.c.blob == key)
        await self.store.transact(lambda connection: connection.execute(gone))
        self.blob(key).unlink()

    def delete_now(self, key: str) -> None:
        """The same from another process."""
        with sqlite3.connect(self.path / "kvern.db") as connection:
            connection.execute("DELETE FROM files WHERE blob = ?", (key,))
        connection.close()
        self.blob(key).unlink()


@pytest.fixture
def data(tmp_path: Path) -> Iterator[DataFolder]:
    folder = DataFolder(tmp_path / "data")
    yield folder
    folder.store.stop()


def names(file: Path) -> list[str]:
    with tarfile.open(file) as tar:
        return tar.getnames()


def blobs_of(folder: Path) -> list[str]:
    with sqlite3.connect(folder / "kvern.db") as connection:
        found = [row[0] for row in connection.execute("SELECT blob FROM files ORDER BY blob")]
    connection.close()
    return found


async def test_what_is_restored_is_what_was_backed_up(data: DataFolder, tmp_path: Path) -> None:
    keys = [await data.file(b"one"), await data.file(b"two" * 100_000)]
    (data.path / "blobs" / "incoming").mkdir()
    (data.path / "blobs" / "incoming" / ("e" * 40)).write_bytes(b"half an upload")
    (data.path / "build" / "revisions" / "r1").mkdir(parents=True)
    (data.path / "build" / "revisions" / "r1" / "revision.json").write_text("{}")
    (data.path / "build" / "environments").mkdir()
    (data.path / "build" / "environments" / "e.json").write_text("{}")
    seen: list[tuple[int, int]] = []

    report = back_up(tmp_path / "b.tar", data.path, progress=lambda *told: seen.append(told))
    described = restore(tmp_path / "b.tar", tmp_path / "new")

    assert (report.blobs, report.blob_bytes, report.lost) == (2, 300_003, [])
    assert report.size == (tmp_path / "b.tar").stat().st_size
    assert sum(amount for amount, _ in seen) == seen[0][1]
    assert (described.database, described.blobs, described.keys, described.schema) == (
        "sqlite",
        "folder",
        True,
        schema.latest(),
    )
    new = tmp_path / "new"
    assert blobs_of(new) == keys
    assert [(new / "blobs" / key[:2] / key).read_bytes()[:3] for key in keys] == [b"one", b"two"]
    there = {path.relative_to(new).as_posix() for path in new.rglob("*") if path.is_file()}
    assert there - {"kvern.db", "kvern.db-wal", "kvern.db-shm"} == {
        *(f"blobs/{key[:2]}/{key}" for key in keys),
        "build/revisions/r1/revision.json",
        "client.json",
        "keys/master.key",
    }
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (new / "keys" / "master.key", tmp_path / "b.tar")}
    assert (modes, stat.S_IMODE(new.stat().st_mode)) == ({0o600}, 0o700)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar", "data", "new"]
    assert list((data.path / "build" / "staging").iterdir()) == []


async def test_what_is_deleted_while_the_backup_looks_at_it_is_not_named_by_it(
    data: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the snapshot and the link of a blob, its file is deleted: a second snapshot is needed."""
    kept, gone = await data.file(b"kept"), await data.file(b"gone")
    snapshots = 0
    look = module.Snapshot.blobs

    def blobs(snapshot: Any) -> set[str]:
        nonlocal snapshots
        snapshots += 1
        named = look(snapshot)
        if snapshots == 1:
            data.delete_now(gone)
        return named

    monkeypatch.setattr(module.Snapshot, "blobs", blobs)
    report = back_up(tmp_path / "b.tar", data.path)
    restore(tmp_path / "b.tar", tmp_path / "new")

    assert snapshots == 2
    assert (blobs_of(tmp_path / "new"), report.lost) == ([kept], [])


async def test_what_is_deleted_and_written_while_the_backup_copies_changes_nothing(
    data: DataFolder, tmp_path: Path
) -> None:
    keys = [await data.file(bytes(100_000)) for _ in range(3)]
    done = False

    def meanwhile(_amount: int, _total: int) -> None:
        nonlocal done
        if not done:
            done = True
            data.delete_now(keys[0])

    back_up(tmp_path / "b.tar", data.path, progress=meanwhile)
    restore(tmp_path / "b.tar", tmp_path / "new")

    assert blobs_of(tmp_path / "new") == keys
    assert (tmp_path / "new" / "blobs" / keys[0][:2] / keys[0]).read_bytes() == bytes(100_000)
    assert blobs_of(data.path) == keys[1:]


async def test_bytes_that_were_lost_before_are_told_and_do_not_keep_the_rest_from_being_backed_up(
    data: DataFolder, tmp_path: Path
) -> None:
    there, lost = await data.file(b"there"), await data.file(b"", on_disk=False)

    report = back_up(tmp_path / "b.tar", data.path)

    assert report.lost == [lost]
    assert [name for name in names(tmp_path / "b.tar") if name.startswith("blobs/")] == [f"blobs/00/{there}"]


async def test_a_change_of_the_master_key_meanwhile_is_noticed(
    data: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = [b"k2\nk1", b"k2"]
    look = module.Snapshot.blobs

    def blobs(snapshot: Any) -> set[str]:
        if written:
            (data.path / "keys" / "master.key").write_bytes(written.pop(0))
        return look(snapshot)

    monkeypatch.setattr(module.Snapshot, "blobs", blobs)
    back_up(tmp_path / "b.tar", data.path)
    restore(tmp_path / "b.tar", tmp_path / "new")

    assert (tmp_path / "new" / "keys" / "master.key").read_bytes() == b"k2"
    assert not written


async def test_keys_that_change_without_end_give_no_backup(
    data: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = module.Snapshot.blobs

    def blobs(snapshot: Any) -> set[str]:
        (data.path / "keys" / "master.key").write_bytes(os.urandom(8))
        return look(snapshot)

    monkeypatch.setattr(module.Snapshot, "blobs", blobs)
    with pytest.raises(BackupError, match="try again later"):
        back_up(tmp_path / "b.tar", data.path)
    assert not (tmp_path / "b.tar").exists()


async def test_the_keys_can_be_left_out(data: DataFolder, tmp_path: Path) -> None:
    report = back_up(tmp_path / "b.tar", data.path, keys=False)
    assert not report.description.keys
    assert [name for name in names(tmp_path / "b.tar") if "key" in name or "client" in name] == []


async def test_a_database_and_blobs_that_are_elsewhere_are_left_out(data: DataFolder, tmp_path: Path) -> None:
    key = await data.file(b"x")
    unnamed = "f" * 40
    data.blob(unnamed).parent.mkdir()
    data.blob(unnamed).write_bytes(b"of a row that only PostgreSQL has")
    back_up(tmp_path / "p.tar", data.path, database=False)
    back_up(tmp_path / "s.tar", data.path, blobs=False)
    keys = ["keys/master.key", "client.json"]
    blobs = [f"blobs/00/{key}", f"blobs/ff/{unnamed}"]
    assert names(tmp_path / "p.tar") == ["backup.json", *keys, *blobs, "SHA256SUMS"]
    assert names(tmp_path / "s.tar") == ["backup.json", "kvern.db", *keys, "SHA256SUMS"]


async def test_a_backup_that_breaks_off_leaves_nothing_behind(
    data: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await data.file(b"x")

    def full(_amount: int, _total: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        back_up(tmp_path / "b.tar", data.path, progress=full)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert list((data.path / "build" / "staging").iterdir()) == []


def no_data(data: DataFolder, folder: Path) -> None:
    shutil.rmtree(data.path / "keys")


def no_database(data: DataFolder, folder: Path) -> None:
    (data.path / "kvern.db").rename(folder / "away.db")


def a_backup_is_there(data: DataFolder, folder: Path) -> None:
    (folder / "b.tar").touch()


def another_user(data: DataFolder, folder: Path) -> None:
    os.chown(data.path, 4711, 4711)


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        (no_data, "no service has run with it"),
        (no_database, "say so with --database"),
        (a_backup_is_there, "does not replace"),
        (another_user, "belongs to the user 4711"),
    ],
)
def test_no_backup_is_begun(
    data: DataFolder, tmp_path: Path, prepare: Callable[[DataFolder, Path], None], told: str
) -> None:
    if prepare is another_user and os.geteuid() != 0:
        pytest.skip("only root can give files away")
    prepare(data, tmp_path)
    with pytest.raises(BackupError, match=told):
        back_up(tmp_path / "b.tar", data.path)


def test_what_is_no_database_of_kvern_is_told(tmp_path: Path) -> None:
    (tmp_path / "data" / "keys").mkdir(parents=True)
    for content in (b"", b"no database" * 1000):
        (tmp_path / "data" / "kvern.db").write_bytes(content)
        with pytest.raises(StoreFault):
            back_up(tmp_path / "b.tar", tmp_path / "data")


# Coming back


@pytest.fixture
async def good(data: DataFolder, tmp_path: Path) -> Path:
    """A backup with a file."""
    await data.file(b"content of a file")
    back_up(tmp_path / "good.tar", data.path)
    return tmp_path / "good.tar"


def refused(file: Path, folder: Path) -> str:
    """What is said about a backup that is refused; nothing is left of it."""
    before = sorted(folder.iterdir())
    with pytest.raises(BackupError) as caught:
        restore(file, folder / "new")
    assert sorted(folder.iterdir()) == before
    return str(caught.value)


async def test_a_byte_that_changed_anywhere_in_a_file_is_found(good: Path, tmp_path: Path) -> None:
    whole = good.read_bytes()
    with tarfile.open(good) as tar:
        places = [(member.name, member.offset_data, member.offset) for member in tar.getmembers()]
    for name, content, header in places:
        for place in (content, header + 2, header + 130):
            damaged = bytearray(whole)
            damaged[place] ^= 1
            good.write_bytes(damaged)
            assert "good.tar is not restored" in refused(good, tmp_path), (name, place)
    good.write_bytes(whole)
    restore(good, tmp_path / "new")


async def test_a_backup_that_was_cut_off_is_refused(good: Path, tmp_path: Path) -> None:
    whole = good.read_bytes()
    with tarfile.open(good) as tar:
        end = max(member.offset_data + member.size for member in tar.getmembers())
    for length in (0, 100, 512, 2000, len(whole) // 2, end - 1):
        good.write_bytes(whole[:length])
        refused(good, tmp_path)


def with_members(good: Path, *more: tuple[tarfile.TarInfo, bytes]) -> None:
    """Write a backup anew with further members before its sums, which name them."""
    with tarfile.open(good) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar.getmembers()]  # type: ignore[union-attr]
    sums, raw = members.pop()
    for member, content in more:
        raw += f"{hashlib.sha256(content).hexdigest()}  {member.name}\n".encode()
    sums.size = len(raw)
    with tarfile.open(good, "w") as tar:
        for member, content in [*members, *more, (sums, raw)]:
            tar.addfile(member, io.BytesIO(content))


def member(name: str, content: bytes = b"x", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.size = len(content)
    for field, value in fields.items():
        setattr(made, field, value)
    return made, content


@pytest.mark.parametrize(
    "hostile",
    [
        member("../outside"),
        member("/etc/outside"),
        member("keys/../../outside"),
        member("blobs/../client.json"),
        member("keys/.hidden"),
        member("keys//x"),
        member("keys/a\nb"),
        member("build/environments/x/bin/python"),
        member("build/revisions/r/code/handler.py"),
        member("kvern.toml"),
        member("lock"),
        member("keys/link", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("keys/link", b"", type=tarfile.LNKTYPE, linkname="client.json"),
        member("keys/fifo", b"", type=tarfile.FIFOTYPE),
        member("keys/null", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("keys", b"", type=tarfile.DIRTYPE),
        member("keys/sparse", b"", type=tarfile.GNUTYPE_SPARSE),
        member("keys/holes", b"", pax_headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": "1000000000000"}),
        member("client.json"),
    ],
    ids=lambda hostile: hostile[0].name,
)
async def test_a_hostile_backup_is_refused(good: Path, tmp_path: Path, hostile: tuple[tarfile.TarInfo, bytes]) -> None:
    with_members(good, hostile)
    told = refused(good, tmp_path)
    assert "entry" in told


async def test_one_that_was_made_by_hand_and_is_right_is_restored(good: Path, tmp_path: Path) -> None:
    """So that the test above refuses for the member, and not for how it was made."""
    with_members(good, member("keys/further"))
    restore(good, tmp_path / "new")
    assert (tmp_path / "new" / "keys" / "further").read_bytes() == b"x"


async def test_more_after_the_end_is_refused(good: Path, tmp_path: Path) -> None:
    with tarfile.open(good, "a") as tar:
        late, content = member("keys/late")
        tar.addfile(late, io.BytesIO(content))
    assert "more entries" in refused(good, tmp_path)


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 100, b"\x1f\x8b\x08" + bytes(1000)])
def test_what_is_no_backup_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    assert "is not restored" in refused(tmp_path / "x.tar", tmp_path)


def test_another_tar_and_one_of_a_newer_kvern_are_refused(tmp_path: Path) -> None:
    for first, told in (
        (member("holiday.jpg"), "no backup of Kvern"),
        (member("backup.json", b"[]"), "no backup of Kvern"),
        (
            member(
                "backup.json",
                json.dumps(
                    {
                        "format": 2,
                        "version": "9.9",
                        "createdTime": 1,
                        "database": "sqlite",
                        "schema": "0100",
                        "blobs": "folder",
                        "keys": True,
                    }
                ).encode(),
            ),
            "written by Kvern 9.9",
        ),
    ):
        with tarfile.open(tmp_path / "x.tar", "w") as tar:
            tar.addfile(first[0], io.BytesIO(first[1]))
        assert told in refused(tmp_path / "x.tar", tmp_path)


async def test_a_folder_with_something_in_it_stays_as_it_is(good: Path, data: DataFolder, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "precious").touch()
    assert "is not empty" in refused(good, tmp_path)
    shutil.rmtree(tmp_path / "new")
    (tmp_path / "new").touch()
    assert "is no folder" in refused(good, tmp_path)


async def test_an_empty_folder_is_taken(good: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    restore(good, tmp_path / "new")
    assert (tmp_path / "new" / "kvern.db").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "keys", "keys/", "keys/a/b", "blobs/ab/x", "keys/-rf", "KEYS/x"])
def test_names_that_no_backup_has(name: str) -> None:
    assert not may_be_named(name)
