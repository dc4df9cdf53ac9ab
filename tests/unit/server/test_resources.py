"""Functions, schedules, sessions and files over HTTP: statuses, shapes, and the order of what clients do."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.fakes import PROJECT, until
from tests.unit.server.conftest import Web, error_of


async def created(web: Web, **fields: Any) -> dict[str, Any]:
    body = {"name": "f", "fileId": await web.p.upload(), **fields}
    answer = await web.post("/functions", {"items": [body]})
    assert answer.status_code == 201, answer.text
    (made,) = answer.json()["items"]
    return dict(made)


async def ready(web: Web, **fields: Any) -> int:
    made = await created(web, **fields)
    function = web.p.service.functions.get(PROJECT, made["id"])
    await until(lambda: function.record.status == "Ready")
    return int(made["id"])


async def nonce(web: Web) -> str:
    answer = await web.post("/sessions", {"items": [{"tokenExchange": True}]})
    return str(answer.json()["items"][0]["nonce"])


# Functions


async def test_a_function_from_upload_to_ready_as_clients_do_it(web: Web) -> None:
    file = (await web.post("/files", {"name": "f.zip", "externalId": "fx"}, params={"overwrite": "true"})).json()
    assert (await web.http.put(file["uploadUrl"], content=b"a zip")).status_code in (200, 201)
    (shown,) = (await web.post("/files/byids", {"items": [{"id": file["id"]}]})).json()["items"]
    assert shown["uploaded"] is True
    fields = {
        "externalId": "fx",
        "functionPath": "./src/handler.py",
        "secrets": {"k": "v"},
        "envVars": {"A": "1"},
        "cpu": 1.0,
        "metadata": {"M_m": "1"},
        "indexUrl": "https://u:p@host/simple",
        "extraIndexUrls": ["https://host2/simple"],
    }
    answer = await web.post("/functions", {"items": [{"name": "fn a", "fileId": file["id"], **fields}]})
    assert answer.status_code == 201
    (made,) = answer.json()["items"]
    assert made == {
        "id": made["id"],
        "createdTime": web.p.clock.now(),
        "status": "Queued",
        "name": "fn a",
        "fileId": file["id"],
        "externalId": "fx",
        "functionPath": "./src/handler.py",
        "secrets": {"k": "***"},
        "envVars": {"A": "1"},
        "cpu": 1.0,
        "memory": 1.5,
        "runtime": "py313",
        "metadata": {"M_m": "1"},
    }
    function = web.p.service.functions.get(PROJECT, made["id"])
    await until(lambda: function.record.status == "Ready")
    last = {**made, "status": "Ready", "runtimeVersion": "Python 3.13.5"}
    assert (await web.get(f"/functions/{made['id']}")).json() == last
    assert (await web.post("/functions/byids", {"items": [{"externalId": "fx"}]})).json() == {"items": [last]}
    assert (await web.post("/functions/list", {})).json() == {"items": [last]}
    assert (await web.get("/functions")).json() == {"items": [last]}
    assert (await web.post("/functions/delete", {"items": [{"externalId": "fx"}]})).json() == {}
    error_of(await web.get(f"/functions/{made['id']}"), 404)


async def test_a_failed_function_shows_an_error_of_two_strings(web: Web) -> None:
    web.p.builder.fails = RuntimeError("no")
    made = await created(web)
    function = web.p.service.functions.get(PROJECT, made["id"])
    await until(lambda: function.record.status == "Failed")
    shown = (await web.get(f"/functions/{made['id']}")).json()
    assert set(shown["error"]) == {"message", "trace"}
    assert all(isinstance(value, str) for value in shown["error"].values())


async def test_a_taken_external_id_is_409(web: Web) -> None:
    await created(web, externalId="fx")
    answer = await web.post("/functions", {"items": [{"name": "f", "fileId": 1, "externalId": "fx"}]})
    assert error_of(answer, 409)["duplicated"] == [{"externalId": "fx"}]


async def test_unknown_functions_in_a_body_are_400_in_both_spellings(web: Web) -> None:
    items = [{"id": 4711}, {"externalId": "x"}]
    missing = [{"id": 4711}, {"externalId": "x", "external_id": "x"}]
    for path in ("/functions/byids", "/functions/delete"):
        assert error_of(await web.post(path, {"items": items}), 400)["missing"] == missing
    assert (await web.post("/functions/byids", {"items": items, "ignoreUnknownIds": True})).json() == {"items": []}
    assert (await web.post("/functions/delete", {"items": items, "ignoreUnknownIds": True})).json() == {}


async def test_the_service_is_always_activated(web: Web) -> None:
    assert (await web.get("/functions/status")).json() == {"status": "activated"}
    answer = await web.post("/functions/status")
    assert (answer.status_code, answer.json()) == (202, {"status": "activated"})


async def test_limits(web: Web) -> None:
    assert (await web.get("/functions/limits")).json() == {
        "timeoutMinutes": 10,
        "cpuCores": {"min": 0.1, "max": 3.0, "default": 1.0},
        "memoryGb": {"min": 0.1, "max": 5.0, "default": 1.5},
        "runtimes": ["py310", "py311", "py312", "py313", "py314"],
        "responseSizeMb": 1,
    }


# Schedules


async def test_a_schedule_from_creation_to_deletion(web: Web) -> None:
    function_id = await ready(web)
    fields = {"name": "daily", "functionId": function_id, "cronExpression": "0 8 * * *", "description": "d"}
    session = (await web.post("/sessions", {"items": [{"tokenExchange": True}]})).json()["items"][0]
    answer = await web.post(
        "/functions/schedules", {"items": [{**fields, "data": {"B": 1, "a": None}, "nonce": session["nonce"]}]}
    )
    assert answer.status_code == 201
    (made,) = answer.json()["items"]
    assert made == {
        **fields,
        "id": made["id"],
        "createdTime": web.p.clock.now(),
        "when": "At 08:00",
        "sessionId": session["id"],
    }
    one = f"/functions/schedules/{made['id']}"
    assert (await web.get(one)).json() == made
    assert (await web.get(f"{one}/input_data")).json() == {"id": made["id"], "data": {"B": 1, "a": None}}
    assert (await web.get("/functions/schedules")).json() == {"items": [made]}
    assert (await web.post("/functions/schedules/byids", {"items": [{"id": made["id"]}]})).json() == {"items": [made]}
    for wanted, found in (
        ({"functionId": function_id}, [made]),
        ({"FunctionId": function_id}, [made]),
        ({"name": "other"}, []),
    ):
        assert (await web.post("/functions/schedules/list", {"filter": wanted})).json() == {"items": found}
    assert (await web.post("/functions/schedules/delete", {"items": [{"id": made["id"]}]})).json() == {}
    assert error_of(await web.get(one), 404)["missing"] == [{"id": made["id"]}]
    again = await web.post("/functions/schedules/delete", {"items": [{"id": made["id"]}]})
    assert error_of(again, 400)["missing"] == [{"id": made["id"]}]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"cronExpression": "@daily"}, "five fields"),
        ({"nonce": "made-up"}, "Failed to bind session"),
        ({"functionId": 4711}, "existing function"),
    ],
)
async def test_a_schedule_that_cannot_be_is_400(web: Web, fields: dict[str, Any], told: str) -> None:
    body = {"name": "s", "functionId": await ready(web), "cronExpression": "* * * * *", "nonce": await nonce(web)}
    answer = await web.post("/functions/schedules", {"items": [{**body, **fields}]})
    assert told in error_of(answer, 400)["message"]
    assert (await web.get("/functions/schedules")).json() == {"items": []}


# Sessions


async def test_a_session_from_creation_to_revocation(web: Web) -> None:
    answer = await web.post("/sessions", {"items": [{"oneshotTokenExchange": True}]})
    assert answer.status_code == 200
    (made,) = answer.json()["items"]
    assert set(made) == {"id", "status", "type", "nonce"}
    assert (made["status"], made["type"]) == ("READY", "ONESHOT_TOKEN_EXCHANGE")
    (listed,) = (await web.get("/sessions")).json()["items"]
    assert set(listed) == {"id", "status", "type", "creationTime", "expirationTime"}
    assert (await web.post("/sessions/byids", {"items": [{"id": made["id"]}]})).json() == {"items": [listed]}
    (revoked,) = (await web.post("/sessions/revoke", {"items": [{"id": made["id"]}]})).json()["items"]
    assert revoked == {**listed, "status": "REVOKED"}
    for status, found in (("revoked", 1), ("REVOKED", 1), ("Revoked", 1), ("ready", 0), ("expired", 0)):
        answer = await web.get("/sessions", params={"status": status})
        assert (answer.status_code, len(answer.json()["items"])) == (200, found)
    assert "READY" in error_of(await web.get("/sessions", params={"status": "done"}), 400)["message"]


async def test_who_may_revoke_but_not_list_sees_ids_only(web: Web) -> None:
    made = (await web.post("/sessions", {"items": [{"tokenExchange": True}]})).json()["items"][0]
    web.token = await web.as_client("sessionsAcl:DELETE")
    answer = await web.post("/sessions/revoke", {"items": [{"id": made["id"]}]})
    assert answer.json() == {"items": [{"id": made["id"]}]}


async def test_bad_client_credentials_are_400_and_not_told_again(web: Web) -> None:
    answer = await web.post("/sessions", {"items": [{"clientId": "nobody", "clientSecret": "hunter2"}]})
    assert "hunter2" not in str(error_of(answer, 400))


# Files


async def test_a_file_from_creation_to_deletion(web: Web) -> None:
    answer = await web.post("/files", {"name": "a.zip", "externalId": "x", "metadata": {"A_b": ""}})
    assert answer.status_code == 201
    made = answer.json()
    assert set(made) == {
        "id", "name", "externalId", "metadata", "uploaded", "createdTime", "lastUpdatedTime", "uploadUrl",
    }  # fmt: skip
    assert "duplicated" in error_of(await web.post("/files", {"name": "a.zip", "externalId": "x"}), 409)
    assert (await web.http.put(made["uploadUrl"], content=b"abc")).status_code == 200
    shown = (await web.get(f"/files/{made['id']}")).json()
    assert (shown["uploaded"], shown["metadata"]) == (True, {"A_b": ""})
    assert "uploadUrl" not in shown
    links = (await web.post("/files/downloadlink", {"items": [{"externalId": "x"}]})).json()["items"]
    assert [set(link) for link in links] == [{"externalId", "downloadUrl"}]
    assert (await web.http.get(links[0]["downloadUrl"])).content == b"abc"
    assert (await web.post("/files/delete", {"items": [{"externalId": "x"}]})).json() == {}
    error_of(await web.http.get(links[0]["downloadUrl"]), 404)
    assert error_of(await web.post("/files/delete", {"items": [{"id": made["id"]}]}), 400)["missing"] == [
        {"id": made["id"]}
    ]


async def test_a_name_that_would_break_a_header_is_told_safely(web: Web) -> None:
    made = (await web.post("/files", {"name": 'a"; b\r\nx: y æ/../c.zip'})).json()
    await web.http.put(made["uploadUrl"], content=b"abc")
    link = (await web.post("/files/downloadlink", {"items": [{"id": made["id"]}]})).json()["items"][0]["downloadUrl"]
    answer = await web.http.get(link)
    assert answer.content == b"abc"
    assert "x" not in answer.headers
    assert answer.headers["content-disposition"].isascii()


async def test_a_part_of_a_file_may_be_asked_for(web: Web) -> None:
    file_id = await web.p.upload(b"0123456789")
    link = (await web.post("/files/downloadlink", {"items": [{"id": file_id}]})).json()["items"][0]["downloadUrl"]
    answer = await web.http.get(link, headers={"range": "bytes=2-4"})
    assert (answer.status_code, answer.content) == (206, b"234")


async def test_an_upload_that_is_too_large_is_413_and_leaves_the_file_empty(web: Web) -> None:
    web.p.service.uploads._limit = 10
    made = (await web.post("/files", {"name": "a.zip"})).json()
    error_of(await web.http.put(made["uploadUrl"], content=b"x" * 11), 413)
    assert (await web.get(f"/files/{made['id']}")).json()["uploaded"] is False


async def test_an_upload_is_taken_as_it_comes_whatever_its_headers_say(web: Web) -> None:
    made = (await web.post("/files", {"name": "a.zip"})).json()
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert (await web.http.put(made["uploadUrl"], content=b"\x1f\x8bnot gzip", headers=headers)).status_code == 200
    link = (await web.post("/files/downloadlink", {"items": [{"id": made["id"]}]})).json()["items"][0]["downloadUrl"]
    assert (await web.http.get(link)).content == b"\x1f\x8bnot gzip"
