"""Unpacking: what a bundle may hold, and what is refused before or while it is written (contract 11.2)."""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import threading
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvern.build.bundle import Limits, unpack
from kvern.build.errors import BundleError
from kvern.build.staging import remove


def zipped(path: Path, *entries: tuple[str | zipfile.ZipInfo, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def info(name: str, mode: int = 0, *, method: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = mode << 16
    entry.compress_type = method
    return entry


def patched(path: Path, old: bytes, new: bytes, *, count: int = -1) -> Path:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, count))
    return path


def refused(bundle: Path, folder: Path, limits: Limits | None = None) -> str:
    """The reason; nothing may be left of the folder, or outside of it."""
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(BundleError) as caught:
        unpack(bundle, folder, limits)
    assert sorted(folder.parent.rglob("*")) == before
    return caught.value.message


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tmp_path / "bundle.zip"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inner = tmp_path / "revisions"
    inner.mkdir()
    return inner / "code"


def test_a_zip_of_the_sdk_with_folder_entries_and_a_first_dot_slash(bundle: Path, folder: Path) -> None:
    entries = [("./", ""), ("./handler.py", "x = 1"), ("./lib/", ""), ("./lib/a.py", "y = 2"), ("data/deep/b.txt", "z")]
    unpack(zipped(bundle, *entries), folder)
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == [
        "data", "data/deep", "data/deep/b.txt", "handler.py", "lib", "lib/a.py",
    ]  # fmt: skip
    assert (folder / "lib/a.py").read_text() == "y = 2"


METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@pytest.mark.parametrize("method", METHODS)
def test_content_comes_out_as_it_went_in(bundle: Path, folder: Path, method: int) -> None:
    content = bytes(range(256)) * 5000
    unpack(zipped(bundle, ("a.bin", content), ("empty", b""), method=method), folder)
    assert (folder / "a.bin").read_bytes() == content
    assert (folder / "empty").read_bytes() == b""


@pytest.mark.parametrize("method", METHODS)
def test_the_last_bytes_come_wherever_a_piece_ends(bundle: Path, folder: Path, method: int) -> None:
    sizes = [many * 262_144 + more for many in (1, 2, 3) for more in (-1, 0, 1, 2, 100, 257, 258, 259, 300)]
    unpack(zipped(bundle, *((str(size), bytes(size)) for size in sizes), method=method), folder)
    assert sorted(path.stat().st_size for path in folder.iterdir()) == sizes


def test_modes_are_plain_whatever_the_zip_says(bundle: Path, folder: Path) -> None:
    entries = [
        (info("run.sh", stat.S_IFREG | 0o4777), "#!/bin/sh"),
        (info("secret", stat.S_IFREG | 0o400), "s"),
        (info("shut/", stat.S_IFDIR | 0o000), ""),
        (info("shut/in", 0), "i"),
    ]
    unpack(zipped(bundle, *entries), folder)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}
    assert modes == {"code": 0o755, "run.sh": 0o755, "secret": 0o644, "shut": 0o755, "in": 0o644}


def test_names_beyond_ascii(bundle: Path, folder: Path) -> None:
    unpack(zipped(bundle, ("måling/æøå – 測定.py", "x")), folder)
    assert (folder / "måling/æøå – 測定.py").is_file()


@pytest.mark.parametrize(
    ("system", "raw", "flags", "extra", "found"),
    [
        (3, "målt.py".encode(), 0, b"", "målt.py"),  # Finder: UTF-8 that does not say so
        (3, "målt.py".encode("cp437"), 0, b"", "målt.py"),
        (0, b"lib\\curve.py", 0, b"", "lib/curve.py"),  # .NET before 4.6.1
        (11, b".\\lib\\curve.py", 0x800, b"", "lib/curve.py"),
        (3, b"measured", 0, "m\u00e5lt.py".encode(), "målt.py"),  # an extra field that belongs to the name
        (3, b"measured", 0, b"", "measured"),
    ],
)
def test_names_as_other_programs_write_them(
    bundle: Path, folder: Path, system: int, raw: bytes, flags: int, extra: bytes, found: str
) -> None:
    entry = zipfile.ZipInfo("N" * len(raw))
    entry.create_system = system
    if extra:
        field = struct.pack("<BL", 1, zlib.crc32(raw)) + extra
        entry.extra = struct.pack("<HH", 0x9999, 2) + b"zz" + struct.pack("<HH", 0x7075, len(field)) + field
    data = bytearray(zipped(bundle, (entry, "x")).read_bytes().replace(b"N" * len(raw), raw))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.find(signature) + at
        data[place : place + 2] = struct.pack("<H", flags)
    bundle.write_bytes(data)
    unpack(bundle, folder)
    assert [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()] == [found]


