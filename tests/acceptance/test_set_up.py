"""`make setup` and `make demo` on machines that are set up for other work.

uv is a stand-in that says what it was told, except where all comes from a mirror on this machine.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.acceptance.test_build import Index, serving, wheel
from tests.environments import ROOT

STAND_IN = """#!/bin/sh
[ "$1" = --version ] && exit 0
[ "$1" = venv ] && mkdir -p .venv/bin && ln -sf /bin/true .venv/bin/python
echo "$*" >> told; env >> told
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone as far as set-up reads it, with a uv that installs nothing."""
    folder = tmp_path / "a clone"
    (folder / "tools").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "uv.lock", "tools/machine.py", "tools/set_up.py"):
        shutil.copy(ROOT / name, folder / name)
    lock = (ROOT / "uv.lock").read_text()
    version = lock.partition('name = "uv"\nversion = "')[2].partition('"')[0]
    uv = folder / ".make" / f"uv-{version}" / "bin" / "uv"
    uv.parent.mkdir(parents=True)
    uv.write_text(STAND_IN)
    uv.chmod(0o755)
    return folder


def set_up(clone: Path, **environ: str) -> str:
    """What uv was told by `make setup`: its words, and its environment."""
    home = clone.parent / "home"
    bare = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_CONFIG_DIRS": str(home / "etc")}
    command = ["make", "-s", f"PYTHON={sys.executable}", "setup"]
    done = subprocess.run(command, cwd=clone, env=bare | environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = clone / "told"
    text = told.read_text() if told.exists() else ""
    told.unlink(missing_ok=True)
    return text


@pytest.mark.parametrize(
    ("file", "text", "environ"),
    [
        (".config/pip/pip.conf", "[global]\nuser = yes\ntarget = /elsewhere\nprefix = /elsewhere\n", {}),
        (".config/pip/pip.conf", "[global]\nrequire-hashes = true\nconstraint = /no/such/file\nno-deps = true\n", {}),
        (".config/pip/pip.conf", "no settings at all [", {}),
        (".config/uv/uv.toml", 'required-version = "==0.1"\nno-binary = true', {}),
        (".config/uv/uv.toml", '[pip]\ntarget = "/elsewhere"\npython-version = "3.7"', {}),
        (".config/uv/uv.toml", "no settings at all [", {}),
        ("nothing", "", {"UV_PROJECT_ENVIRONMENT": "/elsewhere", "UV_NO_DEV": "1", "UV_PYTHON": "3.7"}),
        ("nothing", "", {"PYTHONHOME": "/elsewhere", "PYTHONPATH": "/elsewhere", "VIRTUAL_ENV": "/elsewhere"}),
        ("nothing", "", {"CONDA_PREFIX": "/elsewhere", "PIP_TARGET": "/elsewhere", "PIP_USER": "1"}),
        ("nothing", "", {"HOME": "/nonexistent"}),
        ("nothing", "", {"HOME": "/proc/self", "NETRC": "/proc/self/mem"}),
        ("nothing", "", {"UV_HTTP_TIMEOUT": "soon", "UV_CONSTRAINT": "/no/such/file"}),
    ],
)
def test_settings_for_other_work_have_no_say(clone: Path, file: str, text: str, environ: dict[str, str]) -> None:
    path = clone.parent / "home" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    told = set_up(clone, **environ)
    assert "sync --quiet --frozen --all-extras" in told
    assert "UV_NO_CONFIG=1" in told
    for name in ("/elsewhere", "UV_NO_DEV", "UV_PYTHON=", "PIP_USER", "REQUIRE_HASHES", "CONSTRAINT", "=soon"):
        assert name not in told


def test_a_mirror_is_asked_for_what_the_lock_pins(clone: Path) -> None:
    told = set_up(clone, PIP_INDEX_URL="http://127.0.0.1:9/simple", HTTPS_PROXY="http://127.0.0.1:9")
    assert "export --quiet --frozen --all-extras" in told
    assert "pip sync --quiet" in told
    assert "UV_DEFAULT_INDEX=http://127.0.0.1:9/simple" in told
    assert "HTTPS_PROXY=http://127.0.0.1:9" in told


def uv_as_wheel() -> tuple[str, bytes]:
    """A package uv whose program is the uv of this environment."""
    name, content = wheel("uv", "1.0")
    out = io.BytesIO(content)
    program = zipfile.ZipInfo("uv-1.0.data/scripts/uv")
    program.external_attr = 0o100755 << 16  # a file, as pip wants to see before it makes it a program
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr(program, f'#!/bin/sh\nexec "{Path(sys.executable).parent / "uv"}" "$@"\n')
    return name, out.getvalue()


def test_all_comes_from_a_mirror_when_nothing_else_is_reached(tmp_path: Path) -> None:
    """The addresses in `uv.lock` answer no more; pip gets uv, and uv the packages, with the hashes of the lock."""
    clone = tmp_path / "clone"
    (clone / "tools").mkdir(parents=True)
    for name in ("Makefile", "tools/machine.py", "tools/set_up.py"):
        shutil.copy(ROOT / name, clone / name)
    project = '[project]\nname = "toy"\nversion = "1"\nrequires-python = ">=3.10"\ndependencies = ["alpha", "uv"]\n'
    (clone / "pyproject.toml").write_text(project + "[tool.uv]\npackage = false\n")
    files = {"alpha": wheel("alpha", "1.0", requires="beta"), "beta": wheel("beta", "2.0"), "uv": uv_as_wheel()}
    cache = {"UV_CACHE_DIR": str(tmp_path / "cache")}
    bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "UV_NO_CONFIG": "1", **cache}
    with serving(Index(*files.values())) as index:
        lock = [Path(sys.executable).parent / "uv", "lock", "--quiet", "--default-index", index.url]
        subprocess.run([*lock, "--python", sys.executable], cwd=clone, env=bare, check=True)
    cache["UV_CACHE_DIR"] = str(tmp_path / "another cache")
    with serving(Index(*files.values(), password="s3cret")) as mirror:
        mirror.add(wheel("alpha", "3.0"))
        set_up(clone, PIP_INDEX_URL=mirror.url, **cache)
        program = "import importlib.metadata as m; print(m.version('alpha'), m.version('beta'))"
        python = clone / ".venv/bin/python"
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout == "1.0 2.0\n"
        assert {f"/files/{name}" for name, _ in files.values()} <= set(mirror.asked)

        (clone / ".venv/set-up").unlink()
        shutil.rmtree(clone / ".venv")
        cache["UV_CACHE_DIR"] = str(tmp_path / "a third cache")
        mirror.add(wheel("beta", "2.0", changed="True"))
        with pytest.raises(AssertionError) as failed:
            set_up(clone, PIP_INDEX_URL=mirror.url, **cache)
        told = str(failed.value)
        assert "Hash mismatch" in told
        assert "could not be installed from http://127.0.0.1:" in told
        assert "s3cret" not in told


def test_what_is_there_stays_and_a_moved_clone_is_made_anew(clone: Path) -> None:
    assert "venv" in set_up(clone)
    assert set_up(clone) == ""
    moved = clone.rename(clone.parent / "moved")
    assert "--clear" in set_up(moved)
    copied = Path(shutil.copytree(moved, clone.parent / "copied", symlinks=True))
    assert "--clear" in set_up(copied)
    assert set_up(moved) == ""
    (moved / ".venv/bin/python").unlink()
    assert "--clear" in set_up(moved)
    (moved / "pyproject.toml").write_text("")
    told = set_up(moved)
    assert "sync" in told
    assert "--clear" not in told


def test_two_at_once_set_up_once(clone: Path) -> None:
    home = clone.parent / "home"
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_CONFIG_DIRS": str(home / "etc")}
    command = ["make", "-s", f"PYTHON={sys.executable}", "setup"]
    both = [subprocess.Popen(command, cwd=clone, env=environ) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert (clone / "told").read_text().count("sync --quiet") == 1


def test_the_demo_removes_read_only_folders(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "environment"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "file").touch()
    for path in (folder / "deep", folder):
        path.chmod(0o555)
    program = "import sys; sys.path.insert(0, sys.argv[1]); import demo; demo.remove(demo.Path(sys.argv[2]))"
    subprocess.run([sys.executable, "-c", program, ROOT / "examples", tmp_path / "data"], check=True)
    assert list(tmp_path.iterdir()) == []
