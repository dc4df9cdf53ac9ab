"""The file of a backup: one plain tar, so that it can be looked into, and checked, without Kvern.

backup.json     first: what the backup is of
kvern.db        the database, unless it is PostgreSQL
blobs/…         the bytes of files and the bundles of functions, as in the data folder
keys/…, client.json, build/revisions/…, build/wheels/…, build-logs/…
SHA256SUMS      last: the hash of everything before it, in the form of `sha256sum`
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Callable, Generator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeAlias, cast

import msgspec

if TYPE_CHECKING:
    from _typeshed import SupportsRead

FORMAT = 1
DESCRIPTION = "backup.json"
SUMS = "SHA256SUMS"
DATABASE = "kvern.db"
_PIECE = 1 << 20
_SHORT = 64 << 20
"""Bytes that a member may have which is read into memory; the sums of half a million blobs."""

_WORD = r"[A-Za-z0-9_][A-Za-z0-9_.+!~-]{0,254}"
_NAME = re.compile(
    rf"backup\.json|SHA256SUMS|kvern\.db|client\.json|keys/{_WORD}|blobs/[0-9a-f]{{2}}/[0-9a-f]{{40,80}}"
    rf"|build/revisions/{_WORD}/revision\.json|build/wheels/({_WORD}\.json|[0-9a-f]{{64}}/{_WORD}\.whl)"
    r"|build-logs/[0-9]{1,20}\.json"
)

OnBytes: TypeAlias = Callable[[int], None]


class BackupError(Exception):
    """A backup, or what is to be backed up, is not as it has to be; the text says why."""


class Description(msgspec.Struct, rename="camel", forbid_unknown_fields=False, kw_only=True):
    """What a backup is of.

    Args:
        format: of the file.
        version: of the Kvern that wrote it.
        created_time: ms since the epoch.
        database: `postgresql` is not in the file.
        schema: number of the database's last migration; None with PostgreSQL.
        blobs: `s3` are not in the file.
        keys: whether keys and `client.json` are in the file.
    """

    format: int
    version: str
    created_time: int
    database: Literal["sqlite", "postgresql"]
    schema: str | None
    blobs: Literal["folder", "s3"]
    keys: bool


def may_be_named(name: str) -> bool:
    """Whether a backup may have a member of this name; none that may leads out of a folder."""
    return _NAME.fullmatch(name) is not None


class _Tar(tarfile.TarFile):
    """Forgets its members, of which there may be millions, as it goes on."""

    members: list[tarfile.TarInfo]

    def addfile(self, tarinfo: tarfile.TarInfo, fileobj: SupportsRead[bytes] | None = None) -> None:
        super().addfile(tarinfo, fileobj)
        self.members.clear()

    def next(self) -> tarfile.TarInfo | None:
        member = super().next()
        self.members.clear()
        return member


class BackupWriter:
    """Writes a backup from its beginning to its end.

    Args:
        file: open for writing, empty.
        on_bytes: is told of the bytes of files as they are written.
    """

    def __init__(self, file: BinaryIO, on_bytes: OnBytes) -> None:
        self._tar = _Tar(fileobj=file, mode="w", format=tarfile.PAX_FORMAT)
        self._on_bytes = on_bytes
        self._sums: list[str] = []

    def add(self, name: str, path: Path) -> int:
        """Add a file; its size in bytes."""
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            self._add(name, size, file, self._on_bytes)
        return size

    def add_bytes(self, name: str, content: bytes) -> None:
        self._add(name, len(content), io.BytesIO(content), lambda _: None)

    def finish(self) -> None:
        """Write the sums and the tar's end; the file stays open."""
        self.add_bytes(SUMS, "".join(self._sums).encode())
        self._tar.close()

    def _add(self, name: str, size: int, file: BinaryIO, on_bytes: OnBytes) -> None:
        if not may_be_named(name):
            raise BackupError(f"Expected a name that a backup may have, given {name!r}")
        member = tarfile.TarInfo(name)
        member.size, member.mode = size, 0o600
        hashed = _Hashed(file, on_bytes)
        self._tar.addfile(member, hashed)
        self._sums.append(f"{hashed.hexdigest()}  {name}\n")


