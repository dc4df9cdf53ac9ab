"""Plain HTTP, as with curl, to the endpoints that the other acceptance tests reach only through some client."""

from __future__ import annotations

from tests.acceptance.api import Api


def test_who_one_is_and_where(api: Api) -> None:
    project = api.env["CDF_PROJECT"]
    inspected = api.http.get(f"{api.root}/api/v1/token/inspect", headers=api.headers).json()
    assert [one["projectUrlName"] for one in inspected["projects"]] == [project]
    shown = api.get("").json()
    assert [shown["urlName"], shown["userProfilesConfiguration"]] == [project, {"enabled": False}]
    profile = api.get("/profiles/me").json()
    assert [profile["userIdentifier"], profile["identityType"]] == [inspected["subject"], "SERVICE_PRINCIPAL"]
    groups = api.get("/groups", params={"all": "false"}).json()["items"]
    assert [group["id"] for group in groups] == inspected["projects"][0]["groups"]


def test_a_session_is_listed_until_it_is_revoked(api: Api) -> None:
    made = api.post("/sessions", {"items": [{"oneshotTokenExchange": True}]}).json()["items"][0]
    ready = api.get("/sessions", params={"status": "ready", "limit": 1000}).json()["items"]
    assert made["id"] in [session["id"] for session in ready]
    revoked = api.post("/sessions/revoke", {"items": [{"id": made["id"]}]}).json()["items"]
    assert [[session["id"], session["status"]] for session in revoked] == [[made["id"], "REVOKED"]]


def test_a_client_is_made_rotated_and_removed(api: Api) -> None:
    grant = [{"functionsAcl": {"actions": ["READ"], "scope": {"all": {}}}}]
    made = api.post("/kvern/clients", {"name": "of a dashboard", "capabilities": grant}).json()
    listed = {one["clientId"]: one for one in api.get("/kvern/clients").json()["items"]}
    assert listed[made["clientId"]]["capabilities"] == grant
    assert "clientSecret" not in listed[made["clientId"]]
    rotated = api.post("/kvern/clients/rotate", {"clientId": made["clientId"]}).json()
    assert rotated["clientSecret"] != made["clientSecret"]
    assert api.post("/kvern/clients/delete", {"items": [made["clientId"]]}).status_code == 200
    assert made["clientId"] not in [one["clientId"] for one in api.get("/kvern/clients").json()["items"]]


def test_secrets_outlive_the_master_key(api: Api) -> None:
    function = api.ready("def handle(secrets): return secrets", secrets={"api-key": "s3cret"})
    assert api.post("/kvern/secrets/rotate-master").status_code == 200
    assert api.response(api.call(function)) == {"api-key": "s3cret"}
    api.delete(function)


def test_a_function_app_answers_in_the_same_request(api: Api) -> None:
    function = api.ready("def handle(data): print(data['path']); return data['method']", externalId="app/plain")
    calls = "/function-apps/app%2Fplain/calls"
    asked = {"path": "/items/1", "method": "GET", "body": {}}
    answer = api.post(calls, {"data": asked})
    assert answer.status_code == 200, answer.text
    call = answer.json()
    assert [call["runtimeStatus"], call["functionId"]] == ["Completed", function]
    one = f"{calls}/{call['callId']}"
    assert api.get(one).json()["status"] == "Completed"
    assert api.get(f"{one}/response").json()["response"] == "GET"
    assert [line["message"] for line in api.get(f"{one}/logs").json()["items"]] == ["/items/1"]
    assert [listed["id"] for listed in api.get(calls).json()["items"]] == [call["callId"]]
    assert function in [app["id"] for app in api.get("/function-apps").json()["items"]]
    api.delete(function)


def test_the_service_tells_how_it_is(api: Api) -> None:
    assert api.http.get(f"{api.root}/health").json()["status"] == "ok"
    ready = api.http.get(f"{api.root}/ready")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "reasons": {}})
    assert api.http.get(f"{api.root}/metrics").status_code == 401
    shown = api.http.get(f"{api.root}/metrics", headers=api.headers).text
    for line in ("kvern_hosts ", 'kvern_workers{state="idle"} ', "kvern_journal_commit_seconds_count "):
        assert f"\n{line}" in shown
    assert "process_resident_memory_bytes" in shown
