"""Environments that are found, without making any."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import cast

from kvern.build.bytecode import Bytecode
from kvern.build.environments import Environments, _key
from kvern.build.installer import Installer
from kvern.build.revision import Interpreter
from kvern.build.wheels import Wheels


class FakeWheels:
    """Wheels that are all kept."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.folder = Path("/nowhere")

    def pinned(self, key: str) -> tuple[str, str]:
        return "", ""

    def keep(self, environment: object, built_for: str) -> None:
        self.asked.append((environment.key, built_for))  # type: ignore[attr-defined]


def made(folder: Path, interpreter: Interpreter, lock: str, **more: str) -> Path:
    """An environment that was made, and used last, long ago."""
    path = folder / _key(lock, interpreter, more.get("built_for", ""))
    path.mkdir(parents=True)
    record = {
        "lock": lock,
        "runtime": interpreter.runtime,
        "version": interpreter.version,
        "executable": str(interpreter.executable),
        "prefix": str(interpreter.prefix),
        **more,
    }
    (path / "kvern.json").write_text(json.dumps(record))
    os.utime(path, (1000, 1000))
    return path


def environments(root: Path, wheels: FakeWheels) -> Environments:
    return Environments(
        root / "environments",
        root / "staging",
        cast("Installer", None),
        cast("Bytecode", None),
        cast("Wheels", wheels),
        {},
        lock_age=600,
        source_builds=True,
    )


def python(root: Path, version: str) -> Interpreter:
    executable = root / f"python{version}"
    executable.touch()
    return Interpreter("py313", version, executable, root)


async def test_one_that_was_just_found_for_a_newer_interpreter_is_not_cleared_away(tmp_path: Path) -> None:
    """It is no revision's yet, and nobody has used it for long."""
    before, now = python(tmp_path, "3.13.0"), python(tmp_path, "3.13.1")
    old = made(tmp_path / "environments", before, "six==1.17.0\n")
    new = made(tmp_path / "environments", now, "six==1.17.0\n")
    its = environments(tmp_path, FakeWheels())
    found = await its.remake(old.name, "six==1.17.0\n", tmp_path, now, lambda _: None)
    assert found is not None
    assert found.path == new
    assert await its.collect({old.name}, 2000) == 0
    assert new.is_dir()
    assert await its.collect(set(), new.stat().st_mtime + 1) == 2


def test_the_wheels_of_one_that_is_found_are_seen_to(tmp_path: Path) -> None:
    folder, interpreter, wheels = tmp_path / "environments", python(tmp_path, "3.13.1"), FakeWheels()
    its = environments(tmp_path, wheels)
    plain = made(folder, interpreter, "six==1.17.0\n", built_for="")
    built = made(folder, interpreter, "six==1.17.0\n", built_for="a question")
    earlier = made(folder, interpreter, "six==1.16.0\n")
    for path in (plain, built, earlier):
        assert its.restore(path.name) is not None
    assert wheels.asked == [(plain.name, ""), (built.name, "a question"), (earlier.name, "")]
    unknown = folder / ("0" * 32)
    built.rename(unknown)
    record = json.loads((unknown / "kvern.json").read_bytes())
    del record["built_for"]
    (unknown / "kvern.json").write_text(json.dumps(record))
    assert its.restore(unknown.name) is not None
    assert len(wheels.asked) == 3, "made before it was noted, for what nobody knows"
