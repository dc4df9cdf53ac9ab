"""Unpacking the data of one entry of a zip, in pieces of bounded size whatever it unpacks to."""

from __future__ import annotations

import bz2
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from kvern.build.errors import BundleError

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
"""What Python's own `zipfile` writes on every Python, and so what other services unpack."""

PIECE = 1 << 18
_LARGEST_DICTIONARY = 1 << 26
"""Bytes that LZMA may ask for before the first byte is unpacked: the most that usual programs choose."""


class _Stream(Protocol):
    """A decompressor that gives no more than it is asked for, and keeps what is left of its input."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Deflate:
    """`zlib`'s decompressor in the form of the others."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(-15)
        self._may_hold_more = False

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        # A full piece may have more behind it, though all input is used up: zlib keeps it, and tells nobody.
        return not self._zlib.eof and not self._zlib.unconsumed_tail and not self._may_hold_more

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self._may_hold_more = len(piece) == max_length
        return piece


class _Lzma:
    """LZMA behind the head that a zip gives it: version, length of the properties, properties (APPNOTE.TXT 5.8)."""

    eof = False  # the mark of an end may be missing: the entry's size tells whether all has come
    unused_data = b""

    def __init__(self) -> None:
        self._raw: lzma.LZMADecompressor | None = None

    @property
    def needs_input(self) -> bool:
        return self._raw is None or self._raw.eof or self._raw.needs_input

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if self._raw is None:
            length, properties, dictionary = struct.unpack_from("<xxHBL", data)
            if length != 5 or properties >= 9 * 5 * 5:
                raise ValueError("it has no LZMA properties")
            if dictionary > _LARGEST_DICTIONARY:
                raise ValueError(f"LZMA asks for {dictionary} bytes; at most {_LARGEST_DICTIONARY} are allowed")
            rest, lc = divmod(properties, 9)
            pb, lp = divmod(rest, 5)
            # Below 4096 bytes liblzma takes none, and a larger one unpacks the same.
            chain = {"id": lzma.FILTER_LZMA1, "lc": lc, "lp": lp, "pb": pb, "dict_size": max(dictionary, 4096)}
            self._raw = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[chain])
            data = data[9:]
        if self._raw.eof:
            raise ValueError("bytes follow its end")
        return self._raw.decompress(data, max_length)


_STREAMS: dict[int, Callable[[], _Stream]] = {
    zipfile.ZIP_DEFLATED: _Deflate,
    zipfile.ZIP_BZIP2: bz2.BZ2Decompressor,
    zipfile.ZIP_LZMA: _Lzma,
}


def inflater(method: int, name: str, packed: Iterator[bytes]) -> Iterator[bytes]:
    """What `packed` unpacks to, in pieces of at most `PIECE` bytes, none of them empty.

    Args:
        method: one of `METHODS`, but not stored.
        name: of the entry, for errors.
        packed: its data.

    Raises:
        BundleError: the data is damaged, ends early, goes on behind its end, or needs too much memory.
    """
    stream = _STREAMS[method]()
    for data in packed:
        piece = _decompress(stream, data, name)
        while piece:
            yield piece
            piece = b"" if stream.eof or stream.needs_input else _decompress(stream, b"", name)
        if stream.eof and (stream.unused_data or next(packed, b"")):
            raise BundleError(f"Entry {name!r} is damaged: bytes follow its end.")
    if not stream.eof and not isinstance(stream, _Lzma):
        raise BundleError(f"Entry {name!r} is damaged: its data ends early.")


def _decompress(stream: _Stream, data: bytes, name: str) -> bytes:
    try:
        return stream.decompress(data, PIECE)
    # bz2 says OSError to data that is none.
    except (zlib.error, lzma.LZMAError, OSError, ValueError, struct.error) as error:
        raise BundleError(f"Entry {name!r} is damaged: {error}.") from None
