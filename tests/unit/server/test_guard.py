"""Every route of the table: who may use it, and that nothing of another project shows through it.

What is asked is made from the table itself, so a route that is added is asked as well; one whose body takes ids has to
say below how.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.unit.fakes import PROJECT, Plant, acls, plant, until

from kvern.server.app import Route, build_app, routes
from kvern.service.clients import Credentials
from kvern.service.cursors import write_cursor
from kvern.service.projects import Project, Projects
from kvern.wire.capabilities import ACTIONS
from kvern.wire.groups import GroupWrite
from kvern.wire.schedules import ScheduleWrite
from kvern.wire.sessions import SessionWrite

LAB = "lab"
NOBODYS = 9_007_199_254_740_000
EVERY = [f"{name}:{action}" for name, actions in ACTIONS.items() for action in actions]


@dataclass
class Theirs:
    """What there is in the other project."""

    function: int
    call: int
    schedule: int
    file: int
    data_set: int
    session: int
    nonce: str
    group: int
    client: str
    external: str
    download: str


class Site:
    """A service with two projects, of which one has everything."""

    def __init__(self, p: Plant, http: httpx2.AsyncClient) -> None:
        self.p, self.http = p, http
        self.table = [row for row in routes(p.service) if row.capability is not None]
        self.theirs: Theirs

    async def token(self, project: str, *capabilities: str) -> str:
        made = await self.p.service.clients.add(project, "somebody", acls(capabilities))
        return self.p.service.issuer.client_token(self.p.service.clients.authenticate(made))

    async def ask(
        self,
        row: Route,
        token: str | None,
        project: str = PROJECT,
        path: dict[str, Any] | None = None,
        body: Any = None,
    ) -> httpx2.Response:
        whole = row.path[1:] if row.path.startswith("//") else f"/api/v1/projects/{project}{row.path}"
        for name, value in (path or {}).items():
            whole = re.sub(rf"\{{{name}(:\w+)?\}}", str(value), whole)
        whole = re.sub(r"\{\w+(:\w+)?\}", str(NOBODYS), whole)
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return await self.http.request(row.method, whole, headers=headers, json={} if body is None else body)


async def everything(p: Plant) -> Theirs:
    made = await p.service.clients.add(LAB, "labby")
    token = p.service.issuer.client_token(
        p.service.clients.authenticate(Credentials(made.client_id, made.client_secret))
    )
    who = (await p.service.authorities.verify(token)).principals[LAB]
    http = client_of(p)
    headers = {"authorization": f"Bearer {token}"}
    base = f"http://kvern/api/v1/projects/{LAB}"

    async def post(path: str, body: Any) -> Any:
        answer = await http.post(base + path, json=body, headers=headers)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    file = await post("/files", {"name": "code.zip", "externalId": "theirs"})
    await http.put(file["uploadUrl"], content=b"a zip")
    (function,) = (await post("/functions", {"items": [{"name": "f", "fileId": file["id"], "externalId": "theirs"}]}))[
        "items"
    ]
    live = p.service.functions.get(LAB, function["id"])
    await until(lambda: live.record.status == "Ready")
    call = await post(f"/functions/{function['id']}/call", {})
    schedule = await p.service.schedules.create(
        who, ScheduleWrite(name="s", cron_expression="* * * * *", function_id=function["id"])
    )
    session = await p.service.sessions.create(who, SessionWrite(token_exchange=True))
    (data_set,) = (await post("/datasets", {"items": [{"name": "d", "externalId": "theirs"}]}))["items"]
    (link,) = (await post("/files/downloadlink", {"items": [{"id": file["id"]}]}))["items"]
    (group,) = await p.service.groups.create(who, [GroupWrite(name="g", source_id="s")])
    await http.aclose()
    return Theirs(
        function["id"], call["id"], schedule.id, file["id"], data_set["id"], session.id, session.nonce, group.id,
        made.client_id, "theirs", link["downloadUrl"],
    )  # fmt: skip


def client_of(p: Plant) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(build_app(p.service)), base_url="http://kvern")


@pytest.fixture
async def s(tmp_path: Path) -> AsyncIterator[Site]:
    async with plant(tmp_path / "data", projects=Projects(PROJECT, {LAB: Project()})) as p, client_of(p) as http:
        site = Site(p, http)
        site.theirs = await everything(p)
        yield site


def error_of(answer: httpx2.Response) -> dict[str, Any]:
    body = answer.json()
    assert list(body) == ["error"]
    assert body["error"]["code"] == answer.status_code
    return dict(body["error"])


async def test_without_a_token_every_route_answers_401(s: Site) -> None:
    for row in s.table:
        answer = await s.ask(row, None)
        assert answer.status_code == 401, (row.method, row.path)
        assert error_of(answer)["message"].startswith("Unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert len(s.table) > 50


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic a3Zlcm46eA==", "Token x", "Bearer x", "Bearer a.b.c"]
)
async def test_a_header_that_is_no_token_is_401(s: Site, header: str) -> None:
    answer = await s.http.get(f"/api/v1/projects/{PROJECT}/functions", headers={"authorization": header})
    assert answer.status_code == 401
    error_of(answer)


async def test_without_the_capability_every_route_answers_403_and_with_it_another_thing(s: Site) -> None:
    nothing = await s.token(PROJECT)
    tokens: dict[tuple[str, ...], tuple[str, str]] = {}
    for row in s.table:
        needed = row.capability or ()
        if not needed:
            continue
        if needed not in tokens:
            all_but = [capability for capability in EVERY if capability not in needed]
            tokens[needed] = (await s.token(PROJECT, *all_but), await s.token(PROJECT, needed[0]))
        without, with_it = tokens[needed]
        for token in (nothing, without):
            answer = await s.ask(row, token)
            assert answer.status_code == 403, (row.method, row.path)
            assert all(capability in error_of(answer)["message"] for capability in needed)
        if row.path != "/kvern/secrets/rotate-master":
            answer = await s.ask(row, with_it)
            assert answer.status_code not in (401, 403, 500), (row.method, row.path, answer.text)


async def test_a_token_of_one_project_opens_nothing_of_another(s: Site) -> None:
    ours = s.p.token
    for row in s.table:
        if row.path.startswith("//"):
            continue
        answer = await s.ask(row, ours, project=LAB)
        nowhere = await s.ask(row, ours, project="nowhere")
        assert (answer.status_code, nowhere.status_code) == (401, 401), (row.method, row.path)
        assert error_of(answer)["message"].replace(LAB, "nowhere") == error_of(nowhere)["message"]


def told(answer: httpx2.Response, *ids: object) -> tuple[int, str]:
    """An answer without what differs from one request to the next."""
    text = answer.text
    for number in ids:
        text = re.sub(rf"(?<!\w){re.escape(str(number))}(?!\w)", "ID", text)
    return answer.status_code, text


async def test_ids_of_another_project_in_a_path_are_as_unknown_as_any(s: Site) -> None:
    asked = 0
    known = {
        "function_id": s.theirs.function,
        "call_id": s.theirs.call,
        "schedule_id": s.theirs.schedule,
        "file_id": s.theirs.file,
        "external_id": s.theirs.external,
    }
    own = await s.p.function()
    for row in s.table:
        names = re.findall(r"\{(\w+)", row.path)
        if not names:
            continue
        body = (
            {"data": {}}
            if row.path.endswith("/call")
            else {"items": [{"id": NOBODYS}]}
            if row.method == "POST"
            else None
        )
        theirs = await s.ask(row, s.p.token, path={name: known[name] for name in names}, body=body)
        unknown = await s.ask(row, s.p.token, path=dict.fromkeys(names, NOBODYS), body=body)
        assert theirs.status_code == 404, (row.method, row.path, theirs.text)
        assert told(theirs, *known.values()) == told(unknown, NOBODYS), (row.method, row.path)
        if "call_id" in names and "function_id" in names:
            mixed = await s.ask(row, s.p.token, path={"function_id": own.record.id, "call_id": s.theirs.call})
            assert mixed.status_code == 404
        asked += 1
    assert asked > 12


BODIES: dict[str, Any] = {
    "/functions/byids": lambda n, x: {"items": [{"id": n("function")}, {"externalId": x}]},
    "/functions/delete": lambda n, x: {"items": [{"id": n("function")}, {"externalId": x}]},
    "/functions": lambda n, x: {"items": [{"name": "n", "fileId": n("file")}]},
    "/functions/schedules": lambda n, x: {
        "items": [{"name": "n", "cronExpression": "* * * * *", "functionId": n("function")}]
    },
    "/functions/schedules/byids": lambda n, x: {"items": [{"id": n("schedule")}]},
    "/functions/schedules/delete": lambda n, x: {"items": [{"id": n("schedule")}]},
    "/functions/schedules/pause": lambda n, x: {"items": [{"id": n("schedule")}]},
    "/functions/schedules/resume": lambda n, x: {"items": [{"id": n("schedule")}]},
    "/sessions/byids": lambda n, x: {"items": [{"id": n("session")}]},
    "/sessions/revoke": lambda n, x: {"items": [{"id": n("session")}]},
    "/files/byids": lambda n, x: {"items": [{"id": n("file")}, {"externalId": x}]},
    "/files/delete": lambda n, x: {"items": [{"id": n("file")}, {"externalId": x}]},
    "/files/downloadlink": lambda n, x: {"items": [{"id": n("file")}, {"externalId": x}]},
    "/files/uploadlink": lambda n, x: {"items": [{"id": n("file")}]},
    "/files/multiuploadlink": lambda n, x: {"items": [{"externalId": x}]},
    "/files/completemultipartupload": lambda n, x: {"id": n("file"), "uploadId": "none"},
    "/files/update": lambda n, x: {"items": [{"id": n("file"), "update": {"source": {"set": "x"}}}]},
    "/datasets/byids": lambda n, x: {"items": [{"id": n("data_set")}, {"externalId": x}]},
    "/datasets/update": lambda n, x: {"items": [{"id": n("data_set"), "update": {"name": {"set": "x"}}}]},
    "/groups/delete": lambda n, x: {"items": [n("group")]},
    "/kvern/clients/rotate": lambda n, x: {"clientId": n("client")},
    "/kvern/clients/delete": lambda n, x: {"items": [n("client")]},
}
"""Bodies that name what is there already, by `n("file")` and by external id."""

WITHOUT_IDS = {
    "/functions/list",
    "/functions/schedules/list",
    "/files",
    "/files/list",
    "/files/initmultipartupload",
    "/datasets",
    "/datasets/list",
    "/sessions",
    "/groups",
    "/kvern/clients",
}


async def test_ids_of_another_project_in_a_body_are_as_unknown_as_any(s: Site) -> None:
    with_body = {row.path: row for row in s.table if row.body is not None and "{" not in row.path}
    assert set(with_body) == set(BODIES) | WITHOUT_IDS
    for path, make in BODIES.items():
        row = with_body[path]
        theirs = make(lambda what: getattr(s.theirs, what), s.theirs.external)
        unknown = make(lambda what: "kvern-nobody" if what == "client" else NOBODYS, "nobodys")
        one = await s.ask(row, s.p.token, body=theirs)
        other = await s.ask(row, s.p.token, body=unknown)
        assert one.status_code in (400, 404), (path, one.text)
        ids = [str(value) for value in vars(s.theirs).values() if value != s.theirs.download]
        assert told(one, *sorted(ids, key=len, reverse=True)) == told(other, NOBODYS, "kvern-nobody", "nobodys"), path
    kept = s.p.service.functions.get(LAB, s.theirs.function)
    assert not kept.deleted
    assert s.p.service.clients.get(s.theirs.client) is not None


async def test_lists_show_the_own_project_only(s: Site) -> None:
    for row in s.table:
        listing = row.path.endswith("/list") or (row.method == "GET" and "{" not in row.path)
        if not listing or row.path in ("/securitycategories",):
            continue
        text = (await s.ask(row, s.p.token)).text
        for value in (s.theirs.function, s.theirs.file, s.theirs.client, LAB):
            assert f'"{value}"' not in text, (row.path, value)
            assert f":{value}," not in text, (row.path, value)


async def test_filters_cursors_and_links_do_not_lead_across(s: Site) -> None:
    headers = {"authorization": f"Bearer {s.p.token}"}
    base = f"/api/v1/projects/{PROJECT}"
    found = await s.http.post(
        f"{base}/functions/schedules/list", headers=headers, json={"filter": {"functionExternalId": "theirs"}}
    )
    assert found.json() == {"items": []}
    for path, cursor in (
        ("/sessions", write_cursor(s.theirs.session + 1)),
        ("/files", write_cursor(s.theirs.file - 1)),
    ):
        page = await s.http.get(f"{base}{path}?cursor={cursor}", headers=headers)
        assert (page.status_code, page.json()) == (200, {"items": []})
    down = await s.http.get(s.theirs.download)
    assert down.content == b"a zip", "a link carries its own proof, of one file of one project"
    forged = s.theirs.download[:-2] + ("AA" if not s.theirs.download.endswith("AA") else "BB")
    assert (await s.http.get(forged)).status_code == 403


async def test_a_nonce_of_another_project_is_as_unknown_as_any_and_good_once_in_its_own(s: Site) -> None:
    function = await s.p.function()
    headers = {"authorization": f"Bearer {s.p.token}"}
    path = f"/api/v1/projects/{PROJECT}/functions/{function.record.id}/call"
    theirs = await s.http.post(path, headers=headers, json={"nonce": s.theirs.nonce})
    unknown = await s.http.post(path, headers=headers, json={"nonce": "never made"})
    assert theirs.status_code == 400
    assert told(theirs) == told(unknown)
    made = await s.http.post(
        f"/api/v1/projects/{PROJECT}/sessions", headers=headers, json={"items": [{"oneshotTokenExchange": True}]}
    )
    nonce = made.json()["items"][0]["nonce"]
    first = await s.http.post(path, headers=headers, json={"nonce": nonce})
    again = await s.http.post(path, headers=headers, json={"nonce": nonce})
    assert (first.status_code, again.status_code) == (201, 400)
    assert told(again) == told(unknown)


async def test_external_ids_are_free_in_every_project(s: Site) -> None:
    function = await s.p.function(external_id="theirs")
    assert function.record.external_id == "theirs"
    headers = {"authorization": f"Bearer {s.p.token}"}
    for path, body in (
        ("/datasets", {"items": [{"name": "d", "externalId": "theirs"}]}),
        ("/files", {"name": "n", "externalId": "theirs"}),
    ):
        made = await s.http.post(f"/api/v1/projects/{PROJECT}{path}", headers=headers, json=body)
        assert made.status_code in (200, 201)


async def test_who_one_is_in_all_projects(s: Site) -> None:
    headers = {"authorization": f"Bearer {s.p.token}"}
    seen = (await s.http.get("/api/v1/token/inspect", headers=headers)).json()
    assert seen["subject"] == s.p.who.subject
    assert seen["projects"] == [{"projectUrlName": PROJECT, "groups": [*s.p.who.groups]}]
    assert all(acl["projectScope"] == {"projects": [PROJECT]} for acl in seen["capabilities"])
    projects = (await s.http.get("/api/v1/projects?withDataModelingStatus=true", headers=headers)).json()
    assert projects == {"items": [{"urlName": PROJECT, "dataModelingStatus": "HYBRID"}]}
    groups = (await s.http.get(f"/api/v1/projects/{PROJECT}/groups?all=false", headers=headers)).json()["items"]
    assert [group["id"] for group in groups] == [*s.p.who.groups]
    own = {"groupsAcl": {"actions": ["LIST"], "scope": {"currentuserscope": {}}}}
    made = await s.p.service.clients.add(PROJECT, "modest", [own])
    token = s.p.service.issuer.client_token(s.p.service.clients.authenticate(made))
    for everyone, status in (("false", 200), ("true", 403)):
        answer = await s.http.get(
            f"/api/v1/projects/{PROJECT}/groups?all={everyone}", headers={"authorization": f"Bearer {token}"}
        )
        assert answer.status_code == status


async def test_a_known_token_asks_nobody(s: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What every request pays: a dictionary look-up."""
    path = f"/api/v1/projects/{PROJECT}/functions/limits"
    headers = {"authorization": f"Bearer {s.p.token}"}
    assert (await s.http.get(path, headers=headers)).status_code == 200
    verified = itertools.count()

    async def verify(token: str) -> Any:
        next(verified)
        raise AssertionError(token)

    monkeypatch.setattr(s.p.service.authorities, "verify", verify)
    for _ in range(3):
        assert (await s.http.get(path, headers=headers)).status_code == 200
    assert next(verified) == 0
