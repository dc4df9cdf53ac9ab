"""Reading a zip that nobody vouches for: its directory within bounds, its entries without trust in what it declares."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kvern.build.errors import BundleError
from kvern.build.inflating import METHODS, inflater

_END = struct.Struct("<4s4H2LH")  # end of central directory; APPNOTE.TXT 4.3.16
_END_64 = struct.Struct("<4sQ2H2L4Q")  # zip64 end of central directory; 4.3.14
_LOCATOR_64 = struct.Struct("<4sLQL")  # zip64 end of central directory locator; 4.3.15
_LOCAL = struct.Struct("<4s5H3L2H")  # local file header; 4.3.7
_CENTRAL_SIZE = 46
_CHUNK = 1 << 18
_ENCRYPTED = 0x1 | 0x40
_UTF_8 = 0x800
_DOS = (0, 6, 10, 11, 14)  # systems whose paths have backslashes: FAT, OS/2, NTFS (both numbers), VFAT; 4.4.2.2
_OTHER_METHODS = {1: "shrink", 6: "implode", 9: "deflate64", 93: "zstandard", 95: "xz", 98: "PPMd"}  # 4.4.5
_UNICODE_PATH = 0x7075  # 4.6.9


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as the central directory declares it.

    Args:
        name: the name, not yet checked.
        mode: the Unix mode, 0 where none is declared.
        size: declared bytes once unpacked.
        packed: declared bytes in the archive.
        start: offset of the local header.
        crc: declared CRC-32.
        method: one of `inflating.METHODS`.
    """

    name: str
    mode: int
    size: int
    packed: int
    start: int
    crc: int
    method: int


def entries(file: BinaryIO, most: int) -> list[Entry]:
    """The entries of the zip in `file`, in the order of its directory, at most `most`.

    Raises:
        BundleError: it is not a zip, is truncated, has too many entries, or entries that are encrypted, packed in a
            way that is not in `inflating.METHODS`, or that share bytes of the archive with one another.
    """
    declared, directory = _directory(file)
    # The count is checked before zipfile reads the directory into memory; its size bounds a count that lies.
    if declared > most or directory > most * (_CENTRAL_SIZE + 512):
        raise BundleError(f"The zip has too many entries: at most {most} are allowed, it declares {declared}.")
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise BundleError(f"The bundle is not a readable zip: {error}.") from None
    if len(infos) > most:
        raise BundleError(f"The zip has too many entries: at most {most} are allowed, it has {len(infos)}.")
    found: list[Entry] = []
    for info in infos:
        name = _name(info)
        if info.flag_bits & _ENCRYPTED:
            raise BundleError(f"Entry {name!r} is encrypted; entries must be plain.")
        if info.compress_type not in METHODS:
            what = _OTHER_METHODS.get(info.compress_type, "unknown")
            raise BundleError(
                f"Entry {name!r} is packed by method {info.compress_type} ({what}); "
                "it must be deflated, stored, or packed by bzip2 or LZMA: zip it anew, as 'zip -r' does."
            )
        found.append(
            Entry(
                name=name,
                mode=info.external_attr >> 16,
                size=info.file_size,
                packed=info.compress_size,
                start=info.header_offset,
                crc=info.CRC,
                method=info.compress_type,
            )
        )
    _refuse_overlaps(file, found)
    return found


def content(file: BinaryIO, entry: Entry) -> Iterator[bytes]:
    """The unpacked bytes of `entry`, in pieces, never more than it declares.

    Raises:
        BundleError: the data is damaged, or is not of the declared size.
    """
    file.seek(_data_offset(file, entry))
    packed = _packed(file, entry)
    total, crc = 0, 0
    for piece in packed if entry.method == zipfile.ZIP_STORED else inflater(entry.method, entry.name, packed):
        total += len(piece)
        if total > entry.size:
            raise BundleError(f"Entry {entry.name!r} unpacks to more than the {entry.size} bytes that it declares.")
        crc = zlib.crc32(piece, crc)
        yield piece
    if total != entry.size:
        raise BundleError(f"Entry {entry.name!r} unpacks to {total} bytes, it declares {entry.size}.")
    if crc != entry.crc:
        raise BundleError(f"Entry {entry.name!r} is damaged: its checksum is wrong.")


