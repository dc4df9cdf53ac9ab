"""What the operator of a machine has set for pip, uv and all programs, against a real server: each row is one setting.

One server reads its settings from files and folders that each row writes anew; packages come from a folder of wheels and
from indexes on this machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kvern.build.staging import remove
from tests.acceptance.api import Api, bundle
from tests.acceptance.server import KVERN, Server
from tests.acceptance.test_build import Index, sdist, serving, wheel
from tests.environments import ROOT

HANDLER = """
    import importlib.metadata, os, sys
    def handle(data):
        found = {one.metadata["Name"]: one.version for one in importlib.metadata.distributions()}
        return {"packages": found, "files": sorted(os.listdir(sys.prefix))}
"""
OWN = "cognite-sdk==99.0\n"
RUNTIME = f"py3{sys.version_info.minor}"
START = f"import sys; assert sys.version_info[:2] == {sys.version_info[:2]}; from kvern.cli import main; main()"
PYTHONPATH = os.pathsep.join([sysconfig.get_path("purelib"), str(ROOT / "src")])


@dataclass
class Machine:
    """A server on a machine of its own settings.

    Args:
        root: its folders: `home`, `etc`, `links`.
        api: what asks the server.
        links: an index folder of wheels.
    """

    root: Path
    server: Server
    api: Api
    public: Index
    private: Index

    @property
    def pip(self) -> Path:
        return self.root / "home/.config/pip/pip.conf"

    @property
    def uv(self) -> Path:
        return self.root / "home/.config/uv/uv.toml"

    def set(self, *, pip: str = "", uv: str = "", files: dict[str, str] | None = None) -> None:
        """Write the settings, and nothing but these."""
        self.clear()
        places = "" if "no-index" in pip else f"no-index = true\nfind-links = {self.root}/links\n"
        self.pip.write_text(self._filled(f"[global]\n{places}{pip}"))
        if uv:
            self.uv.write_text(self._filled(uv))
        for name, text in (files or {}).items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._filled(text))

    def clear(self) -> None:
        for path in (self.pip, self.uv, self.root / "home/.netrc", self.root / "c.txt", self.root / "a b/c.txt"):
            path.unlink(missing_ok=True)

    def _filled(self, text: str) -> str:
        replaced = text.replace("ROOT", str(self.root)).replace("PUBLIC", self.public.url)
        return replaced.replace("PRIVATE", self.private.url)

    def deploy(self, requirements: str) -> dict[str, object]:
        return self.api.deployed(bundle(handler=HANDLER, requirements=OWN + requirements), runtime=RUNTIME)

    def installed(self, requirements: str) -> dict[str, str]:
        function = self.deploy(requirements)
        assert function["status"] == "Ready", function["error"]
        call = self.api.call(int(str(function["id"])))
        assert call["status"] == "Completed", call
        answer = self.api.get(f"/functions/{function['id']}/calls/{call['id']}/response").json()["response"]
        assert "kvern.json" not in answer["files"]
        return dict(answer["packages"])

    def fails(self, requirements: str) -> str:
        function = self.deploy(requirements)
        assert function["status"] == "Failed"
        return str(function["error"])


@pytest.fixture(scope="module")
def indexes() -> Iterator[tuple[Index, Index]]:
    own = wheel("cognite_sdk", "99.0")
    public = Index(own, wheel("alpha", "9.0"), wheel("acme", "99.0"))
    private = Index(own, wheel("alpha", "3.0"), wheel("acme", "1.0"), password="s3cret")
    with serving(public), serving(private):
        yield public, private


def users() -> list[int]:
    return [0, 65534] if os.geteuid() == 0 else [os.geteuid()]


@pytest.fixture(scope="module", params=users())
def machine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, indexes: tuple[Index, Index]
) -> Iterator[Machine]:
    is_other = request.param != os.geteuid()
    # Every run of pytest shuts the folder above its temporary ones to other users.
    root = Path(tempfile.mkdtemp(prefix="kvern-operator-")) if is_other else tmp_path_factory.mktemp("operator")
    for name in ("home/.config/pip", "home/.config/uv", "etc", "links", "a b", "server", "locked"):
        (root / name).mkdir(parents=True)
    for name, content in (
        wheel("cognite_sdk", "99.0"),
        *(wheel("alpha", version) for version in ("1.0", "1.5", "2.0", "3.0a1")),
        wheel("beta", "1.0", requires="alpha"),
        sdist("gamma"),
    ):
        (root / "links" / name).write_bytes(content)
    (root / "shelf").mkdir()
    (root / "shelf" / wheel("delta", "1.0")[0]).write_bytes(wheel("delta", "1.0")[1])
    clean = {name: "" for name in os.environ if name.startswith(("UV_", "PIP_"))}
    env = clean | {
        "HOME": str(root / "home"),
        "XDG_CONFIG_DIRS": str(root / "etc"),
        "XDG_CONFIG_HOME": "",
        "XDG_CACHE_HOME": "",
        "KVERN_LOCK_MINUTES": "0",
        "SSL_CERT_FILE": "",
        "REQUESTS_CA_BUNDLE": "",
        "CURL_CA_BUNDLE": "",
    }
    program: tuple[str, ...] = (KVERN,)
    if is_other:
        root.chmod(0o755)
        found = _program_of(request.param)
        if not found:
            remove(root)
            pytest.skip("this machine lets no other user reach a Python of this version, or the tests' folders")
        env["PYTHONPATH"] = PYTHONPATH
        subprocess.run(["chown", "-R", str(request.param), str(root)], check=True)
        program = found
    server = Server(root / "server", "--sandbox", "auto", extra_env=env, program=program)
    server.start()
    with Api(server.environment()) as api:
        yield Machine(root, server, api, *indexes)
    assert server.stop() == 0
    if is_other:
        remove(root)


def _program_of(user: int) -> tuple[str, ...]:
    """What runs `kvern` as another user: ours, else another Python of the same version; nothing where neither does."""
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}", "/usr/local/bin/python3"):
        as_user = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", python, "-c", START)
        env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": PYTHONPATH}
        with contextlib.suppress(OSError):
            done = subprocess.run([*as_user, "--version"], capture_output=True, env=env, cwd="/")
            if done.returncode == 0:
                return as_user
    return ()


@dataclass
class Row:
    """One setting, and what comes of a deployment under it.

    Args:
        name: what the row is about.
        pip: further lines of `pip.conf`, below `[global]`.
        uv: the text of `uv.toml`.
        files: further files.
        wants: the requirements.
        gets: packages and versions that must be installed.
        error: words that the error must have, instead.
    """

    name: str
    pip: str = ""
    uv: str = ""
    files: dict[str, str] = field(default_factory=dict[str, str])
    wants: str = "alpha\n"
    gets: dict[str, str] = field(default_factory=lambda: {"alpha": "2.0"})
    error: tuple[str, ...] = ()


OLD = {"alpha": "1.5"}
ROWS = [
    Row("a constraint that nothing needs", pip="constraint = ROOT/c.txt", files={"c.txt": "torch<=2.14.1\n"}),
    Row("a constraint of a range", pip="constraint = ROOT/c.txt", files={"c.txt": "alpha<2\n"}, gets=OLD),
    Row("a constraint of one version", pip="constraint = ROOT/c.txt", files={"c.txt": "alpha==1.0\n"}, gets={"alpha": "1.0"}),
    Row("a constraint on what is required of others", pip="constraint = ROOT/c.txt", files={"c.txt": "alpha<2\n"}, wants="beta\n", gets=OLD),
    Row("a constraint that contradicts", pip="constraint = ROOT/c.txt", files={"c.txt": "alpha<1.2\n"}, wants="alpha>=1.5\n", error=("cannot be met", "alpha")),
    Row("a constraint in a folder with a blank", pip="constraint = ROOT/a b/c.txt", files={"a b/c.txt": "alpha<2\n"}, gets=OLD),
    Row("a constraint as a file URL", pip="constraint = file://ROOT/c.txt", files={"c.txt": "alpha<2\n"}, gets=OLD),
    Row("a constraint by a path from the server's folder", pip="constraint = ../c.txt", files={"c.txt": "alpha<2\n"}, gets=OLD),
    Row("a constraint that includes another", pip="constraint = ROOT/c.txt", files={"c.txt": "-c a b/c.txt\n", "a b/c.txt": "alpha<2\n"}, gets=OLD),
    Row("a constraint that is not there", pip="constraint = ROOT/gone.txt", error=("pip.conf, [global] constraint", "gone.txt is not there")),
    Row("a constraint with hashes", pip="constraint = ROOT/c.txt", files={"c.txt": "torch==2.0 --hash=sha256:" + "0" * 64 + "\n"}),
    Row("prereleases of pip", pip="pre = true", gets={"alpha": "3.0a1"}),
    Row("a word that is neither true nor false", pip="pre = perhaps", error=("[global] pre", "true or false")),
    Row("a timeout that is no number", pip="timeout = soon", error=("pip.conf, [global] timeout", "number of seconds", "soon")),
    Row("a timeout of part of a second", pip="timeout = 0.5"),
    Row("an endless timeout", pip="timeout = inf", error=("[global] timeout",)),
    Row("retries that are no number", pip="retries = many", error=("[global] retries",)),
    Row("target, prefix, user and root of pip", pip="target = ROOT/t\nprefix = ROOT/p\nuser = true\nroot = ROOT/r"),
    Row("no-deps of pip", pip="no-deps = true", wants="beta\n"),
    Row("require-hashes of pip", pip="require-hashes = true"),
    Row("python-version and platform of pip", pip="python-version = 3.7\nplatform = win32"),
    Row("no-binary for what is needed", pip="no-binary = gamma", wants="gamma\n", gets={"gamma": "1.0"}),
    Row("only-binary of pip", pip="only-binary = :all:", wants="gamma\n", error=("gamma",)),
    Row("a folder of packages that is not there", pip="extra-index-url = file:///no/such/simple"),
    Row("a certificate that is not there", pip="cert = ROOT/gone.pem", error=("[global] cert", "gone.pem is not there")),
    Row("an index that is none", pip="extra-index-url = htp://x/simple", error=("[global] extra-index-url", "http")),
    Row("a pip.conf without a section", pip="[[[", error=("pip.conf", "mend the file")),
    Row("target in uv.toml", uv='[pip]\ntarget = "ROOT/t"\n'),
    Row("prefix in uv.toml", uv='[pip]\nprefix = "ROOT/p"\n'),
    Row("python-version in uv.toml", uv='[pip]\npython-version = "3.7"\n'),
    Row("python-platform in uv.toml", uv='[pip]\npython-platform = "windows"\n'),
    Row("no-emit-package in uv.toml", uv='[pip]\nno-emit-package = ["alpha"]\n'),
    Row("no-deps in uv.toml", uv="[pip]\nno-deps = true\n", wants="beta\n"),
    Row("emit-index-url in uv.toml", uv="[pip]\nemit-index-url = true\nemit-find-links = true\n"),
    Row("extra and group in uv.toml", uv='[pip]\nextra = ["x"]\ngroup = ["y"]\n'),
    Row("another uv is required", uv='required-version = ">=99"\n'),
    Row("a key that no uv has", uv="frobnicate = 1\n"),
    Row("a slip in a key that says where from", uv='index-ulr = "https://x/simple"\n', error=("uv.toml, index-ulr", "index-url")),
    Row("a uv.toml that is no TOML", uv="= =\n", error=("uv.toml", "TOML", "line 1")),
    Row("constraint-dependencies", uv='constraint-dependencies = ["alpha<2"]\n', gets=OLD),
    Row("override-dependencies", uv='override-dependencies = ["alpha==1.0"]\n', wants="beta\n", gets={"alpha": "1.0"}),
    Row("exclude-dependencies", uv='exclude-dependencies = ["alpha"]\n', wants="beta\n", gets={"beta": "1.0"}),
    Row("prerelease in uv.toml", uv='prerelease = "allow"\n', gets={"alpha": "3.0a1"}),
    Row("resolution in [pip]", uv='[pip]\nresolution = "lowest"\n', gets={"alpha": "1.0"}),
    Row("a resolution that uv does not know", uv='resolution = "best"\n', error=("uv.toml, resolution", "highest")),
    Row("find-links in uv.toml, from its folder", uv='find-links = ["../../../shelf"]\n', wants="delta\n", gets={"delta": "1.0"}),
    Row("no-build in uv.toml", uv="no-build = true\n", wants="gamma\n", error=("gamma",)),
    Row("no-cache in uv.toml", uv="no-cache = true\n"),
    Row("a cache folder in uv.toml", uv='cache-dir = "ROOT/cache"\n'),
    Row("a cache folder that cannot be", uv='cache-dir = "/proc/cache"\n', error=("/proc/cache cannot be used", "UV_CACHE_DIR")),
    Row("an index in uv.toml", pip="no-index = false", uv='[[index]]\nurl = "PUBLIC"\ndefault = true\n', gets={"alpha": "9.0"}),
    Row("a private name, by default", pip="no-index = false\nindex-url = PUBLIC\nextra-index-url = PRIVATE", wants="acme\n", gets={"acme": "1.0"}),
    Row("a private name, where the best of all wins", pip="no-index = false\nindex-url = PUBLIC\nextra-index-url = PRIVATE", uv='index-strategy = "unsafe-best-match"\n', wants="acme\n", gets={"acme": "99.0"}),
    Row("a private name, where the first index wins", pip="no-index = false\nindex-url = PUBLIC\nextra-index-url = PRIVATE", uv='index-strategy = "first-index"\n', wants="acme\n", gets={"acme": "1.0"}),
    Row("a login that has run out", pip="no-index = false\nindex-url = PUBLIC", uv='index-strategy = "unsafe-best-match"\n[[index]]\nurl = "PRIVATEX"\n', wants="acme\n", error=("refuses the login", "401")),
    Row("a login of netrc", pip="no-index = false\nindex-url = PUBLIC\nextra-index-url = OPEN", files={"home/.netrc": "machine 127.0.0.1 login user password s3cret\n"}, wants="acme\n", gets={"acme": "1.0"}),
    Row("an index that wants a login, and none is set", pip="no-index = false\nindex-url = PUBLIC\nextra-index-url = OPEN", wants="acme\n", error=("wants a login", "401")),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "-"))
def test_a_deployment_under(machine: Machine, row: Row) -> None:
    opened = machine.private.url.replace("user:s3cret@", "")
    stale = machine.private.url.replace("s3cret", "wrong")

    def filled(text: str) -> str:
        return text.replace("PRIVATEX", stale).replace("OPEN", opened)

    machine.set(pip=filled(row.pip), uv=filled(row.uv), files=row.files)
    before = {path.name for path in machine.root.iterdir()}
    if row.error:
        error = machine.fails(row.wants)
        assert all(word in error for word in row.error), error
        assert "fault of the service" not in error
        assert "s3cret" not in error
    else:
        found = machine.installed(row.wants)
        assert {name: found.get(name) for name in row.gets} == row.gets
    assert {path.name for path in machine.root.iterdir()} - before <= {"cache"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda machine: machine.pip,
        lambda machine: machine.uv,
        lambda machine: machine.root / "home/.netrc",
        lambda machine: machine.root / "c.txt",
    ],
    ids=["pip.conf", "uv.toml", "netrc", "constraints"],
)
def test_a_file_that_the_service_may_not_read_is_named(machine: Machine, spoil: Callable[[Machine], Path]) -> None:
    machine.set(pip="constraint = ROOT/c.txt", uv="offline = false\n", files={"c.txt": "", "home/.netrc": ""})
    path = spoil(machine)
    path.chmod(0)
    try:
        if machine.root.owner() == "root":
            assert machine.installed("alpha\n")["alpha"] == "2.0"
        else:
            error = machine.fails("alpha\n")
            assert str(path) in error
            assert "cannot be read by the service's user" in error
    finally:
        path.chmod(0o600)


@pytest.mark.parametrize("home", ["gone", "/", "/proc"])
def test_a_service_without_a_home(home: str, tmp_path: Path, machine: Machine) -> None:
    """The user that the docs advise has none; the package cache is in the data folder then."""
    (tmp_path / "etc/pip").mkdir(parents=True)
    (tmp_path / "etc/pip/pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {machine.root}/links\n")
    clean = {name: "" for name in os.environ if name.startswith(("UV_", "PIP_", "XDG_"))}
    env = clean | {"HOME": str(tmp_path / home), "XDG_CONFIG_DIRS": str(tmp_path / "etc")}
    with Server(tmp_path, extra_env=env) as server, Api(server.environment()) as api:
        function = api.deployed(bundle(handler=HANDLER, requirements=f"{OWN}alpha\n"), runtime=RUNTIME)
        assert function["status"] == "Ready", function["error"]
        assert (server.data / "build" / "cache").is_dir()


DOCTOR = [
    ("[global]\ntimeout = soon\n", "", "timeout"),
    ("[[[", "", "pip.conf"),
    ("[global]\nconstraint = /no/such/file.txt\n", "", "/no/such/file.txt"),
    ("[global]\ntarget = /x\n", "", "[global] target"),
    ("", '[pip]\ntarget = "/x"\n', "[pip] target"),
    ("", 'required-version = ">=99"\n', "required-version"),
    ("", "frobnicate = 1\n", "frobnicate"),
    ("", 'cache-dir = "/proc/cache"\n', "/proc/cache"),
    ("", 'exclude-newer = "soon"\n', "uv cannot resolve"),
    ("", 'constraint-dependencies = ["=="]\n', "uv cannot resolve"),
]


@pytest.mark.parametrize(("pip", "uv", "words"), DOCTOR, ids=[words for _, _, words in DOCTOR])
def test_the_doctor_names(pip: str, uv: str, words: str, tmp_path: Path) -> None:
    for name, text in (("pip/pip.conf", pip), ("uv/uv.toml", uv)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    clean = {name: "" for name in os.environ if name.startswith(("UV_", "PIP_"))}
    env = os.environ | clean | {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "XDG_CONFIG_DIRS": "/none"}
    asked = [KVERN, "doctor", "--json", "--data-dir", str(tmp_path / "data")]
    said = subprocess.run(asked, env=env, capture_output=True, text=True, check=False)
    findings = [one for one in json.loads(said.stdout) if one["what"] == "builds" and one["state"] != "good"]
    assert any(words in one["text"] for one in findings), said.stdout
    assert not (tmp_path / "data").exists()
