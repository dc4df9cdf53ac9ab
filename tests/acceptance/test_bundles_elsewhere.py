"""Bundles and folders that work with other tools and services work here as they are."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.api import Api
from tests.acceptance.server import KVERN, Server

HANDLER = """
import os

def handle(data):
    root = os.path.dirname(os.path.abspath(__file__))
    found = {}
    for at, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in ("__pycache__", "__MACOSX"))
        for name in files:
            path = os.path.join(at, name)
            mark = "*" if os.stat(path).st_mode & 0o100 else ""
            found[os.path.relpath(path, root) + mark] = os.path.getsize(path)
    return found
"""
SIZE = len(HANDLER.encode())
CURVE = {"lib/curve.py": b"x = 1\n", "limits.csv": b"1,2\n"}


def python_zip(
    files: dict[str, bytes] = CURVE,
    *,
    method: int = zipfile.ZIP_DEFLATED,
    prefix: bytes = b"",
    system: int = 3,
    **more: Any,
) -> bytes:
    buffer = io.BytesIO()
    buffer.write(prefix)
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in {"handler.py": HANDLER.encode(), **files}.items():
            info = zipfile.ZipInfo(name)
            info.compress_type, info.create_system, info.external_attr = method, system, more.get("mode", 0o644) << 16
            with archive.open(info, "w", force_zip64=more.get("zip64", False)) as out:
                out.write(content)
        archive.comment = more.get("comment", b"")
    return buffer.getvalue()


class Pipe(io.RawIOBase):
    """Takes bytes and cannot go back, as a socket: a zip that is written to it has data descriptors."""

    def __init__(self) -> None:
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self.content += piece
        return len(piece)


def streamed() -> bytes:
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {"handler.py": HANDLER.encode(), **CURVE}.items():
            archive.writestr(name, content)
    return bytes(pipe.content)


def tree(folder: Path) -> Path:
    for name, content in {"handler.py": HANDLER.encode(), **CURVE}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def info_zip(folder: Path, *options: str) -> bytes:
    if shutil.which("zip") is None:
        pytest.skip("there is no zip")
    subprocess.run(["zip", "-q", "-r", *options, "../made.zip", "."], cwd=tree(folder / "in"), check=True)
    return (folder / "made.zip").read_bytes()


def make_archive(folder: Path) -> bytes:
    return Path(shutil.make_archive(str(folder / "made"), "zip", tree(folder / "in"))).read_bytes()


def windows(_: Path) -> bytes:
    slashes = {name.replace("/", "@"): content for name, content in CURVE.items()}
    return python_zip(slashes, system=0).replace(b"lib@curve", b"lib\\curve")


def finder(_: Path) -> bytes:
    """UTF-8 that does not say so, and what macOS notes on each file."""
    raw = "målt".encode()
    files = {**CURVE, "N" * len(raw): b"1", "__MACOSX/._handler.py": b"\0\5\x16\7" + bytes(100)}
    return python_zip(files).replace(b"N" * len(raw), raw)


def extra(**files: int) -> dict[str, int]:
    return {"handler.py": SIZE, "lib/curve.py": 6, "limits.csv": 4, **files}


CONSTANT = b"2026-01-01T00:00:00Z,0.0\n" * 560_000
BIG = {f"{size}.bin": bytes(size) for size in (262_143, 262_144, 262_244, 524_288, 524_388, 1_048_576 + 258)}

ZIPS: dict[str, tuple[Callable[[Path], bytes], dict[str, int]]] = {
    "deflated": (lambda _: python_zip(), extra()),
    "stored": (lambda _: python_zip(method=zipfile.ZIP_STORED), extra()),
    "bzip2": (lambda _: python_zip(method=zipfile.ZIP_BZIP2), extra()),
    "lzma": (lambda _: python_zip(method=zipfile.ZIP_LZMA), extra()),
    "zip64": (lambda _: python_zip(zip64=True), extra()),
    "data descriptors": (lambda _: streamed(), extra()),
    "a comment": (lambda _: python_zip(comment=b"made by hand"), extra()),
    "a program in front": (lambda _: python_zip(prefix=b"#!/usr/bin/env python3\n"), extra()),
    "zip -r": (info_zip, extra()),
    "zip -r without folders": (lambda folder: info_zip(folder, "-D"), extra()),
    "zip -r without packing": (lambda folder: info_zip(folder, "-0"), extra()),
    "shutil.make_archive": (make_archive, extra()),
    "Windows' separators": (windows, extra()),
    "Finder": (finder, extra(**{"målt": 1})),
    "programs": (lambda _: python_zip(mode=0o755), {f"{name}*": size for name, size in extra().items()}),
    "modes that nobody may use": (lambda _: python_zip(mode=0), extra()),
    "zeros at every multiple of a piece": (
        lambda _: python_zip({**CURVE, **BIG}),
        extra(**{name: len(content) for name, content in BIG.items()}),
    ),
    "a table of one value": (
        lambda _: python_zip({**CURVE, "constant.csv": CONSTANT}),
        extra(**{"constant.csv": len(CONSTANT)}),
    ),
    "names that differ by case": (
        lambda _: python_zip({**CURVE, "Limits.csv": b"", "LIB/x": b"1"}),
        extra(**{"Limits.csv": 0, "LIB/x": 1}),
    ),
    "names beyond ASCII": (lambda _: python_zip({**CURVE, "測定/å.csv": b"1"}), extra(**{"測定/å.csv": 1})),
}


@pytest.mark.parametrize("kind", ZIPS)
def test_a_zip_of_another_program(api: Api, tmp_path: Path, kind: str) -> None:
    make, files = ZIPS[kind]
    made = api.deployed(make(tmp_path))
    assert made["status"] == "Ready", made["error"]
    called = api.call(made["id"])
    response = api.get(f"/functions/{made['id']}/calls/{called['id']}/response").json()["response"]
    assert response == files
    api.post("/functions/delete", {"items": [{"id": made["id"]}]})


@pytest.mark.parametrize(("method", "told"), [(9, "deflate64"), (93, "zstandard")])
def test_a_zip_that_cannot_be_unpacked_is_told_with_what_to_do(api: Api, method: int, told: str) -> None:
    data = bytearray(python_zip())
    for signature, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        place = data.find(signature) + at
        data[place : place + 2] = struct.pack("<H", method)
    made = api.deployed(bytes(data))
    assert told in made["error"]["message"] and "zip it anew" in made["error"]["message"]


class Shell:
    def __init__(self, folder: Path, data: Path) -> None:
        self.folder = folder
        self._env = {"PATH": os.environ["PATH"], "HOME": str(folder), "KVERN_DATA_DIR": str(data), "LANG": "C.UTF-8"}

    def __call__(self, *words: str | bytes, code: int = 0, given: bytes = b"") -> tuple[str, str]:
        done = subprocess.run(
            [KVERN, *words], cwd=self.folder, env=self._env, input=given, capture_output=True, timeout=100
        )
        out, err = done.stdout.decode(), done.stderr.decode()
        assert "Traceback" not in err, err
        assert done.returncode == code, out + err
        return out, err


@pytest.fixture
def kvern(server: Server, tmp_path: Path) -> Shell:
    return Shell(tmp_path, server.data)


def test_a_folder_with_all_that_a_disk_can_hold(kvern: Shell) -> None:
    folder = tree(kvern.folder / "elsewhere")
    (folder / "handler.py").write_bytes(b"\xef\xbb\xbf# coding: utf-8\n" + HANDLER.encode())
    (folder / "limits.csv").chmod(0o755)
    os.mkfifo(folder / "pipe")
    (folder / os.fsdecode(b"bl\xe5.txt")).write_text("x")
    (folder / "lib" / "up").symlink_to("..")
    (folder / "other").symlink_to("lib")
    (folder / ".kvernignore").write_text("*.log\n!kept.log\n")
    for name in ("a.log", "kept.log"):
        (folder / name).write_text("x")

    _, err = kvern("deploy", "elsewhere")
    assert "'pipe' is a named pipe; it is left out" in err
    assert "'bl\\xe5.txt' has a name that is not UTF-8" in err
    assert "'lib/up' is a link to a folder that it lies in" in err
    found = json.loads(kvern("call", "elsewhere")[0])
    assert found == {
        "handler.py": SIZE + 19, "kept.log": 1, "lib/curve.py": 6, "limits.csv*": 4, "other/curve.py": 6,
    }  # fmt: skip
    kvern("delete", "elsewhere")


@pytest.mark.parametrize(
    ("words", "content", "told"),
    [
        (("deploy", "made", "--secret-file", "file"), b"a=\xff", "is not text"),
        (("deploy", "made", "--secret-file", "file"), b'a="x', "never closed"),
        (("deploy", "made", "--secret-file", "."), b"", "directory"),
        (("deploy", "made", "--secret-file", "none"), b"", "No such file"),
        (("deploy", "file"), b"\0", "neither a folder"),
        (("deploy", "file.zip"), b"PK\5\6" + bytes(18), "no .py file"),
        (("deploy", "file.py"), b"x = '\xe5'", "not valid Python"),
        (("deploy", "file.py"), bytes(3), "not valid Python"),
        (("deploy", b"\xff"), b"", "there is no"),
        (("call", b"\xff"), b"", "kvern"),
        (("call", "x", "--data", "@none"), b"", "No such file"),
        (("call", "x", "--data", "@."), b"", "directory"),
        (("call", "x", "--data", "@file"), b"", "line 1 column 1"),
        (("call", "x", "--data", "@file"), b"{\n  a: 1}", "line 2 column 3"),
        (("call", "x", "--data", "@file"), b"\x80", "is not text"),
        (("login", "http://127.0.0.1:9", "--client-id", "x", "--secret-file", "."), b"", "directory"),
        (("env", "--data-dir", "file"), b"", "Not a directory"),
    ],
)
def test_what_is_wrong_is_told_without_a_traceback(
    kvern: Shell, words: tuple[str | bytes, ...], content: bytes, told: str
) -> None:
    tree(kvern.folder / "made")
    for name in ("file", "file.py", "file.zip"):
        (kvern.folder / name).write_bytes(content)
    done = subprocess.run([KVERN, *words], cwd=kvern.folder, env=kvern._env, capture_output=True, timeout=100)
    err = done.stderr.decode()
    assert done.returncode in (1, 2), err
    assert told in err and "Traceback" not in err
    assert len(err.splitlines()) == 1