@pytest.mark.parametrize("name", [b"..\\evil", b"a\\..\\..\\evil", b"\\\\host\\share", b"C:\\x"])
def test_names_with_windows_separators_are_checked_like_others(bundle: Path, folder: Path, name: bytes) -> None:
    entry = zipfile.ZipInfo("N" * len(name))
    entry.create_system = 0
    zipped(bundle, (entry, "x"))
    assert re.search(r"absolute|'\.\.'", refused(patched(bundle, b"N" * len(name), name), folder))


def test_an_lzma_entry_may_not_ask_for_much_memory(bundle: Path, folder: Path) -> None:
    data = bytearray(zipped(bundle, ("a", b"x" * 1000), method=zipfile.ZIP_LZMA).read_bytes())
    at = 30 + 1 + 4 + 1  # local header, name, version and length, first property
    data[at : at + 4] = struct.pack("<L", 0xFFFFFFFF)
    bundle.write_bytes(data)
    assert "'a' is damaged: LZMA asks for 4294967295 bytes" in refused(bundle, folder)


def test_a_zip_behind_a_program(bundle: Path, folder: Path) -> None:
    bundle.write_bytes(b"#!/usr/bin/env python3\n" + zipped(bundle, ("handler.py", "x")).read_bytes())
    unpack(bundle, folder)
    assert (folder / "handler.py").read_text() == "x"


def test_a_stream_written_zip_with_data_descriptors(bundle: Path, folder: Path) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError

        def seek(self, *_: object) -> int:
            raise OSError

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("handler.py", "x = 1" * 100)
    bundle.write_bytes(pipe.getvalue())
    unpack(bundle, folder)
    assert (folder / "handler.py").read_text() == "x = 1" * 100


def test_a_zip64(bundle: Path, folder: Path) -> None:
    with zipfile.ZipFile(bundle, "w") as archive, archive.open("handler.py", "w", force_zip64=True) as entry:
        entry.write(b"x = 1")
    unpack(bundle, folder)
    assert (folder / "handler.py").read_text() == "x = 1"


def test_an_existing_folder_is_not_touched(bundle: Path, folder: Path) -> None:
    folder.mkdir()
    with pytest.raises(FileExistsError):
        unpack(zipped(bundle, ("a", "b")), folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip at all" * 100, b"\x1f\x8b\x08" + b"x" * 500])
def test_what_is_no_zip(bundle: Path, folder: Path, content: bytes) -> None:
    bundle.write_bytes(content)
    assert "not a zip" in refused(bundle, folder)


def test_a_missing_bundle(bundle: Path, folder: Path) -> None:
    assert "cannot be read" in refused(bundle, folder)


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.99])
def test_a_truncated_zip(bundle: Path, folder: Path, kept: float) -> None:
    zipped(bundle, *((f"file{number}", "content" * number) for number in range(50)))
    bundle.write_bytes(bundle.read_bytes()[: int(bundle.stat().st_size * kept)])
    assert "truncated" in refused(bundle, folder)


def test_a_zip_that_was_cut_in_the_middle(bundle: Path, folder: Path) -> None:
    zipped(bundle, *((f"file{number}", "content" * number) for number in range(50)))
    data = bundle.read_bytes()
    bundle.write_bytes(data[:500] + data[900:])
    assert "zip" in refused(bundle, folder)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/etc/passwd", "absolute"),
        ("//host/share", "absolute"),
        ("C:/windows/x", "absolute"),
        ("c:evil", "absolute"),
        ("../evil", "'..'"),
        ("a/../../evil", "'..'"),
        ("a/..", "'..'"),
        ("a\\..\\evil", "backslash"),
        ("tab\tname", "control character"),
        ("line\nbreak", "control character"),
        ("bell\x07", "control character"),
        ("c1\x85", "control character"),
        ("x" * 256, "256 bytes"),
        ("å" * 128, "256 bytes"),
        ("/".join(["d"] * 33), "33 names deep"),
        ("/".join(["d" * 200] * 6), "1205 bytes"),
    ],
)
def test_names_that_are_refused(bundle: Path, folder: Path, name: str, reason: str) -> None:
    assert reason in refused(zipped(bundle, ("good.py", "x"), (name, "evil")), folder)


def test_a_nul_in_a_name(bundle: Path, folder: Path) -> None:
    zipped(bundle, ("handlerZ.py", "x"))
    assert "control character" in refused(patched(bundle, b"handlerZ.py", b"handler\x00.py"), folder)