class _Hashed(io.RawIOBase):
    """Hashes what is read through it."""

    def __init__(self, file: BinaryIO, on_bytes: OnBytes) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._on_bytes = on_bytes

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._hash.update(piece)
        self._on_bytes(len(piece))
        return piece

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def unpack_backup(file: BinaryIO, folder: Path, on_bytes: OnBytes) -> Description:
    """Unpack a backup into an empty folder: files with mode 0600, folders with 0700, and nothing else.

    When this raises, `folder` holds what is not to be used.

    Args:
        file: the backup, whoever made it.
        on_bytes: is told how many bytes were read, as they are.

    Raises:
        BackupError: it is no backup, was cut off or damaged, is of a newer Kvern, or has a member that a backup does
            not have: a link, a device, a name that leads elsewhere, the same name twice.
    """
    try:
        with _Tar(fileobj=file, mode="r") as tar:
            return _unpack(tar, folder, on_bytes)
    except tarfile.TarError as error:
        raise BackupError(f"it is no backup, or it is damaged: {error}") from error


def _unpack(tar: tarfile.TarFile, folder: Path, on_bytes: OnBytes) -> Description:
    described: Description | None = None
    found: dict[str, str] = {}
    for member in _members(tar):
        name = member.name
        if described is None and name != DESCRIPTION:
            raise BackupError(f"it is no backup of Kvern: expected {DESCRIPTION} first, given {name[:200]!r}")
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse() or not may_be_named(name):
            raise BackupError(f"it has an entry that no backup has: {name[:200]!r}")
        if name in found:
            raise BackupError(f"it has the entry {name!r} twice")
        content = cast(BinaryIO, tar.extractfile(member))
        if name == DESCRIPTION:
            raw = _read(content, member)
            described = _described(raw)
            found[name] = hashlib.sha256(raw).hexdigest()
        elif name == SUMS:
            _compare(_read(content, member), found)
            if tar.next() is not None:
                raise BackupError(f"it has more entries after {SUMS}")
            assert described is not None
            return described
        else:
            found[name] = _write(content, member, folder, on_bytes)
    raise BackupError(f"it is damaged, or cut off: its last entry, {SUMS}, is not there")


def _members(tar: tarfile.TarFile) -> Generator[tarfile.TarInfo]:
    while (member := tar.next()) is not None:
        yield member


def _read(content: BinaryIO, member: tarfile.TarInfo) -> bytes:
    if member.size > _SHORT:
        raise BackupError(f"its entry {member.name!r} has {member.size} bytes; at most {_SHORT} are expected")
    return content.read()


def _described(raw: bytes) -> Description:
    try:
        described = msgspec.json.decode(raw, type=Description)
    except msgspec.DecodeError as error:
        raise BackupError(f"it is no backup of Kvern, or it is damaged: {DESCRIPTION}: {error}") from error
    if described.format != FORMAT:
        raise BackupError(
            f"it has the format {described.format}, written by Kvern {described.version}, and this one knows {FORMAT}: "
            "take the version that wrote it, or a newer one"
        )
    return described


def _write(content: BinaryIO, member: tarfile.TarInfo, folder: Path, on_bytes: OnBytes) -> str:
    for parent in reversed(PurePosixPath(member.name).parents[:-1]):
        (folder / parent).mkdir(mode=0o700, exist_ok=True)
    target = folder / member.name
    digest = hashlib.sha256()
    written = 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(target, flags, 0o600), "wb") as file:
        while piece := content.read(_PIECE):
            digest.update(piece)
            file.write(piece)
            written += len(piece)
            on_bytes(len(piece))
    if written != member.size:
        raise BackupError(f"it is cut off: of {member.name!r} {written} of {member.size} bytes are there")
    return digest.hexdigest()


def _compare(raw: bytes, found: dict[str, str]) -> None:
    """Raises `BackupError` unless the sums name just what was found, each with its hash."""
    expected: dict[str, str] = {}
    for line in raw.decode("ascii", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        expected[name] = digest
    for name in expected.keys() | found.keys():
        if name not in found:
            raise BackupError(f"it is damaged: {name[:200]!r} is not there")
        if name not in expected:
            raise BackupError(f"it is damaged: {name!r} is not in {SUMS}")
        if expected[name] != found[name]:
            raise BackupError(f"it is damaged: {name!r} is not as it was written")
