"""A project of the Toolkit, from its first build to the day it is cleaned away, with `cdf` as its user types it.

The tests are one story and run in this order: each finds the project and the server as the one before left them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.acceptance.api import Api
from tests.acceptance.compatibility import NOTEBOOK, TOOLKIT, TOOLKIT_COMMANDS
from tests.acceptance.conftest import client_python, noted
from tests.acceptance.recording import Exchange, RecordingProxy
from tests.acceptance.server import Server, until
from tests.acceptance.test_docs import as_script
from tests.environments import ROOT

pytestmark = pytest.mark.timeout(300)  # `cdf` takes seconds to import itself, and many of them on a busy machine

MODULE = Path(__file__).parent / "toolkit_module"
QUIET = {"SENTRY_ENABLED": "false", "PYTEST_CURRENT_TEST": "none"}
"""What keeps `cdf` from telling others of itself (docs/toolkit.md)."""

READING = ("/byids", "/list", "/downloadlink", "/oauth2/token")
"""Endings of what is asked by POST and yet changes nothing."""


@dataclass(frozen=True)
class Ran:
    """What `cdf` printed, without the boxes that it draws, and what it asked the server for."""

    printed: str
    asked: list[Exchange]

    @property
    def changes(self) -> list[str]:
        """Requests that create, replace or delete, below the project."""
        return [
            f"{e.method} {_below_project(e.path)}"
            for e in self.asked
            if e.method != "GET" and not e.path.endswith(READING)
        ]

    def row(self, name: str) -> list[int]:
        """The figures of a line of the summary: created, updated, deleted, unchanged, skipped, total."""
        found = re.search(rf"^\s*{name}\s+([0-9 ]+)$", self.printed, re.MULTILINE)
        assert found is not None, self.printed
        return [int(figure) for figure in found[1].split()]


def _below_project(path: str) -> str:
    below = re.sub(r"^/api/v1(/projects/[^/]+)?", "", path)
    return re.sub(r"/upload/.*", "/upload", re.sub(r"/[0-9]+(?=/|$)", "/{id}", below))


class Project:
    """A folder with the module, and `cdf` in an environment that was told of the server by `kvern env`."""

    def __init__(self, folder: Path, server: Server, proxy: RecordingProxy) -> None:
        self.folder = folder
        self.proxy = proxy
        self._cdf = str(client_python(TOOLKIT).parent / "cdf")
        home = folder.parent / "home"
        home.mkdir()
        self._env = {
            **proxy.environment(server.environment()),
            "PATH": "/usr/bin:/bin",
            "HOME": str(home),
            "TMPDIR": str(home),
            "NO_COLOR": "1",
            "COLUMNS": "200",
        }

    def cdf(self, *words: str, env: dict[str, str] = QUIET, status: int = 0) -> Ran:
        self.proxy.taken()
        command = max((c for c in TOOLKIT_COMMANDS if f"cdf {' '.join(words)} ".startswith(f"{c} ")), key=len)
        NOTEBOOK.ran(TOOLKIT, command)
        done = subprocess.run(
            [self._cdf, *words],
            cwd=self.folder,
            env={**self._env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return Ran(re.sub(r"[│┃╭╮╰╯─━]", " ", done.stdout), self.proxy.taken())

    def path(self, name: str) -> Path:
        return self.folder / "modules" / "pump_station" / name


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for this project alone, so that it may be asked what there is."""
    with Server(tmp_path_factory.mktemp("toolkit")) as running:
        yield running


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[Api]:
    with Api(server.environment()) as bare:
        yield bare