def _packed(file: BinaryIO, entry: Entry) -> Iterator[bytes]:
    """The bytes of `entry` as they lie in the archive, from where `file` stands."""
    left = entry.packed
    while left:
        piece = file.read(min(_CHUNK, left))
        if not piece:
            raise BundleError(f"The zip is truncated: entry {entry.name!r} ends early.")
        left -= len(piece)
        yield piece


def _name(info: zipfile.ZipInfo) -> str:
    """The name as whoever wrote the zip meant it.

    Finder and others write UTF-8 without saying so, and `zip` says so in an extra field (APPNOTE.TXT 4.6.9); .NET
    wrote Windows' own separators. What is no UTF-8 stays in the code page that the format prescribes.
    """
    name = info.orig_filename
    if not info.flag_bits & _UTF_8:
        raw = name.encode("cp437")
        try:
            name = _unicode_path(info.extra, raw) or raw.decode()
        except UnicodeDecodeError:
            pass
    return name.replace("\\", "/") if info.create_system in _DOS else name


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    """The name in UTF-8 that an extra field holds for the name `raw`; None when there is none, or it is for another."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == _UNICODE_PATH and len(field) > 5 and field[:5] == struct.pack("<BL", 1, zlib.crc32(raw)):
            return field[5:].decode()
    return None


def _directory(file: BinaryIO) -> tuple[int, int]:
    """The number of entries and the bytes of the central directory, as declared at the end of the file."""
    length = file.seek(0, os.SEEK_END)
    if length < _END.size:
        raise BundleError(f"The bundle is not a zip: it has {length} bytes.")
    window = min(length, _END.size + 0xFFFF)
    file.seek(length - window)
    last = file.read(window)
    at = last.rfind(b"PK\x05\x06")
    if at < 0 or len(last) - at < _END.size:
        file.seek(0)
        begins = file.read(4) == b"PK\x03\x04"
        raise BundleError("The zip is truncated: it has no end." if begins else "The bundle is not a zip.")
    declared, directory = _END.unpack_from(last, at)[4:6]
    end = length - window + at
    if end >= _LOCATOR_64.size:
        file.seek(end - _LOCATOR_64.size)
        signature, _, offset, _ = _LOCATOR_64.unpack(file.read(_LOCATOR_64.size))
        if signature == b"PK\x06\x07":
            # zipfile looks for the record right before the locator, whatever the locator says.
            for place in {offset, end - _LOCATOR_64.size - _END_64.size}:
                if not 0 <= place <= length - _END_64.size:
                    continue
                file.seek(place)
                record = _END_64.unpack(file.read(_END_64.size))
                if record[0] == b"PK\x06\x06":
                    declared, directory = max(declared, record[7]), max(directory, record[8])
    return declared, directory


def _data_offset(file: BinaryIO, entry: Entry) -> int:
    file.seek(entry.start)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size or header[:4] != b"PK\x03\x04":
        raise BundleError(f"The zip is damaged: entry {entry.name!r} is not where the directory says.")
    name, extra = _LOCAL.unpack(header)[9:11]
    return entry.start + _LOCAL.size + name + extra


def _refuse_overlaps(file: BinaryIO, found: list[Entry]) -> None:
    """Entries that share bytes are how a small archive unpacks to a huge one without a high ratio in any entry."""
    end, before = 0, ""
    for entry in sorted(found, key=lambda entry: entry.start):
        if entry.start < end:
            raise BundleError(f"The zip is damaged: entries {before!r} and {entry.name!r} overlap.")
        end, before = _data_offset(file, entry) + entry.packed, entry.name


def open_archive(path: Path) -> BinaryIO:
    """Open the bundle at `path` for reading.

    Raises:
        BundleError: there is no such file.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise BundleError(f"The bundle cannot be read: {error.strerror}.") from None
