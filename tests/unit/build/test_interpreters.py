"""The Pythons of a machine, found where they are usually installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kvern.build.interpreters import Answer, Interpreters, candidates

THIS = f"py{sys.version_info.major}{sys.version_info.minor}"


def python(path: Path, **answer: object) -> Path:
    """A file that stands for a Python; `ask` reads what it would say of itself."""
    told = {"name": "cpython", "version": [3, 14, 1, "final", 0], "executable": str(path), "prefix": "/", "free": False}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x7fELF" + json.dumps([*{**told, **answer}.values()]).encode())
    path.chmod(0o755)
    return path


def ask(executable: Path) -> Answer | None:
    with executable.open("rb") as file:
        start = file.read(5)
        return tuple(json.loads(b"[" + file.read())) if start == b"\x7fELF[" else None


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A machine without any Python of its own but the system's and the running one."""
    return {"HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "bin")}


def test_the_running_interpreter_is_always_there() -> None:
    found = Interpreters(environ={"HOME": "/nowhere", "PATH": ""}).all()[THIS]
    assert found.executable.is_file()
    assert not found.executable.is_symlink()
    assert found.version.split(".")[:2] == list(map(str, sys.version_info[:2]))
    assert found.prefix == Path(sys.base_prefix).resolve()


def test_what_each_says_of_itself_is_true() -> None:
    for runtime, interpreter in Interpreters().all().items():
        ask = "import platform, sys; print(platform.python_version(), sys.base_prefix)"
        done = subprocess.run([interpreter.executable, "-I", "-c", ask], capture_output=True, text=True, check=True)
        assert done.stdout.split() == [interpreter.version, str(interpreter.prefix)]
        assert runtime == "py" + "".join(interpreter.version.split(".")[:2])


def test_path_pyenv_and_uv_are_looked_through(tmp_path: Path, environ: dict[str, str]) -> None:
    home = tmp_path / "home"
    for place in (
        home / ".pyenv/versions/3.12.8/bin/python3",
        home / ".pyenv/versions/3.9.1/bin/python3",
        home / ".pyenv/versions/pypy3.10-7.3/bin/python3",
        home / ".local/share/uv/python/cpython-3.13.1-linux-x86_64-gnu/bin/python3",
        tmp_path / "bin/python3.11",
        tmp_path / "bin/python3",
        tmp_path / "bin/python3.11-config",
        tmp_path / "bin/ipython",
    ):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch(mode=0o755)
    found = {str(path.relative_to(tmp_path)) for path in candidates(environ) if path.is_relative_to(tmp_path)}
    assert found == {
        "home/.pyenv/versions/3.12.8/bin/python3",
        "home/.pyenv/versions/pypy3.10-7.3/bin/python3",
        "home/.local/share/uv/python/cpython-3.13.1-linux-x86_64-gnu/bin/python3",
        "bin/python3.11",
        "bin/python3",
    }


def test_roots_may_be_set(tmp_path: Path, environ: dict[str, str]) -> None:
    environ |= {"PYENV_ROOT": str(tmp_path / "p"), "UV_PYTHON_INSTALL_DIR": str(tmp_path / "u")}
    for folder in ("p/versions/3.12.8", "u/cpython-3.13.1-linux"):
        (tmp_path / folder).mkdir(parents=True)
    found = {str(path.relative_to(tmp_path)) for path in candidates(environ) if path.is_relative_to(tmp_path)}
    assert found == {"p/versions/3.12.8/bin/python3", "u/cpython-3.13.1-linux/bin/python3"}


def test_pyenv_is_found_by_its_shims_too(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "pyenv" / "shims").mkdir(parents=True)
    (tmp_path / "pyenv" / "versions" / "3.12.8").mkdir(parents=True)
    environ["PATH"] = str(tmp_path / "pyenv" / "shims")
    assert tmp_path / "pyenv/versions/3.12.8/bin/python3" in set(candidates(environ))


def test_a_shim_is_never_taken(tmp_path: Path, environ: dict[str, str]) -> None:
    shim = tmp_path / "bin" / "python3.14"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\ntouch " + str(tmp_path / "ran"))
    shim.chmod(0o755)
    Interpreters(environ, ask=ask).all()
    assert not (tmp_path / "ran").exists()


def test_the_newest_patch_of_a_series_wins(tmp_path: Path, environ: dict[str, str]) -> None:
    versions = tmp_path / "home" / ".pyenv" / "versions"
    for patch in (9, 31, 30):
        python(versions / f"3.14.{patch}" / "bin" / "python3", version=[3, 14, patch, "final", 0])
    found = Interpreters(environ, ask=ask).all()["py314"]
    assert (found.version, found.executable) == ("3.14.31", versions / "3.14.31" / "bin" / "python3")


def test_links_are_followed_to_the_real_executable(tmp_path: Path, environ: dict[str, str]) -> None:
    real = python(tmp_path / "opt" / "python3.14.31", version=[3, 14, 31, "final", 0])
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3.14").symlink_to(real)
    assert Interpreters(environ, ask=ask).all()["py314"].executable == real


@pytest.mark.parametrize(
    "answer",
    [
        {"version": [3, 15, 0, "final", 0]},
        {"version": [3, 9, 20, "final", 0]},
        {"version": [3, 14, 0, "alpha", 5]},
        {"version": [3, 14, 99, "final", 0], "name": "pypy"},
        {"version": [3, 14, 99, "final", 0], "free": True},
        {"version": [3, 14, 99, "final", 0], "executable": "/gone/python"},
    ],
)
def test_what_is_not_wanted(tmp_path: Path, environ: dict[str, str], answer: dict[str, object]) -> None:
    python(tmp_path / "bin" / "python3", **answer)
    assert Interpreters(environ, ask=ask).all() == {}


def test_what_cannot_be_started_is_left_out(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3.14").write_bytes(b"\x7fELF nonsense")
    (tmp_path / "bin" / "python3.14").chmod(0o755)
    (tmp_path / "bin" / "python3.13").symlink_to("python3.13")
    assert THIS in Interpreters(environ).all()


def test_answers_are_kept_until_the_executable_changes(tmp_path: Path, environ: dict[str, str]) -> None:
    cache = tmp_path / "interpreters.json"
    fake = python(tmp_path / "bin" / "python3.14", version=[3, 14, 30, "final", 0])
    assert Interpreters(environ, cache, ask).all()["py314"].version == "3.14.30"
    altered = cache.read_text().replace("3, 14, 30", "3, 14, 40")
    cache.write_text(altered)
    assert Interpreters(environ, cache, ask).all()["py314"].version == "3.14.40"
    python(fake, version=[3, 14, 31, "final", 0])
    assert Interpreters(environ, cache, ask).all()["py314"].version == "3.14.31"


def test_a_broken_cache_is_no_harm(tmp_path: Path, environ: dict[str, str]) -> None:
    cache = tmp_path / "interpreters.json"
    cache.write_text("{")
    python(tmp_path / "bin" / "python3.14")
    assert list(Interpreters(environ, cache, ask).all()) == ["py314"]
    assert "python3.14" in cache.read_text()


def test_one_installed_later_is_found_when_asked_for(tmp_path: Path, environ: dict[str, str]) -> None:
    interpreters = Interpreters(environ, ask=ask)
    assert interpreters.get("py314") is None
    python(tmp_path / "bin" / "python3.14", version=[3, 14, 31, "final", 0])
    found = interpreters.get("py314")
    assert found is not None
    assert found.version == "3.14.31"
    found.executable.unlink()
    assert interpreters.get("py314") is None
