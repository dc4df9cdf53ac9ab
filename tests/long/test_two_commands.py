"""`make demo` and a part of `make test` in a fresh clone, on machines whose pip or uv is set up for other work.

Each row is one setting of one of the two files, in a home folder of its own. The machine's index is told in that
home's `pip.conf`, too, so that it is found as it would be on a machine of that kind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tools import machine

from kvern.build.staging import remove
from tests import guardian
from tests.environments import ROOT

PIP = {
    "a range as constraint": "constraint = ROOT/range.txt",
    "a pin as constraint": "constraint = ROOT/pins.txt",
    "user": "user = yes",
    "target": "target = ROOT/elsewhere",
    "prefix": "prefix = ROOT/elsewhere",
    "hashes": "require-hashes = true",
    "no index, but links": "no-index = true\nfind-links = ROOT/links",
    "a mirror": "index-url = MIRROR",
    "a time limit": "timeout = 45",
    "a time limit that is none": "timeout = soon",
    "a trusted host": "trusted-host = packages.invalid",
    "sources only": "no-binary = :all:\nno-deps = yes",
    "another Python": "python = ROOT/no/such/python\nrequire-virtualenv = yes",
    "a file that is none": "= not [ settings",
}
UV = {
    "target": '[pip]\ntarget = "ROOT/elsewhere"',
    "prefix": '[pip]\nprefix = "ROOT/elsewhere"',
    "another Python": '[pip]\npython-version = "3.8"\npython-platform = "windows"',
    "packages left out": '[pip]\nno-emit-package = ["certifi", "pydantic"]\nno-deps = true',
    "the index in the list": "[pip]\nemit-index-url = true\nemit-find-links = true\nrequire-hashes = true",
    "the first index": 'index-strategy = "first-index"',
    "a pin as constraint": 'constraint-dependencies = ["certifi==2020.4.5.1", "pytest==7.0.0"]',
    "nothing new": 'exclude-newer = "2020-01-01T00:00:00Z"',
    "no builds": "no-build = true",
    "sources only": "no-binary = true",
    "another uv": 'required-version = "==0.1.0"',
    "an unknown key": 'colour = "green"',
    "the lowest versions": 'resolution = "lowest"\nprerelease = "allow"\nlink-mode = "copy"',
    "a file that is none": "= not [ settings",
}
PINS = "certifi==2020.4.5.1\npytest==7.0.0\nfastapi==0.60.0\nnumpy==1.16.0\n"
PART = ("tests/unit/tools", "tests/acceptance/test_cli.py")
"""What is run of the tests: the second of them deploys by a real server."""


class Mirror(ThreadingHTTPServer):
    """An index that leads to the machine's own, and keeps what it was asked for."""

    daemon_threads = True

    def __init__(self, index: str) -> None:
        super().__init__(("127.0.0.1", 0), _Way)
        self.index = index.rstrip("/")
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/simple"


class _Way(BaseHTTPRequestHandler):
    server: Mirror  # type: ignore[assignment]

    def do_GET(self) -> None:
        name = self.path.removeprefix("/simple/")
        self.server.asked.append(name.strip("/"))
        self.send_response(302)
        self.send_header("Location", f"{self.server.index}/{name}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (its name there)
        pass


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="kvern-two-"))
    for name in ("home", "temporary", "links"):
        (made / name).mkdir()
    (made / "range.txt").write_text("torch<=2.14.1\nnumpy<3\n")
    (made / "pins.txt").write_text(PINS)
    yield made
    remove(made)


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    index = machine.sources(os.environ).index or "https://pypi.org/simple"
    if not index.startswith("http"):
        pytest.skip("the index of this machine is a folder, to which no mirror can lead")
    with Mirror(index) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def surroundings(folder: Path, settings: str, uv: str) -> dict[str, str]:
    """Write the files of the row below the home folder; the environment of who works on that machine."""
    found = machine.sources(os.environ)
    environment = {
        name: value
        for name, value in machine.plain(os.environ).items()
        if not name.startswith(("XDG_", "PYTEST_", "MAKE", "HOME_OF_", "PROCESS_OF_"))
    }
    environment |= machine.home(folder / "home", found)
    environment |= {"TMPDIR": str(folder / "temporary"), "UV_CACHE_DIR": found.for_uv()["UV_CACHE_DIR"]}
    written = folder / "home/.config/pip/pip.conf"
    written.parent.mkdir(parents=True)
    written.write_text("[global]\n" + "\n".join(_merged(found.for_pip(), settings)) + "\n")
    if uv:
        written = folder / "home/.config/uv/uv.toml"
        written.parent.mkdir(parents=True)
        written.write_text(uv)
    return environment