def test_the_reason_names_the_entry(bundle: Path, folder: Path) -> None:
    assert "'../evil'" in refused(zipped(bundle, ("../evil", "x")), folder)


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (stat.S_IFLNK, "symbolic link"),
        (stat.S_IFIFO, "special file"),
        (stat.S_IFCHR, "special file"),
        (stat.S_IFBLK, "special file"),
        (stat.S_IFSOCK, "special file"),
    ],
)
def test_what_is_neither_file_nor_folder(bundle: Path, folder: Path, kind: int, what: str) -> None:
    assert what in refused(zipped(bundle, (info("thing", kind | 0o777), "/etc/passwd")), folder)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("a.py", "a.py"), "twice"),
        (("a.py", "./a.py"), "twice"),
        (("dir/a.py", "dir//a.py"), "twice"),
        (("a", "a/b"), "a file"),
        (("a/b", "a"), "as a folder"),
    ],
)
def test_names_that_collide(bundle: Path, folder: Path, names: tuple[str, str], reason: str) -> None:
    assert reason in refused(zipped(bundle, *((name, f"x{number}") for number, name in enumerate(names))), folder)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_is_there_twice_and_the_same(bundle: Path, folder: Path) -> None:
    unpack(zipped(bundle, ("a.py", "x"), ("./a.py", "x"), ("a.py", "x")), folder)
    assert (folder / "a.py").read_text() == "x"


