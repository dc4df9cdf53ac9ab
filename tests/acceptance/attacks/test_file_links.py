"""Indexes and wheels that lead to files of the server: nothing of them is installed, nor told whether it is there."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.acceptance.api import Api
from tests.acceptance.server import Server
from tests.acceptance.test_build import Index, serving, wheel

HANDLER = "def handle():\n    import importlib.util\n    return bool(importlib.util.find_spec('hidden'))\n"
TOLD = "A package or an index leads to a file of the server"
NAME, CONTENT = wheel("hidden", "1.0")
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class _Pages(BaseHTTPRequestHandler):
    """`/<kind><folder>/` is a page that leads to the wheel in that folder."""

    def do_GET(self) -> None:
        kind, _, place = self.path.lstrip("/").partition("/")
        folder = f"/{place}".removesuffix("/hidden/").rstrip("/")
        link, media = f"file://{folder}/{NAME}", "text/html"
        match kind:
            case "base":
                page = f'<html><head><base href="file://{folder}/"></head><a href="{NAME}#sha256={DIGEST}">{NAME}</a>'
            case "json":
                media = "application/vnd.pypi.simple.v1+json"
                file = {"filename": NAME, "url": link, "hashes": {"sha256": DIGEST}}
                page = json.dumps({"meta": {"api-version": "1.0"}, "name": "hidden", "files": [file]})
            case _:
                page = f'<a href="{link}#sha256={DIGEST}">{NAME}</a>'
        self.send_response(200)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        if self.command == "GET":
            with contextlib.suppress(BrokenPipeError):
                self.wfile.write(page.encode())

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def pages() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the server's machine, with a package that no function may see."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / NAME).write_bytes(CONTENT)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("attacked")
    with serving(Index(wheel("cognite_sdk", "99.0"))) as index:
        alone = {
            "HOME": str(folder),
            "PIP_CONFIG_FILE": "/dev/null",
            "UV_NO_CONFIG": "1",
            "UV_DEFAULT_INDEX": index.url,
            "UV_HTTP_RETRIES": "0",
            "UV_CACHE_DIR": str(folder / "cache"),
        }
        with Server(folder, extra_env=alone) as running:
            yield running


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[Api]:
    with Api(server.environment()) as bare:
        yield bare


def told(api: Api, requirements: str, **wheels: bytes) -> str:
    """All that is told of a deployment with these requirements and wheels, which must fail."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("handler.py", HANDLER)
        archive.writestr("requirements.txt", requirements)
        for name, content in wheels.items():
            archive.writestr(f"{name}-1.0-py3-none-any.whl", content)
    function = api.deployed(out.getvalue())
    assert function["status"] == "Failed"
    log = api.get(f"/functions/{function['id']}/build-log").json()["items"]
    return "\n".join([function["error"]["message"], function["error"]["trace"], *(entry["message"] for entry in log)])


@pytest.mark.parametrize("option", ["--extra-index-url", "--find-links"])
@pytest.mark.parametrize("kind", ["link", "base", "json"])
def test_a_page_that_leads_to_a_file_of_the_server(
    api: Api, pages: str, elsewhere: Path, kind: str, option: str
) -> None:
    if kind == "json" and option == "--find-links":
        pytest.skip("such a page is always HTML")
    there, missing = (
        told(api, f"{option} {pages}/{kind}{folder}\nhidden\n") for folder in (elsewhere, elsewhere / "no")
    )
    assert TOLD in there
    assert TOLD in missing
    assert str(elsewhere) not in there + missing


def test_a_wheel_of_the_bundle_that_leads_to_a_file_of_the_server(api: Api, elsewhere: Path) -> None:
    there, missing = (
        told(api, "./a-1.0-py3-none-any.whl\n", a=wheel("a", "1.0", requires=f"hidden @ file://{place}/{NAME}")[1])
        for place in (elsewhere, elsewhere / "no")
    )
    assert TOLD in there
    assert there == missing
    assert str(elsewhere) not in there + missing


def test_a_wheel_of_the_bundle_is_installed(api: Api) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("handler.py", HANDLER)
        archive.writestr("requirements.txt", f"./{NAME}\n")
        archive.writestr(NAME, CONTENT)
    function = api.deployed(out.getvalue())
    assert function["status"] == "Ready", function["error"]
    assert api.response(api.call(function["id"])) is True