@pytest.fixture(scope="module")
def project(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("project") / "plant"
    shutil.copytree(MODULE, folder)
    with RecordingProxy(server.url, noted(TOOLKIT)) as proxy:
        yield Project(folder, server, proxy)


class Refusing(BaseHTTPRequestHandler):
    """A proxy to the world outside that lets nobody through."""

    wanted: list[str]

    def do_CONNECT(self) -> None:
        self.wanted.append(self.path)
        self.send_error(403)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def outside() -> Iterator[tuple[dict[str, str], list[str]]]:
    """Variables that send everything but this machine's own traffic to a proxy, and the hosts that it was asked for."""
    wanted: list[str] = []
    listener = ThreadingHTTPServer(("127.0.0.1", 0), type("Noting", (Refusing,), {"wanted": wanted}))
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{listener.server_address[1]}"
    yield {"HTTPS_PROXY": address, "HTTP_PROXY": address, "NO_PROXY": "127.0.0.1"}, wanted
    listener.shutdown()
    listener.server_close()
    thread.join(timeout=10)


def ready(api: Api) -> dict[str, int]:
    """The ids of the functions by external id, when all are deployed."""

    def ended() -> list[dict[str, str]] | None:
        functions = api.get("/functions").json()["items"]
        return functions if all(f["status"] in ("Ready", "Failed") for f in functions) else None

    functions = until(ended, 100, "the functions are deployed")
    assert all(f["status"] == "Ready" for f in functions), functions
    return {f["externalId"]: f["id"] for f in functions}


def test_a_build_checks_runtime_and_limits_against_the_server(project: Project) -> None:
    ran = project.cdf("build")
    assert "Ready to deploy" in ran.printed
    assert "Will validate function limits, runtime, and requirements.txt" in ran.printed
    assert Exchange("GET", "/api/v1/projects/kvern/functions/limits", 200) in ran.asked
    assert ran.changes == []


def test_a_dry_run_deploys_nothing_and_without_the_documented_switches_others_are_told(
    project: Project, outside: tuple[dict[str, str], list[str]]
) -> None:
    """The second half keeps the test of the switches honest: `cdf` does try to tell when it may."""
    variables, wanted = outside
    ran = project.cdf("deploy", "--dry-run", env={"SENTRY_ENABLED": "false", **variables})
    assert ran.changes == []
    assert {"auth.cognite.com:443", "api-eu.mixpanel.com:443"} <= set(wanted)


def test_a_new_module_is_deployed_whole(project: Project, api: Api) -> None:
    ran = project.cdf("deploy")
    assert ran.row("data sets") == [1, 0, 0, 0, 0, 1]
    assert ran.row("functions") == [2, 0, 0, 0, 0, 2]
    assert ran.row("function schedules") == [2, 0, 0, 0, 0, 2]
    ids = ready(api)
    schedules = api.get("/functions/schedules").json()["items"]
    data = {s["name"]: api.get(f"/functions/schedules/{s['id']}/input_data").json()["data"] for s in schedules}
    assert data == {
        "Every morning": {"flows": {"P-101": 12, "P-102": 14.5, "P-103": None, "Pumpe_Å": 13}},
        "Every quarter of an hour": {},
    }
    function = api.get(f"/functions/{ids['flow_report']}").json()
    file = api.get(f"/files/{function['fileId']}").json()
    assert [function["runtime"], function["secrets"], function["envVars"]] == [
        "py311",
        {"api-key": "***"},
        {"UNIT": "m3/h"},
    ]
    assert (
        api.post("/datasets/byids", {"items": [{"id": file["dataSetId"]}]}).json()["items"][0]["externalId"]
        == "ds_pump_station"
    )


def test_an_unchanged_module_is_left_alone(project: Project) -> None:
    ran = project.cdf("deploy")
    assert ran.changes == []
    assert ran.row("All") == [0, 0, 0, 5, 0, 5]


def test_a_function_runs_with_the_data_of_its_schedule(project: Project) -> None:
    ran = project.cdf("run", "function", "live", "flow_report", "--schedule", "Every morning", "--wait")
    assert re.search(r"Status +Completed", ran.printed), ran.printed
    assert re.search(r'"mean": 13\.1666', ran.printed), ran.printed
    assert '"key_length": 16' in ran.printed
    assert "values: 4" in ran.printed
    assert ran.changes == ["POST /sessions", "POST /functions/{id}/call"]
    assert ("POST", 200) in {(e.method, e.status) for e in ran.asked if e.path.endswith("/calls/byids")}


def test_a_function_that_fails_says_why(project: Project) -> None:
    ran = project.cdf("run", "function", "live", "valve_watch", "--wait")
    assert re.search(r"Status +Failed", ran.printed), ran.printed
    assert re.search(r"Error +ValueError: stuck: V-101", ran.printed), ran.printed


def test_functions_are_dumped_with_their_code_and_nobody_else_is_told(
    project: Project, outside: tuple[dict[str, str], list[str]]
) -> None:
    variables, wanted = outside
    project.cdf("dump", "functions", "flow_report", "valve_watch", "--output-dir", "dumped", env={**QUIET, **variables})
    assert wanted == []
    dumped, ours = project.folder / "dumped" / "functions", project.path("functions")
    for code in ("flow_report/handler.py", "flow_report/requirements.txt", "valve_watch/src/handler.py"):
        assert (dumped / code).read_bytes() == (ours / code).read_bytes()
    function = (dumped / "flow_report.Function.yaml").read_text()
    assert "name: Flow report" in function
    assert "dataSetExternalId: ds_pump_station" in function
    assert "of-the-historian" not in function
    assert (dumped / "valve_watch.Function.yaml").read_text().count("functionPath: ./src/handler.py") == 1
    assert "cronExpression: 0 5 * * *" in (dumped / "flow_report-Every_morning.Schedule.yaml").read_text()


def test_what_was_changed_in_the_folder_is_pulled_back(project: Project) -> None:
    file = project.path("data_sets/pump_station.DataSet.yaml")
    deployed = file.read_text()
    file.write_text(deployed.replace("Where the code of the functions is kept", "Not deployed"))
    ran = project.cdf("modules", "pull")
    assert file.read_text().splitlines() == deployed.splitlines()
    assert ran.changes == []


def test_changed_code_replaces_the_function_and_its_schedule(project: Project, api: Api) -> None:
    before = ready(api)
    handler = project.path("functions/flow_report/handler.py")
    handler.write_text(handler.read_text().replace('"unit"', '"unit_of_flow"'))
    project.cdf("build")
    ran = project.cdf("deploy")
    assert ran.row("functions")[:4] == [1, 0, 1, 1]
    assert ran.row("function schedules")[:4] == [1, 0, 0, 1]
    assert ran.changes == [
        "POST /functions/delete",
        "POST /files/delete",
        "POST /files",
        "PUT /files/upload",
        "POST /functions",
        "POST /sessions",
        "POST /functions/schedules",
    ]
    after = ready(api)
    assert after["valve_watch"] == before["valve_watch"]
    assert after["flow_report"] != before["flow_report"]
    schedules = api.get("/functions/schedules").json()["items"]
    assert sorted(s["functionId"] for s in schedules) == sorted(after.values())
    call = api.call(after["flow_report"])
    assert api.response(call)["unit_of_flow"] == "m3/h"


def test_access_is_verified(project: Project, api: Api) -> None:
    """The Toolkit wants a group that may do everything in the cloud; what is of other services is kept and given back."""
    ours = {
        "functionsAcl": ["READ", "WRITE"],
        "sessionsAcl": ["CREATE"],
        "filesAcl": ["READ", "WRITE"],
        "datasetsAcl": ["READ", "WRITE"],
        "groupsAcl": ["LIST", "READ", "CREATE", "UPDATE", "DELETE"],
    }
    made = toolkit_group(api, ours)
    ran = project.cdf("auth", "verify", "--no-prompt", status=1)
    assert "does not have the required capabilities for the Toolkit to support all resources" in ran.printed
    missing = {
        acl: re.findall(r"\w+", actions) for acl, actions in re.findall(r"name='(\w+)'\s+actions=\[(.*?)]", ran.printed)
    }
    assert "timeSeriesAcl" in missing
    assert not missing.keys() & ours.keys()
    assert api.post("/groups/delete", {"items": [made]}).status_code == 200
    toolkit_group(api, ours | missing)
    ran = project.cdf("auth", "verify", "--no-prompt")
    assert "OK - The cognite_toolkit_service_principal has all the required capabilities" in ran.printed
    assert ran.changes == []


def toolkit_group(api: Api, acls: dict[str, list[str]]) -> int:
    """The id of a new group of the name that the Toolkit looks for."""
    capabilities = [{acl: {"actions": actions, "scope": {"all": {}}}} for acl, actions in acls.items()]
    group = {"name": "cognite_toolkit_service_principal", "capabilities": capabilities}
    answer = api.post("/groups", {"items": [group]})
    assert answer.status_code == 201, answer.text
    return int(answer.json()["items"][0]["id"])


def test_a_module_is_cleaned_away(project: Project, api: Api) -> None:
    ran = project.cdf("clean")
    assert ran.changes == ["POST /functions/schedules/delete", "POST /functions/delete", "POST /files/delete"]
    for what in ("functions", "functions/schedules", "files"):
        assert api.get(f"/{what}").json()["items"] == []


def test_the_page_for_users_does_what_it_says(server: Server, tmp_path: Path) -> None:
    folders = [str(client_python(TOOLKIT).parent), str(Path(sys.executable).parent), "/usr/bin", "/bin"]
    environment = {
        "PATH": ":".join(folders),
        "HOME": str(tmp_path),
        "KVERN_DATA_DIR": str(server.data),
        "COLUMNS": "200",
    }
    script = as_script(ROOT / "docs" / "toolkit.md", Path(sys.executable), tmp_path)
    ran = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=280
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for shown in ("Ready to deploy", "Mean of the flow", "Every morning", '"mean": 13.5'):
        assert shown in ran.stdout
    summaries = [
        [int(figure) for figure in row.split()] for row in re.findall(r"functions((?: +[0-9]+){6})", ran.stdout)
    ]
    assert summaries == [[1, 0, 0, 0, 0, 1], [0, 0, 0, 1, 0, 1], [0, 0, 1, 0, 0, 1]]
