"""Kept wheels: what an environment was made of, so that a lost one is made again without a network.

uv keeps no wheels, only what was in them, in a cache that it may change or clean at any time. So the wheels are packed
anew from the environment, by what each distribution's RECORD says (the specifications "Recording installed projects"
and "Binary distribution format"). That holds for what was built from source as well, and for another minor version of
the same Python.

A wheel is named by the hash of its content, and an environment's list says which of them it needs. So nobody can put
another one in its place, whatever a RECORD claims.
"""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import io
import json
import os
import secrets
import stat
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.parser import HeaderParser
from pathlib import Path

from kvern.build.revision import Environment
from kvern.build.staging import remove

_NOT_OF_THE_WHEEL = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json")
_MOMENT = (1980, 1, 1, 0, 0, 0)
_RELOCATABLE = b"#!/bin/sh\n'''exec'"


class Wheels:
    """Keeps wheels below one folder: `<hash>/<file name>`, and `<environment>.json`.

    Args:
        folder: made when missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Calls go first: one thread, at the lowest priority.
        self._thread = ThreadPoolExecutor(1, "wheels", initializer=_be_nice)

    def keep(self, environment: Environment, built_for: str) -> None:
        """Pack the wheels of an environment, in the background.

        Args:
            environment: it must stay until this is done.
            built_for: what it was built for beside its lock; empty when it is made of wheels alone.
        """
        self._thread.submit(self._keep, environment, built_for)

    def close(self) -> None:
        """Wait until all is packed that was to be kept. Harmless when called twice."""
        self._thread.shutdown(wait=True)

    def pinned(self, key: str) -> tuple[str, str] | None:
        """Requirements that name the kept wheels of an environment with their hashes, and what it was built for.

        None when one of them is not there.
        """
        try:
            record = json.loads((self._folder / f"{key}.json").read_bytes())
            lines: list[str] = []
            for name, digest in record["wheels"]:
                path = self._folder / digest / name
                if not path.is_file():
                    return None
                lines.append(f"{name.partition('-')[0]} @ {path.as_uri()} --hash=sha256:{digest}\n")
            return "".join(lines), str(record["built_for"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def collect(self, used: set[str], grace: float) -> int:
        """Remove the lists of environments that are not `used`, and wheels on no list; how many wheels.

        Args:
            used: keys of environments.
            grace: seconds for which what is not used any more stays.
        """
        needed: set[str] = set()
        for path in self._folder.glob("*.json"):
            if path.stem not in used and _is_older(path, grace):
                path.unlink(missing_ok=True)
                continue
            try:
                needed.update(digest for _, digest in json.loads(path.read_bytes())["wheels"])
            except (OSError, ValueError, KeyError, TypeError):
                path.unlink(missing_ok=True)
        count = 0
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            if path.suffix != ".json" and path.name not in needed and _is_older(path, grace):
                remove(path)
                count += 1
        return count

    def _keep(self, environment: Environment, built_for: str) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            wheels = [self._pack(environment.path, info) for info in _installed(environment.path)]
            aside = self._folder / f".{secrets.token_hex(8)}"
            aside.write_text(json.dumps({"wheels": wheels, "built_for": built_for}))
            aside.rename(self._folder / f"{environment.key}.json")
        except (OSError, ValueError, KeyError):
            # Then it is made again from the index: what a RECORD says cannot be packed, or the disk is full.
            return

    def _pack(self, environment: Path, info: Path) -> tuple[str, str]:
        """The file name and the hash of the wheel packed from the distribution `info`."""
        site = info.parent
        aside = self._folder / f".{secrets.token_hex(8)}"
        try:
            with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as wheel:
                lines: list[str] = []
                for name, path in sorted(_contents(environment, site, info)):
                    content = path.read_bytes()
                    if name.partition("/")[0].endswith(".data"):
                        content = _without_interpreter(content)
                    entry = zipfile.ZipInfo(name, _MOMENT)
                    entry.external_attr = (stat.S_IFREG | (0o755 if os.access(path, os.X_OK) else 0o644)) << 16
                    entry.compress_type = zipfile.ZIP_DEFLATED
                    wheel.writestr(entry, content)
                    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
                    lines.append(_row(name, f"sha256={digest}", str(len(content))))
                lines.append(_row(f"{info.name}/RECORD", "", ""))
                wheel.writestr(zipfile.ZipInfo(f"{info.name}/RECORD", _MOMENT), "".join(lines))
            with aside.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
            name = f"{info.name.removesuffix('.dist-info')}-{_tag(info)}.whl"
            (self._folder / digest).mkdir(exist_ok=True)
            aside.rename(self._folder / digest / name)
            return name, digest
        finally:
            aside.unlink(missing_ok=True)


def _installed(environment: Path) -> Iterator[Path]:
    for site in sorted(environment.glob("lib*/python*/site-packages")):
        if site.resolve() == site:
            yield from sorted(site.glob("*.dist-info"))


def _contents(environment: Path, site: Path, info: Path) -> Iterator[tuple[str, Path]]:
    """Each file of a distribution: its name in the wheel, and where it lies.

    Raises:
        ValueError: the RECORD names what is no plain file of the environment.
    """
    made = _made_scripts(info)
    data = f"{info.name.removesuffix('.dist-info')}.data"
    with (info / "RECORD").open(newline="") as file:
        rows = [row[0] for row in csv.reader(file) if row]
    for name in rows:
        path = Path(os.path.normpath(site / name))
        if path.suffix == ".pyc" or (path.parent == info and path.name in _NOT_OF_THE_WHEEL):
            continue
        if not path.is_relative_to(environment) or path.resolve() != path or not path.is_file():
            raise ValueError(f"{name} is no file of the environment")
        if path.is_relative_to(site):
            yield path.relative_to(site).as_posix(), path
        elif path.parent != environment / "bin":
            yield f"{data}/data/{path.relative_to(environment).as_posix()}", path
        elif path.name not in made:
            yield f"{data}/scripts/{path.name}", path


def _made_scripts(info: Path) -> set[str]:
    """The scripts that an installer makes itself, from entry points."""
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_string((info / "entry_points.txt").read_text())
    except (OSError, configparser.Error, UnicodeDecodeError):
        return set()
    return {
        name for kind in ("console_scripts", "gui_scripts") if parser.has_section(kind) for name in parser.options(kind)
    }


def _without_interpreter(content: bytes) -> bytes:
    """A script as wheels have it: its first line says `#!python`, in place of what the installer has put there."""
    if content.startswith(_RELOCATABLE):
        return b"#!python\n" + content.split(b"\n", 3)[-1]
    line, newline, rest = content.partition(b"\n")
    return b"#!python" + newline + rest if line.startswith(b"#!") and b"python" in line else content


def _tag(info: Path) -> str:
    tags = HeaderParser().parsestr((info / "WHEEL").read_text()).get_all("Tag", [])
    parts = [tag.strip().split("-") for tag in tags]
    if not parts or any(len(part) != 3 for part in parts):
        raise ValueError(f"{info.name} has no tags")
    return "-".join(".".join(dict.fromkeys(column)) for column in zip(*parts, strict=True))


def _row(*fields: str) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(fields)
    return out.getvalue()


def _is_older(path: Path, seconds: float) -> bool:
    try:
        return time.time() - path.stat().st_mtime >= seconds
    except OSError:
        return False


def _be_nice() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
