"""Building for real: uv, the machine's interpreters and the sandbox, against a package index of our own and the real one.

Whatever a package does while it is built, the server's files, its uv cache and other functions' environments are out of
its reach, and credentials of indexes are seen nowhere.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import os
import random
import signal
import stat
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kvern.build import builder, packing
from kvern.build.builder import Builder, BuildRequest
from kvern.build.errors import BuildError, EntryPointError
from kvern.build.interpreters import Interpreters
from kvern.build.parsers import Parsers
from kvern.build.process import Seat
from kvern.build.revision import Revision
from kvern.build.staging import exclusive, remove
from kvern.host import cgroups
from kvern.host.limits import Allowance, Limits
from kvern.sandbox import Sandbox
from kvern.sandbox.detect import choose
from kvern.sandbox.plain import Plain

PASSWORD = "s3cret@word"
HANDLER = "def handle(data):\n    return data\n"
OWN_SDK = "cognite-sdk==99.0\n"
"""Served by our own index, so that most tests need no other."""

BACKEND = """
import os, sys, urllib.request, zipfile

def get_requires_for_build_wheel(config_settings=None):
    return []

def build_wheel(folder, config_settings=None, metadata_directory=None):
    {action}
    name = "{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("{name}.py", "built = True")
        wheel.writestr("{name}-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n")
        wheel.writestr("{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("{name}-1.0.dist-info/RECORD", "")
    return name
"""


def wheel(name: str, version: str, *, requires: str = "", **files: str) -> tuple[str, bytes]:
    """A wheel; `__` in the names of its files stands for a dot."""
    out = io.BytesIO()
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(out, "w") as archive:
        for path, text in {name: "", **files}.items():
            archive.writestr(f"{path.replace('__', '.')}" if "__" in path else f"{path}.py", text)
        info = f"{name}-{version}.dist-info"
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return f"{name}-{version}-py3-none-any.whl", out.getvalue()


def sdist(name: str, action: str = "pass") -> tuple[str, bytes]:
    """A source distribution whose build backend, its own, does `action`."""
    out = io.BytesIO()
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    project += f'[project]\nname = "{name}"\nversion = "1.0"\n'
    backend = BACKEND.format(name=name, action=action.replace("\n", "\n    "))
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path, text in (("pyproject.toml", project), ("backend.py", backend)):
            member = tarfile.TarInfo(f"{name}-1.0/{path}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return f"{name}-1.0.tar.gz", out.getvalue()


class Index(ThreadingHTTPServer):
    """A package index on this machine; asks for basic auth when it has a password."""

    daemon_threads = True

    def __init__(self, *files: tuple[str, bytes], password: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Pages)
        self.files = dict(files)
        self.password = password
        self.asked: list[str] = []
        self.waited_for = threading.Event()
        """Set when someone asks for a path below `/wait`, which is never answered."""
        self.over = threading.Event()

    @property
    def url(self) -> str:
        login = f"user:{self.password.replace('@', '%40')}@" if self.password else ""
        return f"http://{login}127.0.0.1:{self.server_port}/simple"

    def add(self, *files: tuple[str, bytes]) -> None:
        self.files.update(files)


class _Pages(BaseHTTPRequestHandler):
    server: Index  # type: ignore[assignment]

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path.startswith("/wait"):
            self.server.waited_for.set()
            self.server.over.wait(60)
            return None
        login = base64.b64encode(f"user:{self.server.password}".encode()).decode()
        if self.server.password and self.headers.get("Authorization") != f"Basic {login}":
            return self._answer(401, b"", "text/plain")
        kind, _, name = self.path.strip("/").partition("/")
        if kind == "files" and name in self.server.files:
            return self._answer(200, self.server.files[name], "application/octet-stream")
        found = [file for file in self.server.files if file.lower().replace("_", "-").startswith(f"{name}-")]
        if kind != "simple" or not found:
            return self._answer(404, b"", "text/plain")
        links = ""
        for file in found:
            digest = hashlib.sha256(self.server.files[file]).hexdigest()
            links += f'<a href="/files/{file}#sha256={digest}">{file}</a>\n'
        return self._answer(200, f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), "text/html")

    do_HEAD = do_GET

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", "Basic")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(index: Index) -> Iterator[Index]:
    thread = threading.Thread(target=index.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield index
    finally:
        index.over.set()
        index.shutdown()
        thread.join()
        index.server_close()


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return choose()[0]


@pytest.fixture(scope="module")
def interpreters() -> Interpreters:
    return Interpreters()


@pytest.fixture
def index() -> Iterator[Index]:
    own = [
        wheel("cognite_sdk", "99.0"),
        wheel("alpha", "1.0"),
        wheel("alpha", "2.0"),
        wheel("beta", "1.0", requires="alpha<2"),
    ]
    with serving(Index(*own, password=PASSWORD)) as running:
        yield running


class Workshop:
    """A builder with all that a test wants to see of it."""

    def __init__(
        self, root: Path, sandbox: Sandbox, interpreters: Interpreters, cache: Path | None, **more: object
    ) -> None:
        self.root = root
        self.runtime = next(iter(reversed(interpreters.all())))
        self.output: list[str] = []
        self._made = 0
        self._make: Callable[[], Builder] = lambda: Builder(
            root / "build",
            sandbox,
            cache=cache,
            interpreters=interpreters,
            **more,  # type: ignore[arg-type]
        )
        self.builder = self._make()

    def restart(self) -> None:
        self.builder = self._make()

    def request(self, requirements: str | None = None, *, url: str | None = None, **more: object) -> BuildRequest:
        self._made += 1
        bundle = self.root / f"bundle{self._made}.zip"
        extra = more.pop("files", {})
        with zipfile.ZipFile(bundle, "w") as archive:
            archive.writestr("handler.py", HANDLER)
            if requirements is not None:
                archive.writestr("requirements.txt", requirements)
            for name, content in extra.items():  # type: ignore[attr-defined]
                archive.writestr(name, content)
        given = {"function_path": "./handler.py", "runtime": self.runtime, "index_url": url, **more}
        return BuildRequest(self._made, f"revision-{self._made}", bundle, **given)  # type: ignore[arg-type]

    async def build(self, requirements: str | None = None, *, url: str | None = None, **more: object) -> Revision:
        return await self.builder.build(self.request(requirements, url=url, **more), self.output.append)

    async def fails(self, requirements: str | None = None, *, url: str | None = None, **more: object) -> BuildError:
        with pytest.raises(BuildError) as caught:
            await self.build(requirements, url=url, **more)
        assert self.left_in("staging") == self.left_in("revisions") == []
        assert len(caught.value.trace) <= 2000
        assert "\n" not in caught.value.message
        return caught.value

    async def packed(self) -> None:
        """Wait until no wheels are being packed."""
        packing = self.builder._wheels._packing
        if packing is not None:
            await asyncio.wait([packing], timeout=60)
            assert packing.done()

    def left_in(self, name: str) -> list[str]:
        folder = self.root / "build" / name
        return sorted(path.name for path in folder.iterdir() if path.name[0] != ".") if folder.exists() else []


@pytest.fixture
def workshop(tmp_path: Path, sandbox: Sandbox, interpreters: Interpreters) -> Workshop:
    return Workshop(tmp_path, sandbox, interpreters, tmp_path / "cache")


@pytest.fixture
def networked(tmp_path: Path, sandbox: Sandbox, interpreters: Interpreters) -> Workshop:
    """One whose build backends reach the network."""
    return Workshop(tmp_path, sandbox, interpreters, tmp_path / "cache", build_network=True)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Every command that a build starts."""
    seen: list[tuple[str, ...]] = []
    start = asyncio.create_subprocess_exec

    async def note(*argv: str, **more: object) -> asyncio.subprocess.Process:
        seen.append(argv)
        return await start(*argv, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", note)
    return seen


def run(revision: Revision, source: str) -> str:
    python = revision.environment.path / "bin" / "python"
    return subprocess.run([python, "-I", "-c", source], capture_output=True, text=True, check=True).stdout.strip()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def processes_of(root: Path) -> list[str]:
    """Processes that name a path below `root` in their command or have it open as their folder."""
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if entry.name.isdigit() and str(root) in command:
                found.append(command)
    return found


# With the real index


async def test_a_function_without_requirements_gets_the_sdk(
    tmp_path: Path, sandbox: Sandbox, interpreters: Interpreters
) -> None:
    workshop = Workshop(tmp_path, sandbox, interpreters, None)
    revision = await workshop.build(secrets={"key": "value"}, env_vars={"A": "1"}, cpu=2.0, memory=5)
    assert run(revision, "import cognite.client; print(cognite.client.__version__)") in revision.environment.lock
    assert "--hash=sha256:" in revision.environment.lock
    assert (revision.id, revision.function_id, revision.handler) == ("revision-1", 1, "handler.py")
    assert (revision.env_vars, revision.secrets, revision.cpu, revision.memory) == (
        {"A": "1"},
        {"key": "value"},
        2.0,
        5,
    )
    assert (revision.code / "handler.py").read_text() == HANDLER
    packages = next((revision.environment.path / "lib").glob("python*/site-packages"))
    assert list(packages.glob("cognite/client/__pycache__/*.pyc"))
    modes = {
        stat.S_IMODE(path.lstat().st_mode)
        for path in (revision.environment.path, *packages.rglob("*"))
        if path.is_dir()
    }
    assert modes == {0o555}
    assert any("cognite-sdk" in line for line in workshop.output)
    again = await workshop.build()
    assert again.environment == revision.environment
    assert workshop.output[-1] == "The requirements are as before, and their environment is there."


async def test_the_oldest_runtime_with_a_package_of_pure_python(
    tmp_path: Path, sandbox: Sandbox, interpreters: Interpreters
) -> None:
    workshop = Workshop(tmp_path, sandbox, interpreters, None)
    runtime, interpreter = next(iter(interpreters.all().items()))
    revision = await workshop.build("six==1.17.0\ncognite-sdk\n", runtime=runtime)
    assert run(revision, "import six, platform; print(six.__version__, platform.python_version())") == (
        f"1.17.0 {interpreter.version}"
    )
    assert revision.environment.interpreter == interpreter


async def test_a_requirement_that_does_not_exist(tmp_path: Path, sandbox: Sandbox, interpreters: Interpreters) -> None:
    workshop = Workshop(tmp_path, sandbox, interpreters, None)
    error = await workshop.fails("no-such-package-as-this-one==1\n")
    assert error.message.startswith("The requirements cannot be met: Because no-such-package-as-this-one was not found")
    assert "no-such-package-as-this-one" in error.trace


# With an index of our own


async def test_requirements_that_contradict_each_other(workshop: Workshop, index: Index) -> None:
    error = await workshop.fails(f"{OWN_SDK}alpha>=2\nbeta\n", url=index.url)
    assert "beta" in error.message
    assert "alpha" in error.message


async def test_the_functions_index_is_used_with_its_credentials_and_they_are_seen_nowhere(
    workshop: Workshop, index: Index, commands: list[tuple[str, ...]], sandbox: Sandbox
) -> None:
    """A package that must be built prints all that it was given, which is nothing of the index."""
    index.add(
        sdist("gamma", "for name, value in sorted(os.environ.items()): print(name, value)\nraise SystemExit('stop')")
    )
    error = await workshop.fails(f"{OWN_SDK}gamma\n", url=index.url)
    assert error.message.startswith("The requirements cannot be installed: Failed to build `gamma==1.0`")
    assert "VIRTUAL_ENV" in error.trace
    assert ("127.0.0.1" in error.trace) is not sandbox.is_boundary
    index.add(sdist("gamma"))
    workshop.restart()
    revision = await workshop.build(f"{OWN_SDK}gamma\n", url=index.url, secrets={"key": "fn-secret"})
    assert run(revision, "import gamma; print(gamma.built)") == "True"
    everything = [*workshop.output, error.message, error.trace, revision.environment.lock, repr(commands)]
    for path in (revision.environment.path, revision.code.parent):
        everything += [
            part.read_text(errors="replace") for part in path.rglob("*") if part.is_file() and part.stat().st_size < 1e6
        ]
    forms = {
        PASSWORD,
        PASSWORD.replace("@", "%40"),
        base64.b64encode(f"user:{PASSWORD}".encode()).decode(),
        "fn-secret",
    }
    assert not [form for form in forms if any(form in text for text in everything)]


async def test_extra_indexes_add_to_the_others_and_the_best_version_wins(workshop: Workshop, index: Index) -> None:
    with serving(Index(wheel("alpha", "3.0"))) as other:
        revision = await workshop.build(f"{OWN_SDK}alpha", url=index.url, extra_index_urls=[other.url])
    assert "alpha==3.0" in revision.environment.lock


async def test_the_operators_index_is_used_and_never_shown(
    tmp_path: Path, sandbox: Sandbox, interpreters: Interpreters, index: Index
) -> None:
    environ = {
        "HOME": str(tmp_path),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": index.url,
        "PIP_FIND_LINKS": "/no/such/folder",
        "PIP_EXTRA_INDEX_URL": "file:///no/such/index",
        "KVERN_TEST": "the server's own",
    }
    workshop = Workshop(tmp_path, sandbox, interpreters, tmp_path / "cache", environ=environ)
    revision = await workshop.build("cognite-sdk\nalpha\n")
    assert "alpha==2.0" in revision.environment.lock
    index.add(sdist("delta", "print(*map(repr, os.environ.items()))\nraise SystemExit('stop')"))
    with pytest.raises(BuildError) as caught:
        await workshop.build("cognite-sdk\ndelta\n")
    assert "VIRTUAL_ENV" in caught.value.trace
    assert ("UV_DEFAULT_INDEX" in caught.value.trace) is not sandbox.is_boundary
    assert not {"s3cret", "the server's own"} & {
        word for word in ("s3cret", "the server's own") if word in caught.value.trace
    }


async def test_the_index_in_requirements_txt_goes_before_all(workshop: Workshop, index: Index) -> None:
    await workshop.build(f"--index-url {index.url}\n{OWN_SDK}alpha\n", url="http://127.0.0.1:9/simple")


@pytest.mark.parametrize("name", ["bubblewrap", "plain"])
async def test_a_build_reaches_nothing_of_the_server(
    name: str, tmp_path: Path, sandbox: Sandbox, interpreters: Interpreters, index: Index
) -> None:
    chosen = sandbox if name == "bubblewrap" else Plain()
    if name == "bubblewrap" and not sandbox.is_boundary:
        pytest.skip("bubblewrap cannot work here")
    secret = tmp_path / "secret"
    secret.write_text("the master key")
    workshop = Workshop(tmp_path, chosen, interpreters, tmp_path / "cache")
    await workshop.build(OWN_SDK, url=index.url)
    places = [str(secret), str(tmp_path / "cache"), str(tmp_path / "build" / "environments")]
    index.add(sdist("hostile", f"raise SystemExit([path for path in {places} if os.path.exists(path)])"))
    with pytest.raises(BuildError) as caught:
        await workshop.build(f"{OWN_SDK}hostile\n", url=index.url)
    seen = [] if chosen.is_boundary else places
    assert f"{seen}\n" in caught.value.trace


async def test_a_build_that_replaces_the_environment_makes_none(
    workshop: Workshop, index: Index, sandbox: Sandbox
) -> None:
    if not sandbox.is_boundary:
        pytest.skip("only a boundary keeps such a build from worse")
    action = """
place = os.path.join(os.path.dirname(os.environ["HOME"]), "environment")
os.rename(place, place + ".old")
os.symlink("/", place)"""
    index.add(sdist("hostile", action))
    await workshop.fails(f"{OWN_SDK}hostile\n", url=index.url)
    assert workshop.left_in("environments") == []


async def test_what_was_built_is_not_shared_with_those_who_did_not_ask_for_it(workshop: Workshop, index: Index) -> None:
    index.add(sdist("gamma"))
    first = await workshop.build(f"{OWN_SDK}gamma\n", url=index.url)
    second = await workshop.build(f"{OWN_SDK}gamma\nalpha\n", url=index.url)
    third = await workshop.build(f"{OWN_SDK}gamma\n", url=index.url)
    assert first.environment.key == third.environment.key != second.environment.key


async def test_a_wheel_runs_no_code_while_it_is_installed(tmp_path: Path, workshop: Workshop, index: Index) -> None:
    """A .pth file is obeyed by any Python that starts in the environment."""
    index.add(
        wheel("hostile", "1.0", hostile__pth=f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    )
    revision = await workshop.build(f"{OWN_SDK}hostile\n", url=index.url)
    assert not (tmp_path / "ran").exists()
    run(revision, "pass")
    assert (tmp_path / "ran").exists()


async def test_a_host_that_is_trusted_blindly_fills_no_shared_cache(
    tmp_path: Path, workshop: Workshop, index: Index
) -> None:
    await workshop.build(f"--trusted-host 127.0.0.1\n{OWN_SDK}alpha\n", url=index.url)
    assert not list((tmp_path / "cache").glob("wheels-*"))
    await workshop.build(f"{OWN_SDK}alpha\n", url=index.url)
    assert list((tmp_path / "cache").glob("wheels-*"))


async def test_source_builds_can_be_switched_off(
    tmp_path: Path, sandbox: Sandbox, interpreters: Interpreters, index: Index
) -> None:
    workshop = Workshop(tmp_path, sandbox, interpreters, tmp_path / "cache", source_builds=False)
    index.add(sdist("gamma"))
    error = await workshop.fails(f"{OWN_SDK}gamma\n", url=index.url)
    assert "building from source is off here" in error.message
    assert "gamma" in error.message


async def test_the_same_lock_is_one_environment(
    workshop: Workshop, index: Index, commands: list[tuple[str, ...]]
) -> None:
    """Asked for at once, in one way or in two."""
    texts = [f"{OWN_SDK}alpha==1.0\n"] * 2 + [f"alpha<2  # the old one\n{OWN_SDK}"]
    revisions = await asyncio.gather(*(workshop.build(text, url=index.url) for text in texts))
    assert len({revision.environment.key for revision in revisions}) == 1
    assert len({revision.code for revision in revisions}) == 3
    assert len([argv for argv in commands if "sync" in argv]) == 1
    assert workshop.left_in("environments") == [revisions[0].environment.key]
    await workshop.packed()  # which has a folder there too
    assert workshop.left_in("staging") == []


async def test_a_lock_is_used_again_for_a_while(
    tmp_path: Path, sandbox: Sandbox, interpreters: Interpreters, index: Index
) -> None:
    workshop = Workshop(tmp_path, sandbox, interpreters, tmp_path / "cache")
    first = await workshop.build(f"{OWN_SDK}alpha\n", url=index.url)
    index.add(wheel("alpha", "4.0"))
    asked = len(index.asked)
    second = await workshop.build(f"{OWN_SDK}alpha\n", url=index.url)
    assert second.environment == first.environment
    assert len(index.asked) == asked
    always = Workshop(tmp_path, sandbox, interpreters, tmp_path / "other-cache", lock_age=0)
    always._made = workshop._made  # a revision that was built before keeps its lock
    third = await always.build(f"{OWN_SDK}alpha\n", url=index.url)
    assert "alpha==4.0" in third.environment.lock


async def test_a_wheel_in_the_bundle(workshop: Workshop, index: Index) -> None:
    name, content = wheel("mine", "1.0", extra="x = 1")
    files = {f"wheels/{name}": content}
    first = await workshop.build(f"{OWN_SDK}./wheels/{name}\n", url=index.url, files=files)
    assert run(first, "import mine, extra; print(extra.x)") == "1"
    assert str(workshop.root) not in first.environment.lock
    again = await workshop.build(f"{OWN_SDK}./wheels/{name}\n", url=index.url, files=files)
    by_folder = await workshop.build(f"--find-links wheels\n{OWN_SDK}mine\n", url=index.url, files=files)
    changed = await workshop.build(
        f"{OWN_SDK}./wheels/{name}\n", url=index.url, files={f"wheels/{name}": wheel("mine", "1.0", extra="x = 2")[1]}
    )
    assert again.environment == first.environment
    assert run(by_folder, "import extra; print(extra.x)") == "1"
    assert run(changed, "import extra; print(extra.x)") == "2"


async def test_a_demanded_hash_is_held_to(workshop: Workshop, index: Index) -> None:
    digest = hashlib.sha256(index.files["alpha-1.0-py3-none-any.whl"]).hexdigest()
    revision = await workshop.build(f"{OWN_SDK}alpha==1.0 --hash=sha256:{digest}\n", url=index.url)
    assert digest in revision.environment.lock
    with pytest.raises(BuildError, match=r"demands hashes for alpha==1\.0 that no file of it has"):
        await workshop.build(f"{OWN_SDK}alpha==1.0 --hash=sha256:{'0' * 64}\n", url=index.url)


async def test_a_build_that_is_called_off_leaves_nothing(networked: Workshop, index: Index) -> None:
    """Once while uv asks the index, once while a package is built."""
    workshop = networked
    index.add(sdist("slow", f"urllib.request.urlopen('http://127.0.0.1:{index.server_port}/wait/built')"))
    for url in (f"http://127.0.0.1:{index.server_port}/wait", index.url):
        index.waited_for.clear()
        task = asyncio.create_task(workshop.build(f"{OWN_SDK}slow\n", url=url))
        await until(index.waited_for.is_set)
        await until(lambda: bool(processes_of(workshop.root)))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert workshop.left_in("staging") == workshop.left_in("revisions") == workshop.left_in("environments") == []
        await until(lambda: not processes_of(workshop.root))


async def test_one_who_waits_for_the_same_is_not_called_off_with_the_first(networked: Workshop, index: Index) -> None:
    workshop = networked
    index.add(sdist("slow", f"urllib.request.urlopen('http://127.0.0.1:{index.server_port}/wait/built', timeout=5)"))
    text = f"{OWN_SDK}slow\n"
    first = asyncio.create_task(workshop.build(text, url=index.url))
    await until(index.waited_for.is_set)
    second = asyncio.create_task(workshop.build(text, url=index.url))
    flights = workshop.builder._environments._flights
    await until(lambda: [len(flight.listeners) for flight in flights.values()] == [2])
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert not second.done()
    index.over.set()
    with pytest.raises(BuildError, match=r"Failed to build `slow==1\.0`"):
        await second
    assert workshop.left_in("staging") == []


async def test_a_wheel_of_the_bundle_is_there_for_who_waits_when_its_bringer_is_called_off(
    workshop: Workshop, index: Index
) -> None:
    name, content = wheel("mine", "1.0", mine="x = 1")
    given = {"url": index.url, "files": {name: content}}
    first = await workshop.build(f"{OWN_SDK}./{name}\n", **given)
    await workshop.packed()
    remove(first.environment.path)
    environments = workshop.builder._environments
    async with exclusive(workshop.root / "build" / "environments" / f".{first.environment.key}.lock"):
        bringer = asyncio.create_task(workshop.build(f"{OWN_SDK}./{name}\n", **given))
        await until(lambda: len(environments._flights) == 1)
        other = asyncio.create_task(workshop.build(f"{OWN_SDK}./{name}\n", **given))
        await until(lambda: [len(flight.listeners) for flight in environments._flights.values()] == [2])
        bringer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await bringer
    assert run(await other, "import mine; print(mine.x)") == "1"
    await workshop.builder.close()


async def test_a_build_that_is_called_off_while_it_is_written_down_is_no_build(
    workshop: Workshop, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(folder: Path) -> None:
        begun.set()
        assert go.wait(30)

    monkeypatch.setattr(builder, "flush", slow)
    task = asyncio.create_task(workshop.build(OWN_SDK, url=index.url))
    await until(begun.is_set)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=0.1)
    assert not done, "else it could be there after it was cleared away"
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await workshop.builder.close()  # the wheels are packed in a staging folder too
    assert workshop.left_in("staging") == workshop.left_in("revisions") == []


async def test_a_build_that_takes_too_long_is_stopped(
    tmp_path: Path, sandbox: Sandbox, interpreters: Interpreters, index: Index
) -> None:
    workshop = Workshop(tmp_path, sandbox, interpreters, tmp_path / "cache", timeout=1.5)
    error = await workshop.fails(f"{OWN_SDK}slow\n", url=f"http://127.0.0.1:{index.server_port}/wait")
    assert error.message == "The build took longer than 1.5 seconds and was stopped."
    await until(lambda: not processes_of(workshop.root))


async def test_revisions_are_there_after_a_restart(workshop: Workshop, index: Index) -> None:
    request = workshop.request(OWN_SDK, url=index.url, secrets={"a": "b"})
    built = await workshop.builder.build(request)
    request.bundle.unlink()
    workshop.restart()
    assert workshop.builder.restore(request) == built
    await workshop.builder.discard(request.revision_id)
    await workshop.builder.discard(request.revision_id)
    assert workshop.builder.restore(request) is None
    assert workshop.left_in("environments") == [built.environment.key]


async def test_a_revision_without_its_environment_is_not_restored(workshop: Workshop, index: Index) -> None:
    request = workshop.request(OWN_SDK, url=index.url)
    built = await workshop.builder.build(request)
    built.environment.path.rename(workshop.root / "gone")
    assert workshop.builder.restore(request) is None
    assert (await workshop.builder.build(request)).environment == built.environment


async def test_what_a_killed_server_left_is_cleared(workshop: Workshop, index: Index) -> None:
    left = workshop.root / "build" / "staging" / "0123"
    (left / "revision" / "code").mkdir(parents=True)
    (left / ".alive").touch()
    await workshop.builder.clear_leftovers()
    assert workshop.left_in("staging") == []
    await workshop.build(OWN_SDK, url=index.url)


# Bytecode


def bytecode_of(revision: Revision, module: str) -> Path:
    (found,) = revision.environment.path.glob(f"lib/python*/site-packages/__pycache__/{module}.*.pyc")
    return found


async def test_bytecode_is_made_once_and_linked_into_later_environments(
    workshop: Workshop, index: Index, commands: list[tuple[str, ...]]
) -> None:
    index.add(wheel("big", "1.0", big__inner__x="unused", other="x = 1\n" * 1000))
    first = await workshop.build(f"{OWN_SDK}big\n", url=index.url)
    compiled = len([argv for argv in commands if "compiler" in " ".join(argv)])
    second = await workshop.build(f"{OWN_SDK}big\nalpha==2.0\n", url=index.url)
    assert compiled
    assert first.environment.key != second.environment.key
    assert bytecode_of(first, "other").samefile(bytecode_of(second, "other"))
    again = [argv for argv in commands if "compiler" in " ".join(argv)][compiled:]
    assert len(again) == 1, "only alpha was new"


async def test_bytecode_is_not_checked_against_its_source(workshop: Workshop, index: Index) -> None:
    """The flags of PEP 552; and the interpreter takes it."""
    index.add(wheel("big", "1.0", other="x = 1"))
    revision = await workshop.build(f"{OWN_SDK}big\n", url=index.url)
    path = bytecode_of(revision, "other")
    assert path.read_bytes()[4:8] == (1).to_bytes(4, "little")
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert run(revision, "import other; print(other.__cached__, other.x)") == f"{path} 1"
    traced = run(revision, "import other; print(other.__loader__.get_code('other').co_filename)")
    assert traced == str(path.parent.parent / "other.py")


async def test_bytecode_that_a_wheel_brings_is_replaced(workshop: Workshop, index: Index) -> None:
    """Else a wheel could show one source and run another."""
    tag = f"cpython-{workshop.runtime.removeprefix('py')}"
    name = f"__pycache__/other.{tag}.pyc"
    out = io.BytesIO(wheel("big", "1.0", other="x = 1")[1])
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr(name, b"not bytecode at all")
    index.add(("big-1.0-py3-none-any.whl", out.getvalue()))
    revision = await workshop.build(f"{OWN_SDK}big\n", url=index.url)
    assert run(revision, "import other; print(other.x)") == "1"


async def test_other_source_gets_other_bytecode(workshop: Workshop, index: Index) -> None:
    index.add(wheel("big", "1.0", other="x = 1"), wheel("big", "2.0", other="x = 2"))
    revisions = [await workshop.build(f"{OWN_SDK}big=={version}\n", url=index.url) for version in ("1.0", "2.0")]
    assert [run(revision, "import other; print(other.x)") for revision in revisions] == ["1", "2"]


async def test_what_is_no_module_gets_no_bytecode_and_does_no_harm(workshop: Workshop, index: Index) -> None:
    deep = "(" * 100_000
    index.add(wheel("big", "1.0", template="{% if %}", deep=deep, other="x = 1"))
    revision = await workshop.build(f"{OWN_SDK}big\n", url=index.url)
    assert run(revision, "import other; print(other.x)") == "1"
    packages = bytecode_of(revision, "other").parent
    assert not [path for path in packages.iterdir() if path.name.startswith(("template", "deep"))]


async def test_the_bundles_own_modules_are_compiled(workshop: Workshop, index: Index) -> None:
    files = {
        "curve.py": "x = 1",
        "deep/er.py": "y = 2",
        "broken.py": "def (:",
        "__pycache__/curve.cpython-399.pyc": "mine",
    }
    revision = await workshop.build(OWN_SDK, url=index.url, files=files)
    tag = f"cpython-{workshop.runtime.removeprefix('py')}"
    made = {path.relative_to(revision.code).as_posix() for path in revision.code.rglob("*.pyc")}
    assert made == {
        f"__pycache__/curve.{tag}.pyc",
        f"deep/__pycache__/er.{tag}.pyc",
        "__pycache__/curve.cpython-399.pyc",
    }
    source = f"import sys; sys.path.insert(0, {str(revision.code)!r}); import curve; print(curve.__cached__, curve.x)"
    assert run(revision, source) == f"{revision.code}/__pycache__/curve.{tag}.pyc 1"


async def test_a_redeploy_of_changed_code_does_not_touch_the_environment(
    workshop: Workshop, index: Index, commands: list[tuple[str, ...]]
) -> None:
    def seen(folder: Path) -> dict[str, tuple[int, int, int]]:
        return {
            str(path): (status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
            for path in folder.rglob("*")
            if (status := path.lstat())
        }

    first = await workshop.build(f"{OWN_SDK}alpha\n", url=index.url)
    before, asked, started = seen(first.environment.path), len(index.asked), len(commands)
    second = await workshop.build(f"{OWN_SDK}alpha\n", url=index.url, files={"curve.py": "x = 2"})
    assert second.environment == first.environment
    assert second.code != first.code
    assert seen(first.environment.path) == before
    assert len(index.asked) == asked
    assert commands[started:] == []


# Limits of what is built from source


def limits(control_groups: bool) -> Limits:
    hierarchy = cgroups.find() if control_groups else None
    if control_groups and (hierarchy is None or not {"memory", "pids"} <= set(hierarchy.folders)):
        pytest.skip("no control groups for memory and processes can be had here")
    return Limits(Allowance(pids=64), hierarchy)


@pytest.mark.parametrize("control_groups", [True, False], ids=["control groups", "watchdog"])
@pytest.mark.parametrize(
    ("action", "what", "memory"),
    [
        ("import time; hoard = bytearray(600_000_000); time.sleep(60)", "memory", 300_000_000),
        (
            "import time\nfor _ in range(200): os.fork() or (time.sleep(10), os._exit(0))\ntime.sleep(10)",
            "processes",
            3_000_000_000,
        ),
    ],
)
async def test_a_build_that_wants_too_much_is_stopped(
    tmp_path: Path,
    sandbox: Sandbox,
    interpreters: Interpreters,
    index: Index,
    control_groups: bool,
    action: str,
    what: str,
    memory: int,
) -> None:
    room = limits(control_groups)
    workshop = Workshop(
        tmp_path, sandbox, interpreters, tmp_path / "cache", seat=lambda: room.seat(memory, 2), timeout=60
    )
    index.add(sdist("greedy", action))
    error = await workshop.fails(f"{OWN_SDK}greedy\n", url=index.url)
    assert f"building them needed more {what} than a build may have" in error.message
    await until(lambda: not processes_of(workshop.root))


async def test_a_build_within_its_limits_is_not_disturbed(
    tmp_path: Path, sandbox: Sandbox, interpreters: Interpreters, index: Index
) -> None:
    seats: list[object] = []
    room = limits(control_groups=True)

    def seat() -> Seat:
        made = room.seat(500_000_000, 2)
        seats.append(made.group)
        return made

    workshop = Workshop(tmp_path, sandbox, interpreters, tmp_path / "cache", seat=seat)
    index.add(sdist("gamma"))
    revision = await workshop.build(f"{OWN_SDK}gamma\n", url=index.url)
    assert run(revision, "import gamma; print(gamma.built)") == "True"
    assert seats
    assert not [path for group in seats for path in group.paths if path.exists()]  # type: ignore[attr-defined]


# Kept wheels


def rich_wheel() -> tuple[str, bytes]:
    """A wheel with all that a wheel can have: an entry point, a script, a data file."""
    out = io.BytesIO(wheel("rich_one", "1.0", inner="x = 1")[1])
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("rich_one-1.0.dist-info/entry_points.txt", "[console_scripts]\nmade = inner:main\n")
        archive.writestr("rich_one-1.0.data/scripts/brought", "#!python\nprint('brought')\n")
        archive.writestr("rich_one-1.0.data/data/share/rich/table.csv", "1;2")
    return "rich_one-1.0-py3-none-any.whl", out.getvalue()


async def lose(workshop: Workshop, revision: Revision) -> None:
    """The environment, uv's cache and all bytecode are gone; the server starts anew."""
    await workshop.packed()
    await workshop.builder.close()
    for path in (revision.environment.path, workshop.root / "cache", workshop.root / "build" / "bytecode"):
        remove(path)
    workshop.restart()


async def test_a_lost_environment_is_made_again_without_an_index(workshop: Workshop, index: Index) -> None:
    index.add(rich_wheel(), sdist("gamma"))
    request = workshop.request(f"{OWN_SDK}rich-one\nbeta\ngamma\n", url=index.url)
    first = await workshop.builder.build(request)
    await lose(workshop, first)
    index.files.clear()
    asked = len(index.asked)
    assert workshop.builder.restore(request) is None
    again = await workshop.builder.build(request, workshop.output.append)
    assert "The environment is lost; making it again from kept wheels." in workshop.output
    assert len(index.asked) == asked
    assert again.environment == first.environment
    assert run(again, "import inner, alpha, gamma; print(inner.x, gamma.built)") == "1 True"
    home = again.environment.path
    assert subprocess.run([home / "bin" / "brought"], capture_output=True, text=True, check=True).stdout == "brought\n"
    assert (home / "bin" / "made").is_file()
    assert (home / "share" / "rich" / "table.csv").read_text() == "1;2"
    assert workshop.builder.restore(request) == again
    await workshop.builder.close()


async def test_a_kept_wheel_that_was_changed_is_not_taken(workshop: Workshop, index: Index) -> None:
    request = workshop.request(f"{OWN_SDK}alpha==1.0\n", url=index.url)
    first = await workshop.builder.build(request)
    await lose(workshop, first)
    (kept,) = (workshop.root / "build" / "wheels").glob("*/alpha-1.0-py3-none-any.whl")
    kept.write_bytes(wheel("alpha", "1.0", alpha="hostile = 1")[1])
    again = await workshop.builder.build(request, workshop.output.append)
    assert any(line.startswith("That did not work: ") for line in workshop.output)
    assert run(again, "import alpha; print(hasattr(alpha, 'hostile'))") == "False"
    await workshop.builder.close()


async def test_what_a_record_claims_leads_to_no_file_outside(
    tmp_path: Path, workshop: Workshop, index: Index, caplog: pytest.LogCaptureFixture
) -> None:
    """Then nothing is kept, and the environment works all the same."""
    record = {"gamma-1__0__data/purelib/odd-1__0__dist-info/RECORD": "../" * 40 + "etc/passwd,,\n"}
    index.add(wheel("gamma", "1.0", **record))
    revision = await workshop.build(f"{OWN_SDK}gamma\n", url=index.url)
    assert list(revision.environment.path.glob("lib/python*/site-packages/odd-1.0.dist-info"))
    await workshop.packed()
    assert not list((tmp_path / "build" / "wheels").glob("*.json"))
    assert "odd-1.0.dist-info: /etc/passwd is no file of the environment" in caplog.text


def large_wheel() -> tuple[str, bytes]:
    """A wheel that takes a while to pack, after all others: its name is the last."""
    out = io.BytesIO(wheel("zz_large", "1.0")[1])
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("noise.bin", random.Random(1).randbytes(8_000_000))
    return "zz_large-1.0-py3-none-any.whl", out.getvalue()


def frozen(build: Path) -> bool:
    """Whether what packs wheels below `build` has been stopped, now, in the middle: after the wheel `alpha`."""
    if not list(build.glob("wheels/*/alpha-*.whl")):
        return False
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and f"{packing.__file__}\0{build}".encode() in (entry / "cmdline").read_bytes():
                os.kill(int(entry.name), signal.SIGSTOP)
                return True
    return False


async def test_packing_that_was_broken_off_is_taken_up_by_who_finds_the_environment(
    workshop: Workshop, index: Index
) -> None:
    """Stopped between two wheels, or within the second; then it is made again offline."""
    index.add(large_wheel())
    build, wheels = workshop.root / "build", workshop.root / "build" / "wheels"
    request = workshop.request(f"{OWN_SDK}alpha==1.0\nzz-large\n", url=index.url)
    task = asyncio.create_task(workshop.builder.build(request))
    await until(lambda: frozen(build))
    first = await task
    await workshop.builder.close()
    assert not processes_of(build)
    assert workshop.left_in("staging") == []
    assert not list(wheels.glob("*.json")) and not list(wheels.glob("*/zz_large*"))
    (alpha,) = wheels.glob("*/alpha-1.0-*.whl")
    before = alpha.stat().st_ino

    workshop.restart()
    assert workshop.builder.restore(request) == first
    await lose(workshop, first)
    assert alpha.stat().st_ino == before, "what is whole is not packed again"
    assert [path.suffix for path in wheels.iterdir() if not path.is_dir()] == [".json"]
    index.files.clear()
    again = await workshop.builder.build(request, workshop.output.append)
    assert "The environment is lost; making it again from kept wheels." in workshop.output
    assert run(again, "import alpha, zz_large; print('well')") == "well"
    await workshop.builder.close()


@pytest.mark.parametrize("lost", ["list", "wheel"])
async def test_wheels_that_are_missing_are_packed_for_a_new_function_with_the_same_lock(
    workshop: Workshop, index: Index, lost: str
) -> None:
    text = f"{OWN_SDK}alpha==1.0\n"
    await workshop.build(text, url=index.url)
    await workshop.packed()
    wheels = workshop.root / "build" / "wheels"
    (gone,) = wheels.glob("*.json" if lost == "list" else "*/alpha-1.0-*.whl")
    gone.unlink()
    await workshop.builder.close()
    workshop.restart()
    await workshop.build(text, url=index.url)
    await until(gone.exists)
    await workshop.builder.close()


# Clearing away


def kept(workshop: Workshop) -> dict[str, int]:
    build = workshop.root / "build"
    return {
        "environments": len(workshop.left_in("environments")),
        "lists": len(list((build / "wheels").glob("*.json"))),
        "alpha": len(list((build / "wheels").glob("*/alpha-*.whl"))),
        "bytecode": len(list((build / "bytecode").glob("*/*"))),
    }


async def test_what_no_function_uses_is_cleared_away_after_a_while(workshop: Workshop, index: Index) -> None:
    index.add(wheel("alpha", "1.0", alpha="x = 1"), wheel("delta", "1.0", delta="y = 2"))
    first = await workshop.build(f"{OWN_SDK}alpha==1.0\n", url=index.url)
    second = await workshop.build(f"{OWN_SDK}delta\n", url=index.url)
    await workshop.packed()
    full = kept(workshop)
    assert full == {"environments": 2, "lists": 2, "alpha": 1, "bytecode": 3}
    assert await workshop.builder.collect({first.id, second.id}, 0) == 0
    assert kept(workshop) == full
    assert await workshop.builder.collect({second.id}, 3600) == 1, "its code goes at once, the rest after the grace"
    assert kept(workshop) == full
    await workshop.builder.collect({second.id}, 0)
    assert kept(workshop) == {"environments": 1, "lists": 1, "alpha": 0, "bytecode": 2}
    assert not first.environment.path.exists()
    assert run(second, "import delta; print(delta.y)") == "2"
    assert workshop.left_in("staging") == []


async def test_what_is_being_built_is_not_cleared_away(networked: Workshop, index: Index) -> None:
    workshop = networked
    old = await workshop.build(f"{OWN_SDK}alpha==1.0\n", url=index.url)
    code = f"urllib.request.urlopen('http://127.0.0.1:{index.server_port}/wait/built')"
    index.add(sdist("slow", code))
    task = asyncio.create_task(workshop.build(f"{OWN_SDK}slow\n", url=index.url))
    await until(index.waited_for.is_set)
    same = await workshop.build(f"{OWN_SDK}alpha==1.0\n", url=index.url)
    await workshop.builder.discard(old.id)
    await workshop.builder.collect({same.id}, 0)
    assert same.environment.path.is_dir()
    await workshop.builder.discard(same.id)
    await workshop.builder.collect(set(), 0)
    assert same.environment.path.is_dir(), "a build that began before its last use may want it"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await workshop.builder.collect(set(), 0)
    assert workshop.left_in("environments") == []
    await workshop.builder.close()


# What fails before uv is asked


async def test_an_unknown_runtime(workshop: Workshop, interpreters: Interpreters) -> None:
    error = await workshop.fails(runtime="py399")
    assert error.message == (f"The runtime 'py399' is not on this machine; there is: {', '.join(interpreters.all())}.")


@pytest.mark.parametrize(
    ("path", "files", "message"),
    [
        ("main.py", {}, "No Python module found at 'main.py' in the zip. At the zip's root there is: handler.py."),
        ("none.py", {"none.py": "x = 1"}, "none.py has no `handle` at module level; the entry file must define it."),
        ("bad.py", {"bad.py": "def handle(:"}, "Syntax error in bad.py, line 1: invalid syntax: def handle(:."),
        ("handler.py", {"../evil": "x"}, "Entry '../evil' leaves the zip's root by '..'."),
        ("handler.py", {"requirements.txt": "-e ."}, "requirements.txt, line 1: editable installs (-e) are not possible; "
         "name a package or an archive of the zip."),
    ],
)  # fmt: skip
async def test_bundles_that_are_not_fit(workshop: Workshop, path: str, files: dict[str, str], message: str) -> None:
    error = await workshop.fails(function_path=path, files=files)
    assert error.message == message


async def test_a_bundle_that_is_no_zip(workshop: Workshop) -> None:
    request = workshop.request()
    request.bundle.write_text("no zip" * 100)
    with pytest.raises(BuildError, match="The bundle is not a zip"):
        await workshop.builder.build(request)
    assert workshop.left_in("staging") == workshop.left_in("revisions") == []


async def test_a_parser_is_held_to_its_limits_and_leaves_no_seat() -> None:
    limits = Limits(Allowance(pids=64), cgroups.find())
    if not limits.holds("memory"):
        pytest.skip("no control groups")
    interpreter = Interpreters().get("py311")
    assert interpreter is not None
    for memory, is_enough in ((2_000_000, False), (500_000_000, True)):
        seats: list[Seat] = []

        def seat(memory: int = memory, seats: list[Seat] = seats) -> Seat:
            seats.append(limits.seat(memory, 1))
            return seats[-1]

        parsers = Parsers(choose("auto")[0], 0, seat)
        if is_enough:
            assert (await parsers.parse(interpreter, "handler.py", {"handler.py": HANDLER.encode()})).fault == ""
        else:
            with pytest.raises(EntryPointError, match="could not be parsed"):
                await parsers.parse(interpreter, "handler.py", {"handler.py": HANDLER.encode()})
        assert len(seats) == 1
        assert seats[0].remove(), "it was taken away"


async def test_an_index_that_swaps_file_names_poisons_nobodys_environment(workshop: Workshop, index: Index) -> None:
    """One release of two files: under which name which of them is served is for each index to say."""
    first, second = wheel("swapped", "1.0", origin="x = 1"), wheel("swapped", "1.0", origin="x = 2")
    plain = first[0]
    other = plain.replace("py3-none-any", "py2.py3-none-any")
    index.add((plain, first[1]), (other, second[1]))
    good = await workshop.build(f"{OWN_SDK}swapped\n", url=index.url)
    with serving(Index(wheel("cognite_sdk", "99.0"), (plain, second[1]), (other, first[1]))) as hostile:
        bad = await workshop.build(f"{OWN_SDK}swapped\n", url=hostile.url)
    assert bad.environment.key != good.environment.key
    assert run(good, "import origin; print(origin.x)") != run(bad, "import origin; print(origin.x)")
    assert good.environment.lock.count("--hash=") == 2
    assert "  # swapped-1.0-" in good.environment.lock


async def test_a_keyring_is_found_where_the_servers_user_has_it(
    tmp_path: Path, sandbox: Sandbox, interpreters: Interpreters
) -> None:
    """With the server's PATH and HOME, and without what is secret of the server."""
    script = tmp_path / "bin" / "keyring"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\nenv > "$HOME/asked"\n[ "$1" = get ] && [ "$3" = user ] && cat "$HOME/password"\n')
    script.chmod(0o755)
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    with serving(Index(wheel("cognite_sdk", "99.0"), wheel("alpha", "1.0"), password=PASSWORD)) as locked:
        environ = {
            "PATH": f"{script.parent}:/usr/bin:/bin",
            "HOME": str(tmp_path),
            "PIP_CONFIG_FILE": os.devnull,
            "UV_NO_CONFIG": "1",
            "UV_KEYRING_PROVIDER": "subprocess",
            "UV_DEFAULT_INDEX": f"http://user@127.0.0.1:{locked.server_port}/simple",
            "KVERN_MASTER_KEY": "the-servers-own",
        }
        workshop = Workshop(tmp_path, sandbox, interpreters, tmp_path / "cache", environ=environ)
        revision = await workshop.build(f"{OWN_SDK}alpha\n")
    assert "alpha==1.0" in revision.environment.lock
    assert "the-servers-own" not in (tmp_path / "asked").read_text()