def _merged(told: Mapping[str, str], settings: str) -> list[str]:
    """The machine's index and its like, less what the row sets; pip takes a name that is there twice for an error."""
    names = {line.partition("=")[0].strip() for line in settings.splitlines()}
    kept = {name.removeprefix("PIP_").lower().replace("_", "-"): value for name, value in told.items()}
    return [f"{name} = {value}" for name, value in kept.items() if name not in {*names, "config-file"}] + [settings]


def run(command: list[str], clone: Path, environment: dict[str, str]) -> None:
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=clone, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    print(f"  {' '.join(command[:2]):24} {time.monotonic() - began:6.1f} s, exit code {done.returncode}", flush=True)
    assert done.returncode == 0, done.stdout[-6000:]


def both_commands(folder: Path, settings: str, uv: str = "", own_cache: bool = False) -> None:
    environment = surroundings(folder, settings, uv)
    if own_cache:
        environment["UV_CACHE_DIR"] = str(folder / "cache of uv")
    clone = folder / "clone"
    run(["git", "clone", "--quiet", str(ROOT), str(clone)], folder, environment)
    run(["make", "demo"], clone, environment)
    assert list((folder / "temporary").iterdir()) == []
    run([".venv/bin/pytest", *PART], clone, environment)
    assert not (folder / "elsewhere").exists()
    assert not (folder / "home/.local").exists()  # where pip's `user` leads
    status = ["git", "status", "--porcelain"]
    changed = subprocess.run(status, cwd=clone, env=environment, capture_output=True, text=True, check=True)
    assert changed.stdout == ""


@pytest.mark.parametrize("row", [row for row in PIP if row != "a mirror"])
def test_a_fresh_clone_where_pip_has(folder: Path, row: str) -> None:
    print(f"\npip.conf: {row}", flush=True)
    both_commands(folder, PIP[row].replace("ROOT", str(folder)))


@pytest.mark.parametrize("row", UV)
def test_a_fresh_clone_where_uv_has(folder: Path, row: str) -> None:
    print(f"\nuv.toml: {row}", flush=True)
    both_commands(folder, "", UV[row].replace("ROOT", str(folder)))


def test_a_fresh_clone_where_pip_has_a_mirror(folder: Path, mirror: Mirror) -> None:
    """Everything is downloaded anew, through the mirror."""
    print("\npip.conf: a mirror", flush=True)
    both_commands(folder, PIP["a mirror"].replace("MIRROR", mirror.url), own_cache=True)
    assert {"uv", "pytest", "cognite-sdk"} <= set(mirror.asked)


@pytest.mark.parametrize(
    "at", ["Install the official SDK", "Start the service", "data in a temporary folder", "Deploy"]
)
def test_ctrl_c_ends_the_demo_and_nothing_stays(folder: Path, at: str) -> None:
    """The signal goes to all processes of the terminal's foreground, as from a keyboard."""
    environment = surroundings(folder, "", "") | {guardian.MARK: folder.name, "PYTHONUNBUFFERED": "1"}
    demo = subprocess.Popen(
        ["make", "demo"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert demo.stdout
    told = ""
    while at not in told:
        line = demo.stdout.readline()
        assert line, told
        told += line
    os.killpg(demo.pid, signal.SIGINT)
    told += demo.stdout.read()
    assert demo.wait(60) != 0
    assert "Stopped; nothing is left behind." in told
    assert "Traceback" not in told
    assert guardian.marked(folder.name) == []
    assert list((folder / "temporary").iterdir()) == []
