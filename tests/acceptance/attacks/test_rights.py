"""Rights end with what they were given for: a call, a client, a secret."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.acceptance.api import Api
from tests.acceptance.attacks.conftest import as_client, may
from tests.acceptance.server import until

STEALS = """
    import json, time, urllib.request

    def handle(client, data):
        name, header = client.config.credentials.authorization_header()
        url = f"{client.config.base_url}/api/v1/projects/{client.config.project}"
        answers = []
        for method, path, body in data.get("asks", []):
            request = urllib.request.Request(url + path, method=method, headers={name: header})
            if body is not None:
                request.data = json.dumps(body).encode()
                request.add_header("content-type", "application/json")
            try:
                with urllib.request.urlopen(request) as answer:
                    answers.append([answer.status, json.load(answer)])
            except urllib.error.HTTPError as error:
                answers.append([error.code, json.load(error)])
        if data.get("fails"):
            raise RuntimeError(header)
        return [header, answers]
"""


@pytest.fixture(scope="module")
def thief(api: Api) -> int:
    """A function that does as it is told with its caller's rights, and gives its token away."""
    return api.ready(STEALS)


@pytest.fixture(scope="module", autouse=True)
def schedule(api: Api, thief: int) -> dict[str, Any]:
    """It is called every minute."""
    wanted = {"items": [{"name": "s", "functionId": thief, "cronExpression": "* * * * *"}]}
    return dict(api.post("/functions/schedules", wanted).json()["items"][0])


def with_token(api: Api, header: str, method: str, path: str, body: Any = None) -> httpx2.Response:
    return api.http.request(method, api.base + path, headers={"authorization": header}, json=body)


def asked(api: Api, thief: int, *asks: tuple[str, str, Any]) -> tuple[str, list[tuple[int, Any]]]:
    header, answers = api.response(api.call(thief, {"asks": asks}))
    return header, [(code, body) for code, body in answers]


def test_the_token_of_a_call_ends_with_the_call(api: Api, thief: int) -> None:
    header, [(code, _)] = asked(api, thief, ("GET", "/functions", None))
    assert code == 200, "inside the call it is good"
    assert with_token(api, header, "GET", "/functions").status_code == 401


def test_the_token_of_a_call_that_failed_ends_too(api: Api, thief: int) -> None:
    call = api.call(thief, {"fails": True})
    header = call["error"]["message"].partition("Bearer ")[2]
    assert header
    assert with_token(api, f"Bearer {header}", "GET", "/functions").status_code == 401


def test_the_token_of_an_attempt_ends_before_the_next(api: Api) -> None:
    retried = api.ready(
        """
        def handle(client, data):
            raise RuntimeError(client.config.credentials.authorization_header()[1])
        """,
        retries={"attempts": 2, "delaySeconds": 600, "maxDelaySeconds": 600, "jitter": 0},
    )
    call = api.post(f"/functions/{retried}/call", {}).json()
    path = f"/functions/{retried}/calls/{call['id']}"
    attempts = until(
        lambda: [one for one in api.get(f"{path}/attempts").json()["items"] if "error" in one], 20, "it failed once"
    )
    header = "Bearer " + attempts[0]["error"]["message"].partition("Bearer ")[2]
    answer = with_token(api, header, "GET", "/functions")
    api.post(f"{path}/cancel")
    assert answer.status_code == 401


CLIENT = {"name": "for ever", "capabilities": [may("functions", "READ")]}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/kvern/clients", None),
        ("POST", "/kvern/clients", CLIENT),
        ("POST", "/kvern/clients/rotate", {"clientId": "of the administrator"}),
        ("POST", "/kvern/clients/delete", {"items": ["of the administrator"]}),
        ("POST", "/kvern/secrets/rotate-master", None),
        ("POST", "/groups", {"items": [{"name": "for ever", "sourceId": "mine", **CLIENT}]}),
        ("POST", "/groups/delete", {"items": [1]}),
    ],
)
def test_nothing_that_lasts_is_made_from_inside_an_administrators_call(
    api: Api, thief: int, method: str, path: str, body: Any
) -> None:
    _, [(code, answer), (reading, _)] = asked(api, thief, (method, path, body), ("GET", "/groups?all=true", None))
    assert (code, reading) == (403, 200)
    assert "inside" in answer["error"]["message"]


