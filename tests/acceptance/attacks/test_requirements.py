"""Doors in what a bundle says that it needs: each deployment fails with a sentence for its user, and opens nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.acceptance.api import Api, bundle
from tests.acceptance.server import Server
from tests.acceptance.test_build import Index, serving, wheel

HANDLER = "def handle():\n    import importlib.util\n    return bool(importlib.util.find_spec('hidden'))\n"
SECRET = "hunter2-w0rd"


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    with serving(Index(wheel("cognite_sdk", "99.0"), wheel("alpha", "1.0"))) as running:
        yield running


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the server's machine, with a package that no function may see."""
    folder = tmp_path_factory.mktemp("elsewhere")
    name, content = wheel("hidden", "1.0")
    (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, index: Index) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("attacked")
    (folder / "netrc").write_text("machine private.example login operator password operators-own\n")
    alone = {
        "HOME": str(folder),
        "NETRC": str(folder / "netrc"),
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


def failed(api: Api, requirements: str | bytes, *, files: dict[str, str | bytes] | None = None, **more: Any) -> str:
    """All that is told of a deployment with these requirements, which must fail, and not by the service's fault."""
    function = api.deployed(bundle(handler=HANDLER, requirements=requirements, **(files or {})), **more)
    assert function["status"] == "Failed"
    log = api.get(f"/functions/{function['id']}/build-log").text
    told = f"{function['error']['message']}\n{function['error']['trace']}\n{log}"
    assert "fault of the service" not in told
    return told


@pytest.mark.parametrize(
    "option",
    [
        "--find-links {url}/,{folder}",
        "--find-links {url}/,file://{folder}",
        "--find-links file://{folder}",
        "--find-links FILE://{folder}",
        "-f '{url}/ {folder}'",
        "-i '{url} file://{folder}'",
        "--extra-index-url '{url} file://{folder}'",
        '--extra-index-url "{url}\u00a0file://{folder}"',
        "--trusted-host '127.0.0.1 other.example'",
        "--trusted-host '*'",
        "--trusted-host 'a.example,b.example'",
    ],
)
def test_a_list_smuggled_into_one_value_reaches_no_folder_of_the_server(
    api: Api, index: Index, elsewhere: Path, option: str
) -> None:
    line = option.format(url=index.url, folder=elsewhere)
    told = failed(api, f"{line}\nhidden\n")
    if "," in line and "find-links" in line:  # one URL, in which the comma is no separator
        reason = "leads to a file of the server" if "file://" in line else "Failed to read `--find-links` URL"
        assert reason in told
    else:
        assert "requirements.txt, line 1" in told


@pytest.mark.parametrize("field", ["indexUrl", "extraIndexUrls"])
def test_a_list_smuggled_into_a_functions_index_is_refused(api: Api, index: Index, elsewhere: Path, field: str) -> None:
    url = f"{index.url} file://{elsewhere}"
    more: dict[str, Any] = {field: url if field == "indexUrl" else [url]}
    wanted = {"name": "test", "fileId": api.upload(bundle(handler=HANDLER, requirements="hidden\n")), **more}
    answer = api.post("/functions", {"items": [wanted]})
    if answer.status_code == 201:
        assert f"{field}: a package index must be given as" in failed(api, "hidden\n", **more)


@pytest.mark.parametrize(
    "encoding", ["punycode", "undefined", "idna", "unicode_escape", "raw_unicode_escape", "rot13", "zip", "utf-7"]
)
def test_a_decoder_that_is_slow_or_never_ends_well_is_not_asked(api: Api, encoding: str) -> None:
    told = failed(api, f"# coding: {encoding}\n".encode() + b"a" * 500_000)
    assert f"requirements.txt is not in an encoding that is read here: it says '{encoding}'" in told


def test_a_chain_of_files_that_include_each_other_is_bounded(api: Api) -> None:
    content = {f"{number}.txt": f"-r {number + 1}.txt\n" for number in range(1500)}
    told = failed_zip(api, {"requirements.txt": "-r 0.txt\n", **content, "1500.txt": "alpha\n"})
    assert "too much is included by -r and -c" in told


@pytest.mark.parametrize(
    "line",
    [
        "alpha @ https://[",
        "https://[/alpha-1.0-py3-none-any.whl",
        "alpha @ https://h:port/alpha-1.0-py3-none-any.whl",
        "-r " + "a" * 300 + ".txt",
        "./" + "b" * 300 + ".whl",
        "-r a%00b",
        "-f https://[/",
        "alpha ; " + "(" * 1500 + "python_version > '3'",
        "alpha --hash=sha256:aa" + " " * 400_000 + "x",
        "-i " + "'" + "x" * 400_000,
        "a" * 400_000,
        "alpha\\\n" * 100_000 + "!",
    ],
    ids=lambda line: line[:30].replace("\n", ""),
)
def test_a_line_made_to_break_the_reader_is_the_users_fault(api: Api, line: str) -> None:
    assert "requirements.txt, line 1: " in failed(api, f"{line}\n")


def test_hostile_text_keeps_nobody_else_waiting(api: Api, server: Server) -> None:
    """What was a matter of 49 seconds on the loop; the bound leaves room for a busy machine."""
    texts = [
        b"# coding: punycode\n" + b"a" * 500_000,
        b"alpha --hash=sha256:aa" + b" " * 900_000 + b"x",
        b"-i '" + b"x" * 900_000,
        b"x\\\n" * 300_000,
    ]
    longest = 0.0
    with ThreadPoolExecutor() as several, httpx2.Client(timeout=90) as client:
        running = [several.submit(failed, api, text) for text in texts]
        while not all(one.done() for one in running):
            begun = time.monotonic()
            assert client.get(f"{server.url}/health").status_code == 200
            longest = max(longest, time.monotonic() - begun)
        for one in running:
            one.result()
    assert longest < 5


@pytest.mark.parametrize(
    "line",
    [
        "alpha @ http://u:p%0Amachine%20evil.example@127.0.0.1:1/alpha-1.0-py3-none-any.whl",
        "alpha @ http://u%0Dmachine:p@127.0.0.1:1/alpha-1.0-py3-none-any.whl",
        "alpha @ http://u:p%20password%20q@127.0.0.1:1/alpha-1.0-py3-none-any.whl",
        "-i http://u:p%0Amachine%20evil.example@127.0.0.1:1/simple",
    ],
)
def test_a_login_with_a_line_break_writes_no_line_of_the_netrc(api: Api, line: str) -> None:
    assert "has a blank, a line break or a control character" in failed(api, f"{line}\n")


LOGINS = [
    f"http://user:pa/{SECRET}@127.0.0.1:1/simple",
    f"http://user:pa\\{SECRET}@127.0.0.1:1/simple",
    f"http://to/{SECRET}@127.0.0.1:1/simple",
    f"http://a@b:{SECRET}@127.0.0.1:1/simple",
    f"http://127.0.0.1:1/{SECRET}/simple",
    f"http://127.0.0.1:1/simple?token={SECRET}",
]


@pytest.mark.parametrize(
    ("url", "way"),
    [*((url, "indexUrl") for url in LOGINS), *zip(LOGINS[2:], ("extraIndexUrls", "-i", "-f", "direct"), strict=True)],
)
def test_no_part_of_an_indexs_login_is_told(api: Api, url: str, way: str) -> None:
    more: dict[str, Any] = {"envVars": {}}
    lines = "alpha\n"
    if way == "direct":
        lines = f"alpha @ {url}/alpha-1.0-py3-none-any.whl\nalpha {url}\n"
    elif way.startswith("-"):
        lines = f"{way} {url}\nbeta\n"
    else:
        more[way] = url if way == "indexUrl" else [url]
        wanted = {"name": "test", "fileId": api.upload(bundle(handler=HANDLER)), **more}
        answer = api.post("/functions", {"items": [wanted]})
        if answer.status_code != 201:
            assert SECRET not in answer.text
            return
    told = failed(api, lines, **more)
    assert SECRET not in told


def failed_zip(api: Api, files: dict[str, str]) -> str:
    """As `failed`, for files with any names."""
    import io
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in {"handler.py": HANDLER, **files}.items():
            archive.writestr(name, text)
    function = api.deployed(out.getvalue())
    assert function["status"] == "Failed"
    told = f"{function['error']['message']}\n{function['error']['trace']}"
    assert "fault of the service" not in told
    return told
