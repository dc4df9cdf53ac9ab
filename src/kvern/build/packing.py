"""Packs the wheels of one environment: a program of its own, started by its path, so that no call waits for it.

What it reads may have been written by hostile build scripts. It opens plain files of the environment only, never by way
of a link, of what a RECORD names each once, and up to a limit in all; and it holds its own memory to one.

Each wheel is put to its place as soon as it is whole, and noted in `<environment>.part`, so that whoever begins anew
after a kill goes on from there. The list `<environment>.json` comes last.

Standard library only.
"""

from __future__ import annotations

import base64
import configparser
import csv
import ctypes
import hashlib
import io
import json
import os
import resource
import signal
import stat
import sys
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path
from typing import BinaryIO

_NOT_OF_THE_WHEEL = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json")
_RELOCATABLE = b"#!/bin/sh\n'''exec'"
_PIECE = 1 << 20
_TEXT_MOST = 20_000_000
"""Bytes of a RECORD, or another file that tells of a distribution."""

_SCRIPT_MOST = 20_000_000
_MOST = 50_000_000_000
"""Bytes of all files of an environment together."""

_MEMORY = 1_000_000_000
_ZIP64 = 1 << 30
_PR_SET_PDEATHSIG = 1


class UnfitError(Exception):
    """The environment says of itself what cannot be packed: the message tells what."""


def noted(progress: Path) -> set[str]:
    """The hashes of the wheels that a run which is not over has packed, or one that was cut short.

    Args:
        progress: its `<environment>.part`; may be gone.
    """
    return {digest for _, _, digest in _notes(progress)}


def _notes(progress: Path) -> Iterator[tuple[str, str, str]]:
    """Of each wheel: the folder of its distribution, its name, its hash."""
    try:
        lines = progress.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        try:
            info, name, digest = json.loads(line)
        except ValueError:  # cut short
            continue
        yield str(info), str(name), str(digest)


class Packing:
    """Packs one environment.

    Args:
        environment: its folder; nobody may write to it.
        folder: where the wheels go.
        work: an empty folder for what is not whole yet, on the same file system.
    """

    def __init__(self, environment: Path, folder: Path, work: Path) -> None:
        self._environment = environment
        self._folder = folder
        self._work = work
        self._room = _MOST

    def run(self, key: str, built_for: str) -> None:
        """Pack what is not packed yet, then write the list.

        Raises:
            UnfitError: a distribution cannot be packed.
        """
        progress = self._folder / f"{key}.part"
        packed = [(info, (name, digest)) for info, name, digest in _notes(progress)]
        done = {info: wheel for info, wheel in packed if self._folder.joinpath(*reversed(wheel)).is_file()}
        wheels: list[tuple[str, str]] = []
        with progress.open("a") as notes:
            for info in _installed(self._environment):
                wheel = done.get(info.name) or self._pack(info)
                wheels.append(wheel)
                if info.name not in done:
                    # On a line of its own, whatever the last one, which a kill may have cut short, is like.
                    notes.write(f"\n{json.dumps([info.name, *wheel])}\n")
                    notes.flush()
        finished = self._work / "list"
        with finished.open("w") as file:
            json.dump({"wheels": wheels, "built_for": built_for}, file)
            file.flush()
            os.fsync(file.fileno())
        finished.rename(self._folder / f"{key}.json")
        progress.unlink(missing_ok=True)

    def _pack(self, info: Path) -> tuple[str, str]:
        """The file name and the hash of the wheel packed from the distribution `info`."""
        aside = self._work / "wheel"
        rows: list[str] = []
        with aside.open("w+b") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as wheel:
                for name, path in sorted(self._contents(info)):
                    rows.append(self._add(wheel, name, path))
                rows.append(_row(f"{info.name}/RECORD", "", ""))
                with wheel.open(f"{info.name}/RECORD", "w") as out:
                    out.write("".join(rows).encode())
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        name = f"{info.name.removesuffix('.dist-info')}-{_tag(info)}.whl"
        (self._folder / digest).mkdir(exist_ok=True)
        aside.rename(self._folder / digest / name)
        return name, digest

    def _add(self, wheel: zipfile.ZipFile, name: str, path: Path) -> str:
        """Put a file into a wheel; its line of the RECORD."""
        with _open(path) as file:
            status = os.fstat(file.fileno())
            self._room -= status.st_size
            if self._room < 0:
                raise UnfitError(f"the files are more than {_MOST} bytes together")
            source: BinaryIO = file
            if name.partition("/")[0].endswith(".data") and name.split("/")[1] == "scripts":
                source = io.BytesIO(self._as_brought(_text(file, path)))
            digest, size = hashlib.sha256(), 0
            # By its name, not a ZipInfo of ours: for that zipfile forgets the level of compression. Its time is 1980.
            with wheel.open(name, "w", force_zip64=status.st_size > _ZIP64) as out:
                while piece := source.read(_PIECE):
                    out.write(piece)
                    digest.update(piece)
                    size += len(piece)
        mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
        wheel.getinfo(name).external_attr = (stat.S_IFREG | mode) << 16
        hashed = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
        return _row(name, f"sha256={hashed}", str(size))

    def _contents(self, info: Path) -> Iterator[tuple[str, Path]]:
        """Each file of a distribution: its name in the wheel, and where it lies."""
        site = info.parent
        made = _made_scripts(info)
        data = f"{info.name.removesuffix('.dist-info')}.data"
        with _open(info / "RECORD") as file:
            text = _text(file, info / "RECORD").decode()
        named = dict.fromkeys(row[0] for row in csv.reader(io.StringIO(text, newline="")) if row)
        for path in dict.fromkeys(Path(os.path.normpath(site / name)) for name in named):
            if path.suffix == ".pyc" or (path.parent == info and path.name in _NOT_OF_THE_WHEEL):
                continue
            if not path.is_relative_to(self._environment) or path.resolve() != path:
                raise UnfitError(f"{info.name}: {path} is no file of the environment")
            if path.is_relative_to(site):
                yield path.relative_to(site).as_posix(), path
            elif path.parent != self._environment / "bin":
                yield f"{data}/data/{path.relative_to(self._environment).as_posix()}", path
            elif path.name not in made:
                yield f"{data}/scripts/{path.name}", path

    def _as_brought(self, script: bytes) -> bytes:
        """A script as its wheel had it: `#!python`, in place of what the installer has put there."""
        if script.startswith(_RELOCATABLE):
            return b"#!python\n" + script.split(b"\n", 3)[-1]
        line, newline, rest = script.partition(b"\n")
        ours = line.startswith(b"#!") and os.fsencode(self._environment) in line
        return b"#!python" + newline + rest if ours else script


