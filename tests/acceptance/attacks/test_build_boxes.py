"""A package that is built from source tries to reach what the service, its machine and its operator have."""

from __future__ import annotations

import base64
import io
import json
import secrets
import socket
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kvern.sandbox.detect import choose
from tests.acceptance.api import Api, bundle
from tests.acceptance.server import Server

pytestmark = pytest.mark.skipif(not choose("auto")[0].is_boundary, reason="no boundary on this machine")

PASSWORD = f"pw-{secrets.token_hex(8)}"
OTHER = f"other-{secrets.token_hex(8)}"

BACKEND = """
import json, os, socket, tooling, zipfile

def tried(deed, *arguments):
    try:
        return deed(*arguments) or "done"
    except OSError as error:
        return type(error).__name__

def connect(family, address):
    with socket.socket(family) as one:
        one.settimeout(5)
        one.connect(address)

def found(words):
    "Where one of `words` can be read."
    places = []
    for top in ("/proc", os.getcwd(), os.environ["HOME"], "/kvern", STAGING):
        for at, folders, files in os.walk(top):
            if at.count("/") > 12 or at.startswith(("/proc/sys", "/proc/irq")):
                folders.clear()
            for name in files:
                if name in ("environ", "cmdline", ".netrc", "requirements.in", "requirements.txt", "argv", "env"):
                    try:
                        with open(os.path.join(at, name), "rb") as file:
                            content = file.read(100_000)
                    except OSError:
                        continue
                    if any(word.encode() in content for word in words):
                        places.append(os.path.join(at, name))
    return places

def get_requires_for_build_wheel(config_settings=None):
    return ["tooling"]

def build_wheel(folder, config_settings=None, metadata_directory=None):
    report = {
        "tool": tooling.NAME,
        "tcp": tried(connect, socket.AF_INET, ("127.0.0.1", PORT)),
        "abstract": tried(connect, socket.AF_UNIX, "\\0" + LISTENER),
        "interfaces": [name for _, name in socket.if_nameindex()],
        "words": found(WORDS()),
        "environment": [name for name, value in os.environ.items() if any(word in value for word in WORDS())],
        "writable": [path for path in (os.path.dirname(os.environ["VIRTUAL_ENV"]), os.environ["VIRTUAL_ENV"] + "/bin")
                     if tried(os.mkdir, path + "/made") == "done"],
    }
    os.symlink("/etc/passwd", os.path.join(folder, "planted"))
    name = "spy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("spy.py", "report = " + repr(report))
        wheel.writestr("spy-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: spy\\nVersion: 1.0\\n")
        wheel.writestr("spy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("spy-1.0.dist-info/RECORD", "")
    return name
"""
PROJECT = """
[build-system]
requires = ["tooling"]
build-backend = "backend"
backend-path = ["."]
[project]
name = "spy"
version = "1.0"
"""
HANDLER = """
import spy
def handle(data):
    return spy.report
"""


def wheel(name: str, module: str) -> tuple[str, bytes]:
    """The file name and bytes of version 99 of a package with one module."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(f"{module}.py", f"NAME = {name!r}")
        info = f"{name.replace('-', '_')}-99.0.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return f"{name.replace('-', '_')}-99.0-py3-none-any.whl", out.getvalue()


def pages() -> dict[str, bytes]:
    """What the backend needs, and what every function gets."""
    found: dict[str, bytes] = {}
    for name, module in (("tooling", "tooling"), ("cognite-sdk", "cognite_stand_in")):
        file, content = wheel(name, module)
        found[f"/simple/{name}/"] = f'<a href="/files/{file}">{file}</a>'.encode()
        found[f"/files/{file}"] = content
    return found


PAGES = pages()


class Index(ThreadingHTTPServer):
    """A package index that asks for the password which stands in the operator's netrc."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Pages)


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        login = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
        good = self.headers.get("Authorization") == f"Basic {login}"
        body = PAGES.get(self.path, b"") if good else b""
        self.send_response(401 if not good else 200 if body else 404)
        if not good:
            self.send_header("WWW-Authenticate", "Basic")
        self.send_header("Content-Type", "text/html" if self.path.startswith("/simple") else "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    running = Index()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture(scope="module")
def listener() -> Iterator[str]:
    name = f"kvern-test-{secrets.token_hex(4)}"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(f"\0{name}")
        one.listen(16)
        yield name


def environment(folder: Path, index: Index) -> dict[str, str]:
    """Of a server whose operator has logins for the index and for something else."""
    home = folder / "home"
    home.mkdir()
    netrc = home / ".netrc"
    netrc.write_text(
        f"machine 127.0.0.1 login user password {PASSWORD}\nmachine git.plant.example login me password {OTHER}\n"
    )
    netrc.chmod(0o600)
    return {
        "HOME": str(home),
        "PIP_CONFIG_FILE": "/dev/null",
        "UV_DEFAULT_INDEX": f"http://127.0.0.1:{index.server_port}/simple",
        "UV_NO_CONFIG": "1",
    }


def spy(index: Index, listener: str, server: Server) -> bytes:
    """A bundle with the source distribution of the spy."""
    # The words are no constants of the backend: it would find itself.
    given = [word[::-1] for word in (PASSWORD, OTHER)]
    text = f"PORT, LISTENER, STAGING = {index.server_port}, {listener!r}, {str(server.data / 'build')!r}\n"
    text += f"def WORDS(): return [word[::-1] for word in {given!r}]\n" + BACKEND
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path, content in (("pyproject.toml", PROJECT), ("backend.py", text)):
            member = tarfile.TarInfo(f"spy-1.0/{path}")
            member.size = len(content.encode())
            archive.addfile(member, io.BytesIO(content.encode()))
    whole = io.BytesIO(bundle(handler=HANDLER, requirements="cognite-sdk==99.0\n./spy-1.0.tar.gz\n"))
    with zipfile.ZipFile(whole, "a") as archive:
        archive.writestr("spy-1.0.tar.gz", packed.getvalue())
    return whole.getvalue()


def reported(folder: Path, index: Index, listener: str, *options: str) -> tuple[dict[str, Any], str]:
    """What the spy saw, and what the service wrote of it into logs and the lock."""
    with (
        Server(folder, *options, extra_env=environment(folder, index)) as running,
        Api(running.environment()) as api,
    ):
        function = api.deployed(spy(index, listener, running))
        assert function["status"] == "Ready", function["error"]
        shown = [api.get(f"/functions/{function['id']}/{what}").text for what in ("build-log", "lock")]
        return api.response(api.call(function["id"])), json.dumps([*shown, running.log.read_text()])


@pytest.mark.parametrize("network", ["none", "allow"])
def test_a_backend_reaches_no_network_and_no_login_and_gets_what_it_needs(
    tmp_path: Path, index: Index, listener: str, network: str
) -> None:
    seen, shown = reported(tmp_path, index, listener, "--network", network)
    assert seen["tool"] == "tooling"
    assert seen["tcp"] != "done"
    assert seen["abstract"] != "done"
    assert seen["interfaces"] == ["lo"]
    assert seen["words"] == seen["environment"] == seen["writable"] == []
    assert PASSWORD not in shown
    assert OTHER not in shown


def test_a_backend_that_may_use_the_network_sees_no_login_either(tmp_path: Path, index: Index, listener: str) -> None:
    seen, _ = reported(tmp_path, index, listener, "--build-network", "allow")
    assert seen["tcp"] == "done"
    assert seen["words"] == seen["environment"] == seen["writable"] == []
