"""What a machine can and cannot do for a service: each finding is tried out, not guessed."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import uv

import kvern
from kvern.build.examination import complaints
from kvern.build.interpreters import Interpreters
from kvern.host import cgroups
from kvern.host.limits import Allowance, Limits
from kvern.sandbox import Box
from kvern.sandbox.detect import choose

State = Literal["good", "warning", "bad"]

_LEAST_FREE = 2_000_000_000
_LEAST_INODES = 100_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `text` says what was found and, unless good, what to do."""

    what: str
    state: State
    text: str


def examine(data_dir: Path, database: str | None = None) -> list[Finding]:
    """Look at everything that a service needs. Leaves nothing behind, and changes nothing.

    Args:
        data_dir: where the service would keep its data; it need not exist.
        database: address of the PostgreSQL that it would use; None stands for SQLite.
    """
    looks: list[tuple[str, Callable[[], Finding | list[Finding]]]] = [
        ("kvern", _kvern),
        ("user", _user),
        ("sandbox", _sandbox),
        ("limits", _limits),
        ("interpreters", _interpreters),
        ("builds", lambda: _builds(data_dir)),
        ("database", lambda: _database(database)),
        ("data folder", lambda: _data_dir(data_dir)),
    ]
    return [finding for what, look in looks for finding in _looked(what, look)]


def _looked(what: str, look: Callable[[], Finding | list[Finding]]) -> list[Finding]:
    try:
        found = look()
    except Exception as error:  # one broken part must not hide the others
        return [Finding(what, "bad", f"{type(error).__name__}: {error}")]
    return found if isinstance(found, list) else [found]


def _kvern() -> Finding:
    text = f"{kvern.__version__} on Python {platform.python_version()}, {platform.system()} {platform.release()}, "
    text += f"{platform.machine()}, {os.cpu_count()} cores"
    return Finding("kvern", "good", text)


def _user() -> Finding:
    if os.geteuid() == 0:
        return Finding(
            "user", "warning", "root; run the service as a user of its own: a wall that fails opens into less"
        )
    return Finding("user", "good", f"uid {os.geteuid()}, which is not root")


def _sandbox() -> Finding:
    sandbox, reason = choose("auto")
    box = Box(["/bin/sh", "-c", "exit 0"], {"PATH": os.defpath}, [], workdir="/")
    done = subprocess.run(
        sandbox.command(box), env=dict(box.env), capture_output=True, text=True, timeout=20, check=False
    )
    if done.returncode != 0:
        return Finding("sandbox", "bad", f"{reason}, but a command in it ends with {done.stderr.strip()[:200]}")
    return Finding("sandbox", "good" if sandbox.is_boundary else "warning", reason)


def _limits() -> Finding:
    limits = Limits(Allowance(), cgroups.find()).describe()
    text = ", ".join(f"{what}: {how}" for what, how in limits.items())
    held = "cgroup" in limits["memory"]
    return Finding("limits", "good" if held else "warning", text)


def _interpreters() -> Finding:
    found = Interpreters().all()
    if not found:
        return Finding("interpreters", "bad", "no Python 3.10 to 3.14 was found; install one, for example with uv")
    text = ", ".join(f"{name} ({found[name].version})" for name in sorted(found))
    missing = [name for name in ("py310", "py311", "py312", "py313") if name not in found]
    if missing:
        return Finding("interpreters", "warning", f"{text}; not here: {', '.join(missing)} (uv python install 3.12 …)")
    return Finding("interpreters", "good", text)


def _builds(data_dir: Path) -> list[Finding]:
    version = subprocess.run([uv.find_uv_bin(), "--version"], capture_output=True, text=True, check=True, timeout=20)
    cache = os.environ.get("KVERN_BUILD_CACHE")
    found = complaints(os.environ, Path(cache) if cache else None, data_dir.resolve())
    findings = [Finding("builds", "bad" if is_bad else "warning", text) for is_bad, text in found]
    if any(is_bad for is_bad, _ in found):
        return findings
    text = f"{version.stdout.strip()}; it resolves under the settings of this machine, for each Python"
    return [Finding("builds", "good", text), *findings]


def _database(address: str | None) -> Finding:
    if address is not None:
        from kvern.store.postgres import PostgresStore

        return Finding("database", "good", PostgresStore(address).look())
    return Finding("database", "good", f"SQLite {sqlite3.sqlite_version}")


def _data_dir(folder: Path) -> Finding:
    what = "data folder"
    there = folder.resolve()
    nearest = next(path for path in (there, *there.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(b"kvern")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Finding(what, "bad", f"{nearest} cannot be written: {error.strerror}; choose another with --data-dir")
    if os.statvfs(nearest).f_flag & os.ST_NOEXEC:
        text = f"{nearest} is on a file system that is mounted noexec: no environment works there; mount it with exec"
        return Finding(what, "bad", text)
    inodes = os.statvfs(nearest)
    if inodes.f_files and inodes.f_favail < _LEAST_INODES:
        text = f"{nearest} has {inodes.f_favail} inodes left; an environment takes some thousands"
        return Finding(what, "bad" if inodes.f_favail < _LEAST_INODES // 20 else "warning", text)
    free = shutil.disk_usage(nearest).free
    state: State = "good" if free >= _LEAST_FREE else "warning"
    hint = "" if state == "good" else "; environments need more"
    return Finding(what, state, f"{there}, {free / 1e9:.1f} GB free{hint}")