def _installed(environment: Path) -> Iterator[Path]:
    for site in sorted(environment.glob("lib*/python*/site-packages")):
        if site.resolve() == site:
            for info in sorted(site.glob("*.dist-info")):
                if info.is_symlink() or not info.is_dir():
                    raise UnfitError(f"{info.name} is no folder")
                yield info


def _open(path: Path) -> BinaryIO:
    """Open a plain file, and nothing that is a link or could keep us waiting."""
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as error:
        raise UnfitError(f"{path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise UnfitError(f"{path} is no plain file")
    return file


def _text(file: BinaryIO, path: Path) -> bytes:
    content = file.read(_TEXT_MOST + 1)
    if len(content) > _TEXT_MOST:
        raise UnfitError(f"{path} has more than {_TEXT_MOST} bytes")
    return content


def _made_scripts(info: Path) -> set[str]:
    """The scripts that an installer makes itself, from entry points."""
    path = info / "entry_points.txt"
    if not os.path.lexists(path):
        return set()
    with _open(path) as file:
        text = _text(file, path)
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_string(text.decode())
    except (configparser.Error, UnicodeDecodeError):
        return set()
    return {
        name for kind in ("console_scripts", "gui_scripts") if parser.has_section(kind) for name in parser.options(kind)
    }


def _tag(info: Path) -> str:
    with _open(info / "WHEEL") as file:
        text = _text(file, info / "WHEEL").decode()
    tags = HeaderParser().parsestr(text).get_all("Tag", [])
    parts = [tag.strip().split("-") for tag in tags]
    if not parts or any(len(part) != 3 for part in parts):
        raise UnfitError(f"{info.name} has no tags")
    tag = "-".join(".".join(dict.fromkeys(column)) for column in zip(*parts, strict=True))
    if "/" in tag or "\0" in tag:
        raise UnfitError(f"{info.name} has tags that are none")
    return tag


def _row(*fields: str) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(fields)
    return out.getvalue()


def _give_way(parent: int) -> None:
    """Let all else go first, and end with the service, whatever ends that."""
    os.nice(19)
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(1)


def main() -> None:
    """Arguments: an environment's folder, the wheels' folder, one to work in, the environment's key, what it was built
    for, and the process for which this works. Leaves with a line that tells why when it cannot be done."""
    environment, folder, work = map(Path, sys.argv[1:4])
    key, built_for, parent = sys.argv[4:7]
    _give_way(int(parent))
    try:
        Packing(environment, folder, work).run(key, built_for)
    except (UnfitError, OSError, ValueError, csv.Error, MemoryError) as error:
        raise SystemExit(str(error) or type(error).__name__) from None


if __name__ == "__main__":
    main()
