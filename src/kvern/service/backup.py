"""Backup of a data folder, whether a service runs on it or not, and restoring it.

It works on the files. A backup of the same moment everywhere comes about like this:

    the keys are read -> the database's snapshot is opened -> every blob that it names gets a second name, a hard link
    -> the keys are read again -> the snapshot is copied

A row is deleted before its blob is. So a blob that is not there any more was deleted after the snapshot: another
snapshot is opened, which does not name it; only links that are missing are made then, so this ends soon. A new master
key is on disk before it wraps anything, the old one until it wraps nothing: when the keys are the same before and after
the snapshot was opened, they open what is in it; else, likewise, another one is opened.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from kvern import __version__
from kvern.build.staging import workplace
from kvern.build.wheels import Wheels
from kvern.service.backup_file import (
    DATABASE,
    DESCRIPTION,
    FORMAT,
    BackupError,
    BackupWriter,
    Description,
    may_be_named,
    unpack_backup,
)
from kvern.store import StoreFault
from kvern.store.snapshot import Snapshot, open_snapshot

_ROUNDS = 100
"""Snapshots that are opened at most until one goes with its blobs and its keys."""

_CLIENT = "client.json"

Progress = Callable[[int, int], None]
"""Is told by how many bytes it went on, and how many there are in all."""


@dataclass(kw_only=True)
class Report:
    """What a backup holds.

    Args:
        size: bytes of the file.
        blobs: how many there are.
        blob_bytes: bytes of them together.
        lost: keys of blobs that a row names and that had been lost before: their files are not whole.
        no_master_key: whether the service gets its master key from elsewhere (`KVERN_MASTER_KEY`).
        needs_index: functions that are Ready and whose packages are not all in the backup: what they need would be
            fetched from an index.
    """

    description: Description
    size: int = 0
    blobs: int = 0
    blob_bytes: int = 0
    lost: list[str] = field(default_factory=list[str])
    no_master_key: bool = False
    needs_index: int = 0


def back_up(
    file: Path,
    data_dir: Path,
    *,
    database: bool = True,
    blobs: bool = True,
    keys: bool = True,
    progress: Progress = lambda _amount, _total: None,
) -> Report:
    """Write a backup of a data folder to a new file, mode 0600: whole, or not at all.

    Args:
        file: must not exist; its folder must.
        data_dir: of a service that runs or does not.
        database: whether the database is the data folder's; else it is left to the tools of PostgreSQL.
        blobs: whether the blobs are the data folder's; else they are left to the object store's.
        keys: whether keys and `client.json` belong into the backup.

    Raises:
        BackupError: this is no data folder, it belongs to another user, or the file exists.
        StoreFault: the database cannot be read.
        OSError: the disk is full, for example.
    """
    _check(file, data_dir, database=database)
    with workplace(data_dir / "build" / "staging") as work, contextlib.ExitStack() as held:
        links = _Links(data_dir, work)
        kept, snapshot, report = _settle(data_dir, links, held, database=database, blobs=blobs, keys=keys)
        partial = file.with_name(f"{file.name}.partial")
        copy = file.with_name(f"{file.name}.partial-db")
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as out:
                copied = snapshot.size if snapshot else 0
                total = 2 * copied + links.bytes()

                def tell(amount: int) -> None:
                    progress(amount, total)

                writer = BackupWriter(out, tell)
                writer.add_bytes(DESCRIPTION, msgspec.json.format(msgspec.json.encode(report.description)))
                if snapshot is not None:
                    copy.unlink(missing_ok=True)
                    snapshot.copy(copy, tell)
                    held.close()  # the database's log need not grow any more
                    writer.add(DATABASE, copy)
                    copy.unlink()
                for name, content in kept.items():
                    writer.add_bytes(name, content)
                for name in links.names():
                    writer.add(name, work / name)
                writer.finish()
                out.flush()
                os.fsync(out.fileno())
                report.size = out.tell()
            partial.rename(file)
            _flush(file.parent)
        finally:
            for path in (partial, copy, *(copy.with_name(f"{copy.name}{end}") for end in ("-wal", "-shm", "-journal"))):
                path.unlink(missing_ok=True)
    return report


def restore(file: Path, data_dir: Path, *, progress: Progress = lambda _amount, _total: None) -> Description:
    """Make a data folder of a backup; it appears when everything was unpacked, checked and flushed, or not at all.

    Args:
        file: the backup.
        data_dir: an empty folder, or none.

    Raises:
        BackupError: the folder is in use or not empty, or the file is no backup, damaged or hostile.
        OSError: a file cannot be read or written.
    """
    data_dir = data_dir.resolve()
    with file.open("rb") as source:
        _check_empty(data_dir)
        total = os.fstat(source.fileno()).st_size
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        aside = data_dir.with_name(f".{data_dir.name}.{secrets.token_hex(8)}")
        aside.mkdir(mode=0o700)
        try:
            description = unpack_backup(source, aside, lambda amount: progress(amount, total))
            os.sync()
            try:
                aside.rename(data_dir)
            except OSError as error:
                raise BackupError(f"{data_dir} cannot be put into its place: {error.strerror}") from error
            _flush(data_dir.parent)
        except BackupError as error:
            raise BackupError(f"{file} is not restored: {error}") from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return description


class _Links:
    """Second names for files of the data folder, in a folder of our own: what is deleted meanwhile stays there."""

    def __init__(self, source: Path, folder: Path) -> None:
        self._source = source
        self._folder = folder
        self._names: set[str] = set()
        self._kept: list[str] = []

    def add(self, name: str) -> bool:
        """Link the file of this name; False when it is gone."""
        if name in self._names:
            return True
        target = self._folder / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            os.link(self._source / name, target, follow_symlinks=False)
        except FileNotFoundError:
            return False
        self._names.add(name)
        return True

    def keep(self, names: list[str]) -> None:
        """These of the links belong into the backup."""
        self._kept += sorted(name for name in names if name in self._names)

    def add_all(self, pattern: str) -> None:
        """Link and keep all plain files that fit a pattern, and that have names as they should."""
        names = [path.relative_to(self._source).as_posix() for path in self._source.glob(pattern) if path.is_file()]
        self.keep([name for name in names if may_be_named(name) and self.add(name)])

    def names(self) -> list[str]:
        """What belongs into the backup, by the names that it has in the data folder."""
        return self._kept

    def packages(self, revisions: list[str]) -> list[bool]:
        """For each of these revisions, whether all wheels are among the links that its environment is made of."""
        wheels = Wheels(self._folder / "build" / "wheels", self._folder / "build" / "staging")
        environments = [self._environment(revision) for revision in revisions]
        whole = {environment: wheels.pinned(environment) is not None for environment in set(environments)}
        return [whole[environment] for environment in environments]

    def _environment(self, revision: str) -> str:
        try:
            record = json.loads((self._folder / "build" / "revisions" / revision / "revision.json").read_bytes())
            return str(record["environment"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def bytes(self) -> int:
        return sum((self._folder / name).stat().st_size for name in self._kept)


def _check(file: Path, data_dir: Path, *, database: bool) -> None:
    if not (data_dir / "keys").is_dir():
        raise BackupError(f"{data_dir} is no data folder: no service has run with it")
    owner = data_dir.stat().st_uid
    if owner != os.geteuid():
        # A file of another user among those of the database would keep the service from opening it.
        raise BackupError(f"{data_dir} belongs to the user {_name(owner)}: run this as that user")
    if database and not (data_dir / DATABASE).is_file():
        raise BackupError(f"no {DATABASE} is in {data_dir}; when the database is PostgreSQL, say so with --database")
    if file.exists():
        raise BackupError(f"{file} is there already; a backup does not replace another one")
    if not file.parent.is_dir():
        raise BackupError(f"there is no folder {file.parent}")


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _settle(
    data_dir: Path, links: _Links, held: contextlib.ExitStack, *, database: bool, blobs: bool, keys: bool
) -> tuple[dict[str, bytes], Snapshot | None, Report]:
    """Everything that is of one moment: the keys, the snapshot (open until `held` closes), the report."""
    description = Description(
        format=FORMAT,
        version=__version__,
        created_time=time.time_ns() // 1_000_000,
        database="sqlite" if database else "postgresql",
        schema=None,
        blobs="folder" if blobs else "s3",
        keys=keys,
    )
    report = Report(description=description)
    snapshot = None
    if database:
        kept, snapshot, named, lost = _consistent(data_dir, links, held, blobs=blobs)
        description.schema = snapshot.schema
        report.lost = sorted(lost)
        links.keep([_blob(key) for key in named])
    else:
        kept = _keys(data_dir)
        if blobs:
            links.add_all("blobs/[0-9a-f][0-9a-f]/*")
    report.blobs, report.blob_bytes = len(links.names()), links.bytes()
    report.no_master_key = "keys/master.key" not in kept
    for pattern in (
        "build/revisions/*/revision.json",
        "build/wheels/*.json",
        "build/wheels/*/*.whl",
        "build-logs/*.json",
    ):
        links.add_all(pattern)
    if snapshot is not None:
        report.needs_index = sum(not there for there in links.packages(snapshot.ready_revisions()))
    return (kept if keys else {}), snapshot, report


def _consistent(
    data_dir: Path, links: _Links, held: contextlib.ExitStack, *, blobs: bool
) -> tuple[dict[str, bytes], Snapshot, set[str], set[str]]:
    """The keys, a snapshot that goes with them, the blobs that it names, and those of them that are lost."""
    gone: set[str] = set()
    for _ in range(_ROUNDS):
        with contextlib.ExitStack() as this:
            kept = _keys(data_dir)
            snapshot = this.enter_context(open_snapshot(data_dir / DATABASE))
            if snapshot.schema is None:
                raise StoreFault(f"the database {data_dir / DATABASE} is not one of Kvern")
            named = snapshot.blobs() if blobs else set[str]()
            missing = {key for key in named if not links.add(_blob(key))}
            # What was gone before this snapshot, and is named by it all the same, was not deleted but lost.
            if missing <= gone and kept == _keys(data_dir):
                held.push(this.pop_all())
                return kept, snapshot, named, missing
            gone = missing
    raise BackupError(f"in {_ROUNDS} tries, files or keys were changed meanwhile each time; try again later")


def _blob(key: str) -> str:
    return f"blobs/{key[:2]}/{key}"


def _keys(data_dir: Path) -> dict[str, bytes]:
    """The content of the key files and of `client.json`."""
    found: dict[str, bytes] = {}
    for path in (*sorted((data_dir / "keys").iterdir()), data_dir / _CLIENT):
        name = path.relative_to(data_dir).as_posix()
        if may_be_named(name):
            with contextlib.suppress(FileNotFoundError):
                found[name] = path.read_bytes()
    return found


def _check_empty(data_dir: Path) -> None:
    if not data_dir.exists():
        return
    if not data_dir.is_dir():
        raise BackupError(f"{data_dir} is no folder")
    if _is_in_use(data_dir):
        raise BackupError(f"a service runs on {data_dir}; restore into another folder")
    if any(data_dir.iterdir()):
        raise BackupError(f"{data_dir} is not empty; restore into another folder, or move that one away")
    if os.path.ismount(data_dir):
        raise BackupError(f"{data_dir} is where a disk is mounted; restore into a folder below it")


def _is_in_use(data_dir: Path) -> bool:
    try:
        descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
