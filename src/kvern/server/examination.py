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
from kvern.build.interpreters import Interpreters
from kvern.host import cgroups
from kvern.host.limits import Allowance, Limits
from kvern.sandbox.detect import choose

State = Literal["good", "warning", "bad"]

_LEAST_FREE = 2_000_000_000


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
    looks: list[tuple[str, Callable[[], Finding]]] = [
        ("kvern", _kvern),
        ("sandbox", _sandbox),
        ("limits", _limits),
        ("interpreters", _interpreters),
        ("builds", _builds),
        ("database", lambda: _database(database)),
        ("data folder", lambda: _data_dir(data_dir)),
    ]
    return [_looked(what, look) for what, look in looks]


def _looked(what: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except Exception as error:  # one broken part must not hide the others
        return Finding(what, "bad", f"{type(error).__name__}: {error}")


def _kvern() -> Finding:
    text = f"{kvern.__version__} on Python {platform.python_version()}, {platform.system()} {platform.release()}, "
    text += f"{platform.machine()}, {os.cpu_count()} cores"
    return Finding("kvern", "good", text)


def _sandbox() -> Finding:
    sandbox, reason = choose("auto")
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


def _builds() -> Finding:
    version = subprocess.run([uv.find_uv_bin(), "--version"], capture_output=True, text=True, check=True, timeout=20)
    return Finding("builds", "good", version.stdout.strip())


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
        return Finding(what, "bad", f"{nearest} cannot be written: {error.strerror}")
    free = shutil.disk_usage(nearest).free
    state: State = "good" if free >= _LEAST_FREE else "warning"
    hint = "" if state == "good" else "; environments need more"
    return Finding(what, state, f"{there}, {free / 1e9:.1f} GB free{hint}")