@pytest.mark.parametrize(
    "names",
    [("A.py", "a.py"), ("Lib/a.py", "lib/b.py"), ("straße", "STRASSE"), ("caf\u00e9", "cafe\u0301")],
)
def test_names_that_differ_by_case_or_accents_are_two_names(
    bundle: Path, folder: Path, names: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unpack(zipped(bundle, *((name, name) for name in names)), folder)
    assert [(folder / name).read_text() for name in names] == list(names)


def test_names_that_are_one_on_the_file_system_are_refused(
    bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def one_name(path: Path, flags: int, mode: int = 0o777, **more: int) -> int:
        return real(path.with_name(path.name.casefold()) if flags & os.O_EXCL else path, flags, mode, **more)

    monkeypatch.setattr(os, "open", one_name)
    assert "'a.py' differs from another name" in refused(zipped(bundle, ("A.py", "x"), ("a.py", "y")), folder)


@pytest.mark.parametrize(("method", "what"), [(9, "deflate64"), (93, "zstandard"), (99, "unknown")])
def test_other_ways_to_pack(bundle: Path, folder: Path, method: int, what: str) -> None:
    data = bytearray(zipped(bundle, ("handler.py", "x")).read_bytes())
    for signature, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        place = data.find(signature) + at
        data[place : place + 2] = struct.pack("<H", method)
    bundle.write_bytes(data)
    assert re.search(rf"method {method} \(({what})\).* zip it anew", refused(bundle, folder))


def test_damaged_content(bundle: Path, folder: Path) -> None:
    zipped(bundle, ("first.py", "x = 1"), ("handler.py", b"y = 22"), method=zipfile.ZIP_STORED)
    assert "'handler.py' is damaged: its checksum" in refused(patched(bundle, b"y = 22", b"y = 23"), folder)


def test_damaged_packing(bundle: Path, folder: Path) -> None:
    zipped(bundle, ("handler.py", bytes(range(256)) * 40))
    data = bytearray(bundle.read_bytes())
    data[60:90] = b"\xff" * 30
    bundle.write_bytes(data)
    assert "'handler.py'" in refused(bundle, folder)


def test_entries_that_overlap(bundle: Path, folder: Path) -> None:
    zipped(bundle, ("a.py", "x" * 100), ("b.py", "x" * 100), method=zipfile.ZIP_STORED)
    data = bytearray(bundle.read_bytes())
    second = data.rfind(b"PK\x01\x02")
    data[second + 42 : second + 46] = struct.pack("<L", 0)  # both entries start at the first one's header
    bundle.write_bytes(data)
    assert "'a.py' and 'b.py' overlap" in refused(bundle, folder)


def test_an_entry_that_is_not_where_the_directory_says(bundle: Path, folder: Path) -> None:
    zipped(bundle, ("a.py", "x" * 100), method=zipfile.ZIP_STORED)
    data = bytearray(bundle.read_bytes())
    first = data.rfind(b"PK\x01\x02")
    data[first + 42 : first + 46] = struct.pack("<L", 7)
    bundle.write_bytes(data)
    assert "not where the directory says" in refused(bundle, folder)


def test_too_many_entries(bundle: Path, folder: Path) -> None:
    zipped(bundle, *((f"f{number}", "") for number in range(11)))
    assert "at most 10 are allowed, it declares 11" in refused(bundle, folder, Limits(entries=10))


def test_too_many_entries_behind_a_count_that_lies(bundle: Path, folder: Path) -> None:
    zipped(bundle, *((f"f{number}", "") for number in range(11)))
    data = bytearray(bundle.read_bytes())
    end = data.rfind(b"PK\x05\x06")
    data[end + 8 : end + 12] = struct.pack("<HH", 1, 1)
    bundle.write_bytes(data)
    assert "at most 10 are allowed, it has 11" in refused(bundle, folder, Limits(entries=10))


def test_a_bomb_by_its_declared_sizes(bundle: Path, folder: Path) -> None:
    zipped(bundle, ("a", b"\0" * 2000), ("b", b"\0" * 2000))
    assert "'a' unpacks to 2000 bytes; at most 1999" in refused(bundle, folder, Limits(file_size=1999))
    assert "unpacks to 4000 bytes; at most 3999" in refused(bundle, folder, Limits(total_size=3999))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_packs_well_is_no_bomb(bundle: Path, folder: Path, method: int) -> None:
    table = b"2026-01-01T00:00:00Z,0.0\n" * 560_000
    unpack(zipped(bundle, ("table.csv", table), method=method), folder)
    assert (folder / "table.csv").read_bytes() == table


def test_folders_that_only_paths_name_are_counted(bundle: Path, folder: Path) -> None:
    entries = [(f"{number}/" + "d/" * 9 + "f", "") for number in range(10)]
    assert "at most 109 are made" in refused(zipped(bundle, *entries), folder, Limits(nodes=109))
    unpack(bundle, folder, Limits(nodes=110))
    assert sum(1 for _ in folder.rglob("*")) == 110


def test_a_short_file_of_blanks_is_no_bomb(bundle: Path, folder: Path) -> None:
    unpack(zipped(bundle, ("blanks", b" " * 1_000_000)), folder)
    assert (folder / "blanks").stat().st_size == 1_000_000


@pytest.mark.parametrize("declared", [10, 199_999])
def test_a_bomb_that_declares_less_than_it_holds(bundle: Path, folder: Path, declared: int) -> None:
    content = b"\0" * 200_000
    zipped(bundle, ("bomb", content))
    data = bytearray(bundle.read_bytes())
    for signature, crc in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        at = data.find(signature) + crc
        # The checksum fits the declared length, so that only the length gives it away.
        data[at : at + 4] = struct.pack("<L", zlib.crc32(content[:declared]))
        data[at + 8 : at + 12] = struct.pack("<L", declared)
    bundle.write_bytes(data)
    assert f"'bomb' unpacks to more than the {declared} bytes" in refused(bundle, folder)


def test_an_entry_that_declares_more_than_it_holds(bundle: Path, folder: Path) -> None:
    zipped(bundle, ("short", b"abc" * 50))
    data = bytearray(bundle.read_bytes())
    for signature, size in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.find(signature) + size
        data[at : at + 4] = struct.pack("<L", 1000)
    bundle.write_bytes(data)
    assert "unpacks to 150 bytes, it declares 1000" in refused(bundle, folder)


def test_a_deploy_that_was_called_off_stops_at_once(bundle: Path, folder: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(BundleError, match="called off"):
        unpack(zipped(bundle, ("a", "b"), ("c", "d")), folder, stop=stop)
    assert len(list(folder.iterdir())) <= 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=8), cut=st.floats(0.5, 1)
)
def test_whatever_is_damaged_the_bundle_is_unpacked_or_refused(
    tmp_path: Path, changes: list[tuple[float, int]], cut: float
) -> None:
    bundle, folder = tmp_path / "bundle.zip", tmp_path / "code"
    zipped(bundle, ("./", ""), ("handler.py", "x = 1\n" * 50), ("lib/data.bin", bytes(range(256))))
    data = bytearray(bundle.read_bytes())
    for place, value in changes:
        data[int(place * len(data))] = value
    bundle.write_bytes(data[: int(len(data) * cut)])
    try:
        unpack(bundle, folder)
    except BundleError:
        assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle.zip"]
    else:
        assert all(path.is_file() or path.is_dir() for path in folder.rglob("*"))
        assert not any(path.is_symlink() for path in folder.rglob("*"))
        remove(folder)
