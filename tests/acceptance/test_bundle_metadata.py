"""Bundles that say what they need in another file than `requirements.txt`: deployed for real, and called."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator

import pytest

from tests.acceptance.api import Api
from tests.acceptance.server import Server
from tests.acceptance.test_build import Index, serving, wheel

HANDLER = "def handle():\n    from importlib.metadata import version\n    return version('alpha')\n"
OLD = wheel("alpha", "1.0")
DIGEST = hashlib.sha256(OLD[1]).hexdigest()


def script(*lines: str) -> str:
    return "\n".join(["# /// script", *(f"# {line}" for line in lines), "# ///", HANDLER])


def project(*lines: str) -> str:
    return "\n".join(["[project]", 'name = "pump"', *lines, ""])


def lock(digest: str = DIGEST, *lines: str) -> str:
    package = ["[[packages]]", 'name = "alpha"', 'version = "1.0"', "[[packages.wheels]]", f'name = "{OLD[0]}"']
    file = [f'url = "https://elsewhere.example/{OLD[0]}"', f'hashes = {{ sha256 = "{digest}" }}', ""]
    return "\n".join(['lock-version = "1.0"', 'created-by = "test"', *lines, *package, *file])


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("metadata")
    with serving(Index(wheel("cognite_sdk", "99.0"), OLD, wheel("alpha", "2.0"))) as index:
        alone = {
            "HOME": str(folder),
            "PIP_CONFIG_FILE": "/dev/null",
            "UV_NO_CONFIG": "1",
            "UV_HTTP_RETRIES": "0",
            "UV_DEFAULT_INDEX": index.url,
            "UV_CACHE_DIR": str(folder / "cache"),
        }
        with Server(folder, extra_env=alone) as running, Api(running.environment()) as bare:
            yield bare


def packed(files: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in {"handler.py": HANDLER, **files}.items():
            archive.writestr(name, text)
    return out.getvalue()


@pytest.mark.parametrize(
    ("files", "version", "told"),
    [
        ({"pyproject.toml": project('dependencies = ["alpha<2"]')}, "1.0", "read from pyproject.toml"),
        ({"pyproject.toml": project('dependencies = ["alpha"]')}, "2.0", "read from pyproject.toml"),
        ({"handler.py": script('dependencies = ["alpha<2"]')}, "1.0", "read from handler.py"),
        ({"pylock.toml": lock()}, "1.0", "read from pylock.toml"),
        ({"requirements.txt": "alpha\n", "pylock.toml": lock()}, "2.0", "pylock.toml is not read"),
        ({"pylock.toml": lock(), "handler.py": script('dependencies = ["alpha>1"]')}, "1.0", "read from pylock.toml"),
        (
            {"handler.py": script('dependencies = ["alpha<2"]'), "pyproject.toml": project('dependencies = ["alpha"]')},
            "1.0",
            "read from handler.py",
        ),
        (
            {"pyproject.toml": project('dependencies = ["alpha<2"]'), "uv.lock": "", "src/requirements.txt": "alpha"},
            "1.0",
            "uv.lock is not read; make a requirements.txt of it with: uv export",
        ),
    ],
)
def test_what_is_needed_is_read_and_installed(api: Api, files: dict[str, str], version: str, told: str) -> None:
    function = api.deployed(packed(files))
    assert function["status"] == "Ready", function["error"]
    assert told in api.get(f"/functions/{function['id']}/build-log").text
    assert api.response(api.call(function["id"])) == version


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"pyproject.toml": project('dependencies = ["alpha", "alpha beta"]')}, "pyproject.toml, line 3: "),
        (
            {"pyproject.toml": project('dependencies = [\n"alpha",\n"missing-one",\n]')},
            "missing-one: pyproject.toml, line 5",
        ),
        (
            {"pyproject.toml": project('requires-python = "<3"', 'dependencies = ["alpha"]')},
            "pyproject.toml, line 3: it needs",
        ),
        ({"pyproject.toml": "[project\n"}, "pyproject.toml cannot be read as TOML"),
        ({"pyproject.toml": "a." * 400_000 + "b = 1"}, "pyproject.toml takes too long"),
        ({"handler.py": script('dependencies = ["file:///etc/x.whl"]')}, "handler.py, line 2: "),
        ({"handler.py": script('dependencies = "alpha"')}, "handler.py, line 2: dependencies must be a list"),
        ({"pylock.toml": lock("00" * 32)}, "hashes for alpha==1.0"),
        ({"pylock.toml": lock(DIGEST, 'requires-python = "<3"')}, "pylock.toml: it needs Python"),
        ({"pylock.toml": "lock-version = '9.0'\ncreated-by = 'x'\npackages = []\n"}, "pylock.toml: "),
        ({"requirements.txt": "alpha\nalpha beta\n"}, "requirements.txt, line 2: 'alpha beta' is not a requirement"),
        ({"requirements.txt": "alpha\n\nmissing-one>3\n"}, "missing-one: requirements.txt, line 3"),
        ({"requirements.txt": "alpha>7\n"}, "alpha: requirements.txt, line 1"),
    ],
)
def test_an_error_names_the_users_file_and_line(api: Api, files: dict[str, str], told: str) -> None:
    function = api.deployed(packed(files))
    assert function["status"] == "Failed"
    assert told in function["error"]["message"]
    assert "requirements.in" not in function["error"]["message"]


@pytest.mark.parametrize("name", ["uv.lock", "poetry.lock", "Requirements.txt", "src/requirements.txt", "Pipfile"])
def test_a_file_that_is_not_read_is_named_in_the_build_log(api: Api, name: str) -> None:
    function = api.deployed(packed({name: "alpha"}))
    assert function["status"] == "Ready", function["error"]
    assert f"{name} is not read" in api.get(f"/functions/{function['id']}/build-log").text