def test_a_session_that_a_call_made_and_nobody_took_over_ends_with_the_call(api: Api, thief: int) -> None:
    _, answers = asked(
        api,
        thief,
        *(("POST", "/sessions", {"items": [{kind: True}]}) for kind in ("tokenExchange", "oneshotTokenExchange")),
    )
    made = [body["items"][0] for code, body in answers if code == 200]
    assert len(made) == 2
    shown = api.post("/sessions/byids", {"items": [{"id": one["id"]} for one in made]}).json()["items"]
    assert [one["status"] for one in shown] == ["EXPIRED", "EXPIRED"]
    for one in made:
        refused = api.post(f"/functions/{thief}/call", {"nonce": one["nonce"]})
        assert refused.status_code == 400
        assert "Failed to bind session" in refused.json()["error"]["message"]


def test_a_session_that_a_schedule_took_over_goes_on(api: Api, thief: int) -> None:
    wanted = {"name": "s", "functionId": thief, "cronExpression": "0 0 1 1 *"}
    _, [(code, answer)] = asked(api, thief, ("POST", "/functions/schedules", {"items": [wanted]}))
    assert code == 201, answer
    schedule = answer["items"][0]
    shown = api.post("/sessions/byids", {"items": [{"id": schedule["sessionId"]}]}).json()["items"]
    assert shown[0]["status"] == "ACTIVE"
    api.post("/functions/schedules/delete", {"items": [{"id": schedule["id"]}]})


# Clients and their secrets


def test_a_token_ends_with_the_secret_that_it_was_got_with(api: Api, client_of: Callable[..., Api]) -> None:
    client = client_of("lab", may("functions", "READ"))
    assert client.get("/functions").status_code == 200
    wanted = {"clientId": client.env["IDP_CLIENT_ID"], "project": "lab"}
    rotated = api.post("/kvern/clients/rotate", wanted).json()
    assert client.get("/functions").status_code == 401
    with as_client(api, rotated) as renewed:
        assert renewed.get("/functions").status_code == 200


def test_within_the_overlap_tokens_of_both_secrets_are_good(api: Api, client_of: Callable[..., Api]) -> None:
    client = client_of("lab", may("functions", "READ"))
    wanted = {"clientId": client.env["IDP_CLIENT_ID"], "project": "lab"}
    rotated = api.post("/kvern/clients/rotate", {**wanted, "overlapSeconds": 600}).json()
    with as_client(api, rotated) as renewed:
        client.log_in()  # the old secret
        assert [one.get("/functions").status_code for one in (client, renewed)] == [200, 200]
        api.post("/kvern/clients/rotate", wanted)
        assert [one.get("/functions").status_code for one in (client, renewed)] == [401, 401]


def test_who_looks_after_clients_cannot_remove_one_that_may_do_more(api: Api, client_of: Callable[..., Api]) -> None:
    keeper = client_of("kvern", may("projects", "UPDATE", "LIST"), may("functions", "READ"))
    weak = client_of("kvern", may("functions", "READ"))
    strong = client_of("kvern", may("functions", "READ", "WRITE"))
    admin = api.env["IDP_CLIENT_ID"]
    for several in ([admin], [strong.env["IDP_CLIENT_ID"]], [weak.env["IDP_CLIENT_ID"], admin]):
        assert keeper.post("/kvern/clients/delete", {"items": several}).status_code == 403
    assert [one.get("/functions").status_code for one in (api, strong, weak)] == [200, 200, 200]
    assert keeper.post("/kvern/clients/delete", {"items": [weak.env["IDP_CLIENT_ID"]]}).status_code == 200
    assert weak.get("/functions").status_code == 401


def test_an_upload_link_ends_with_the_client_that_asked_for_it(api: Api, client_of: Callable[..., Api]) -> None:
    client = client_of("lab", may("files", "READ", "WRITE"))
    one = client.post("/files", {"name": "one"}).json()["uploadUrl"]
    [part] = client.post("/files/initmultipartupload?parts=1", {"name": "parts"}).json()["uploadUrls"]
    assert client.http.put(one, content=b"while it is there").status_code == 200
    api.post("/kvern/clients/delete", {"items": [client.env["IDP_CLIENT_ID"]], "project": "lab"})
    for link in (one, part):
        assert client.http.put(link, content=b"afterwards").status_code == 403


# Last, so that the minute has nearly passed


@pytest.mark.timeout(100)
def test_the_token_of_a_scheduled_call_ends_with_the_call_and_not_with_the_schedule(
    api: Api, thief: int, schedule: dict[str, Any]
) -> None:
    path, query = f"/functions/{thief}/calls/list", {"filter": {"scheduleId": schedule["id"], "status": "Completed"}}
    call = until(lambda: api.post(path, query).json()["items"], 75, "it was called")[0]
    header, _ = api.response(call)
    session = api.post("/sessions/byids", {"items": [{"id": schedule["sessionId"]}]}).json()["items"][0]
    assert session["status"] == "ACTIVE", "the session is the schedule's, and goes on"
    assert with_token(api, header, "GET", "/functions").status_code == 401
