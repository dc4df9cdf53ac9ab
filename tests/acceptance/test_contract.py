"""The contract as its clients see it, line by line, over bare HTTP (contract 1, 3, 4, 5, 8)."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.acceptance.api import Api, bundle
from tests.acceptance.server import until

ECHO = """
    import sys, time

    def handle(data):
        if isinstance(data, dict) and "sleep" in data:
            print("began", flush=True)
            time.sleep(data["sleep"])
        if isinstance(data, dict) and "say" in data:
            for line in data["say"]:
                print(line)
        if isinstance(data, dict) and "fail" in data:
            raise ValueError(data["fail"])
        return data.get("return", data) if isinstance(data, dict) else data
"""
GREATEST = 9007199254740991


@pytest.fixture(scope="module")
def echo(api: Api) -> Iterator[int]:
    """A function that does what its data says."""
    function_id = api.ready(ECHO, name="echo", externalId="contract-echo")
    yield function_id
    api.delete(function_id)


@pytest.fixture(scope="module")
def code(api: Api) -> int:
    """A file with a bundle."""
    return api.upload(bundle(handler="def handle(data): return data"))


def post_raw(api: Api, path: str, content: bytes, **headers: str) -> httpx2.Response:
    named = {"content-type": "application/json", **api.headers}
    named.update({key.replace("_", "-"): value for key, value in headers.items()})
    return api.http.post(api.base + path, content=content, headers=named)


def refused(answer: httpx2.Response, status: int) -> dict[str, Any]:
    """The content of the envelope, which holds nothing else."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert list(body) == ["error"]
    assert body["error"]["code"] == status
    assert body["error"]["message"]
    return dict(body["error"])


def items(answer: httpx2.Response, status: int = 200) -> list[dict[str, Any]]:
    assert answer.status_code == status, answer.text
    return list(answer.json()["items"])


def make(api: Api, file_id: int, **fields: Any) -> dict[str, Any]:
    return items(api.post("/functions", {"items": [{"name": "made", "fileId": file_id, **fields}]}), 201)[0]


class TestConventions:
    """Contract 1."""

    @pytest.mark.parametrize(
        ("content", "headers"),
        [
            (b'{"limit": 1}', {}),
            (gzip.compress(b'{"limit": 1}', mtime=0), {"content_encoding": "gzip"}),
            (gzip.compress(b'{"lim', mtime=0) + gzip.compress(b'it": 1}', mtime=0), {"content_encoding": "gzip"}),
            (b"", {"content_encoding": "gzip"}),
            (b"", {}),
            (b'{"limit": 1}', {"content_type": "application/json; charset=utf-8"}),
            (b'{"limit": 1}', {"cdf_version": "alpha"}),
            (b'{"limit": 1, "whatComesNext": [1]}', {}),
            (b'{"limit": null, "filter": null}', {}),
        ],
        ids=["plain", "gzip", "gzip in two", "gzip of nothing", "nothing", "charset", "version", "unknown", "null"],
    )
    def test_every_form_of_a_body_that_clients_send_is_read(
        self, api: Api, content: bytes, headers: dict[str, str]
    ) -> None:
        assert post_raw(api, "/functions/list", content, **headers).status_code == 200

    @pytest.mark.parametrize("path", ["/functions", "/functions/limits", "/functions/status"])
    def test_a_get_that_says_its_empty_body_is_packed_is_answered(self, api: Api, path: str) -> None:
        headers = {"content-encoding": "gzip", "content-type": "application/json"}
        assert api.get(path, headers=headers).status_code == 200

    def test_a_post_without_a_body_is_answered(self, api: Api) -> None:
        answer = api.post("/functions/status", headers={"content-encoding": "gzip", "content-length": "0"})
        assert [answer.status_code, answer.json()] == [202, {"status": "activated"}]

    def test_every_answer_has_a_request_id_of_its_own(self, api: Api) -> None:
        answers = [api.get("/functions"), api.get("/functions"), api.get("/nothing"), api.get("/functions/1")]
        assert len({answer.headers["x-request-id"] for answer in answers}) == 4
        assert {answer.headers["content-type"] for answer in answers} == {"application/json"}

    @pytest.mark.parametrize("path", ["/functions/", "//functions", "/functions/list/", "/files/"])
    def test_nothing_is_redirected(self, api: Api, path: str) -> None:
        refused(api.get(path), 404)

    def test_an_id_of_any_length_is_a_404(self, api: Api) -> None:
        for number in (0, GREATEST, GREATEST + 1, 2**63, 10**30, "9" * 5000):
            refused(api.get(f"/functions/{number}"), 404)
            refused(api.get(f"/files/{number}"), 404)
            refused(api.get(f"/functions/{number}/calls/{number}/logs"), 404)

    @pytest.mark.parametrize("number", [0, -1, GREATEST + 1, 10**30, 1.5, "1", True])
    def test_an_id_in_a_body_that_can_be_none_is_a_400(self, api: Api, number: Any) -> None:
        refused(api.post("/functions/byids", {"items": [{"id": number}]}), 400)
        refused(api.post("/files/byids", {"items": [{"id": number}]}), 400)

    @pytest.mark.parametrize("span", [{"min": 10**30}, {"max": -1}, {"min": "0"}, {"min": 1.5}])
    def test_a_range_that_is_no_time_is_a_400(self, api: Api, echo: int, span: dict[str, Any]) -> None:
        refused(api.post(f"/functions/{echo}/calls/list", {"filter": {"startTime": span}}), 400)
        refused(api.post("/functions/list", {"filter": {"createdTime": span}}), 400)

    @pytest.mark.parametrize("limit", [1, 1000, 10_000, 10**9])
    def test_a_limit_is_clamped_and_never_too_large(self, api: Api, echo: int, limit: int) -> None:
        for path in ("/functions/list", "/functions/schedules/list", f"/functions/{echo}/calls/list", "/files/list"):
            assert len(items(api.post(path, {"limit": limit}))) <= limit
        for path in ("/functions", "/functions/schedules", f"/functions/{echo}/calls", "/files"):
            assert len(items(api.get(f"{path}?limit={limit}"))) <= limit

    @pytest.mark.parametrize("limit", [0, -1, 1.5, "10"])
    def test_a_limit_that_is_none_is_a_400(self, api: Api, echo: int, limit: Any) -> None:
        for path in ("/functions/list", "/functions/schedules/list", f"/functions/{echo}/calls/list", "/files/list"):
            refused(api.post(path, {"limit": limit}), 400)

    def test_links_begin_with_the_address_that_the_client_used(self, api: Api) -> None:
        for host in ("kvern.example", "kvern.example:8443", "my_host:80", "[::1]:8000"):
            made = api.post("/files", {"name": "linked"}, headers={"host": host}).json()
            assert made["uploadUrl"].startswith(f"http://{host}/api/v1/files/upload/")

    @pytest.mark.parametrize("host", ["a/b", "a b", "user@host", "host:port", '"x"'])
    def test_an_address_that_is_none_makes_no_link(self, api: Api, host: str) -> None:
        refused(api.post("/files", {"name": "x"}, headers={"host": host}), 400)

    def test_what_is_not_served_says_what_to_use(self, api: Api) -> None:
        for path in ("/models/instances", "/models/instances/byids", "/models/instances/delete"):
            assert "dataSetExternalId" in refused(api.post(path, {"items": []}), 400)["message"]
        assert "create it anew" in refused(api.post("/functions/update", {"items": []}), 400)["message"]
        assert "upstream" in refused(api.post("/timeseries/list", {}), 404)["message"]

    def test_a_method_that_a_path_does_not_have_names_those_that_it_has(self, api: Api) -> None:
        answer = api.http.delete(f"{api.base}/functions", headers=api.headers)
        refused(answer, 405)
        assert {"GET", "POST"} <= set(answer.headers["allow"].split(", "))


class TestFunctions:
    """Contract 3."""

    def test_a_function_comes_back_as_it_was_sent(self, api: Api, code: int) -> None:
        sent = {
            "name": "  spaces, Ünïcode \U0001f600 and / slashes ",
            "externalId": "fn/Å ?&%2F",
            "fileId": code,
            "owner": "söme@one",
            "description": "two\nlines\t\u2028",
            "metadata": {"Key": "Välue", "snake_case": "", "cdf-hash": "a" * 64},
            "functionPath": "./handler.py",
            "envVars": {"A_1": "x=y", "lower": ""},
            "cpu": 0.5,
            "memory": 1.25,
        }
        made = make(api, code, **sent)
        assert {key: made[key] for key in sent} == sent
        assert made["status"] == "Queued"
        assert not {"error", "lastCalled", "runtimeVersion", "secrets"} & set(made)
        ids = {"items": [{"externalId": sent["externalId"]}]}
        read = items(api.post("/functions/byids", ids))[0]
        assert {key: read[key] for key in sent} == sent
        api.delete(made["id"])

    def test_what_is_secret_is_never_shown(self, api: Api, code: int) -> None:
        made = make(
            api,
            code,
            secrets={"my-key": "hunter2", "b": ""},
            indexUrl="https://me:hunter2@pypi.example/simple",
            extraIndexUrls=["https://me:hunter2@pypi.example/other"],
        )
        assert made["secrets"] == {"my-key": "***", "b": "***"}
        for answer in (api.get(f"/functions/{made['id']}"), api.get("/functions"), api.post("/functions/list", {})):
            assert "hunter2" not in answer.text
            assert "ndexUrl" not in answer.text
        api.delete(made["id"])

    def test_what_is_empty_counts_as_absent_and_what_is_absent_is_left_out(self, api: Api, code: int) -> None:
        made = make(api, code, owner="", description="", metadata={}, functionPath=None, externalId=None)
        assert not {"owner", "description", "externalId", "secrets", "envVars"} & set(made)
        assert [made["metadata"], made["functionPath"]] == [{}, "handler.py"]
        assert None not in made.values()
        api.delete(made["id"])

    @pytest.mark.parametrize(
        ("fields", "good"),
        [
            ({"name": "n" * 140}, True),
            ({"externalId": "é" * 255}, True),
            ({"owner": "o" * 128, "description": "d" * 500}, True),
            ({"owner": "o" * 129}, False),
            ({"description": "d" * 501}, False),
            ({"metadata": {"k" * 32: "v" * 512}}, True),
            ({"metadata": {"k" * 33: ""}}, False),
            ({"metadata": {f"k{i}": "v" * 250 for i in range(16)}}, True),
            ({"metadata": {f"k{i}": "v" * 260 for i in range(16)}}, False),
            ({"secrets": {f"k{i}": "v" for i in range(30)}}, True),
            ({"secrets": {f"k{i}": "v" for i in range(31)}}, False),
            ({"secrets": {"k" * 15: "v" * 24_985}}, True),
            ({"secrets": {"k" * 15: "v" * 24_986}}, False),
            ({"secrets": {"k" * 16: "v"}}, False),
            ({"secrets": {"API_KEY": "v"}}, False),
            ({"secrets": {"indexUrl": "v"}}, False),
            ({"envVars": {f"k{i}": "v" for i in range(100)}}, True),
            ({"envVars": {f"k{i}": "v" for i in range(101)}}, False),
            ({"functionPath": "p" * 500}, True),
            ({"functionPath": "p" * 501}, False),
            ({"cpu": 0, "memory": 0}, True),
            ({"cpu": 3.1}, False),
            ({"memory": 5.1}, False),
            ({"runtime": "py39"}, False),
        ],
    )
    def test_each_constraint_holds_at_its_edge(self, api: Api, code: int, fields: dict[str, Any], good: bool) -> None:
        answer = api.post("/functions", {"items": [{"name": "edge", "fileId": code, **fields}]})
        if good:
            api.delete(items(answer, 201)[0]["id"])
        else:
            refused(answer, 400)

    def test_too_little_is_raised_to_the_least(self, api: Api, code: int) -> None:
        limits = api.get("/functions/limits").json()
        made = make(api, code, cpu=-1, memory=0.0)
        assert [made["cpu"], made["memory"]] == [limits["cpuCores"]["min"], limits["memoryGb"]["min"]]
        api.delete(made["id"])

    def test_limits_and_status_say_what_clients_need(self, api: Api) -> None:
        limits = api.get("/functions/limits").json()
        assert limits["timeoutMinutes"] == 10
        assert limits["responseSizeMb"] == 1
        assert "py311" in limits["runtimes"]
        assert {*limits["cpuCores"]} == {*limits["memoryGb"]} == {"min", "max", "default"}
        assert api.get("/functions/status").json() == {"status": "activated"}

    def test_an_external_id_is_given_once_and_is_free_when_the_delete_answered(self, api: Api, code: int) -> None:
        first = make(api, code, externalId="once")
        error = refused(api.post("/functions", {"items": [{"name": "n", "fileId": code, "externalId": "once"}]}), 409)
        assert error["duplicated"] == [{"externalId": "once"}]
        for _ in range(3):
            assert api.post("/functions/delete", {"items": [{"externalId": "once"}]}).json() == {}
            again = make(api, code, externalId="once")
            assert again["id"] > first["id"]
        api.delete(again["id"])
        assert api.get(f"/files/{code}").json()["uploaded"] is True

    def test_several_come_in_the_order_asked_for(self, api: Api, code: int) -> None:
        ids = [make(api, code, externalId=f"order-{n}")["id"] for n in range(3)]
        asked = [{"id": ids[2]}, {"externalId": "order-0"}, {"id": ids[1]}]
        found = items(api.post("/functions/byids", {"items": asked}))
        assert [function["id"] for function in found] == [ids[2], ids[0], ids[1]]
        for function_id in ids:
            api.delete(function_id)

    def test_unknown_ones_are_named_under_both_spellings_or_left_out(self, api: Api, echo: int) -> None:
        asked = {"items": [{"id": echo}, {"id": 7}, {"externalId": "nobody"}]}
        missing = [{"id": 7}, {"externalId": "nobody", "external_id": "nobody"}]
        assert refused(api.post("/functions/byids", asked), 400)["missing"] == missing
        assert refused(api.post("/functions/delete", asked), 400)["missing"] == missing
        assert api.get(f"/functions/{echo}").status_code == 200
        found = items(api.post("/functions/byids", {**asked, "ignoreUnknownIds": True}))
        assert [function["id"] for function in found] == [echo]
        refused(api.post("/functions/byids", {**asked, "ignoreUnknownIds": None}), 400)
        unknown = {"items": [{"externalId": "nobody"}], "ignoreUnknownIds": True}
        assert api.post("/functions/delete", unknown).json() == {}

    @pytest.mark.parametrize(
        "asked",
        [[], [{}], [{"id": 1, "externalId": "x"}], [{"id": n} for n in range(1, 12)], [{"externalId": "x" * 256}]],
    )
    @pytest.mark.parametrize("path", ["/functions/byids", "/functions/delete"])
    def test_items_that_name_nothing_or_too_much_are_refused(self, api: Api, path: str, asked: Any) -> None:
        refused(api.post(path, {"items": asked, "ignoreUnknownIds": True}), 400)

    def test_one_is_answered_bare_and_an_unknown_one_is_a_404(self, api: Api, echo: int) -> None:
        assert api.get(f"/functions/{echo}").json()["name"] == "echo"
        assert refused(api.get("/functions/7"), 404)["missing"] == [{"id": 7}]

    def test_filters_are_all_applied(self, api: Api, code: int) -> None:
        other = api.upload(bundle(handler="def handle(): return 2"))
        first = make(api, code, name="filter me", owner="Me", externalId="Fil-1", metadata={"a": "1", "b": "2"})
        second = make(api, other, name="filter me", metadata={"a": "1"})
        mine = {first["id"], second["id"]}

        def found(wanted: dict[str, Any]) -> set[int]:
            return {one["id"] for one in items(api.post("/functions/list", {"filter": wanted}))} & mine

        both, one, other_one, none = mine, {first["id"]}, {second["id"]}, set[int]()
        span = {"min": first["createdTime"], "max": first["createdTime"]}
        for wanted, expected in [
            ({}, both),
            ({"name": "filter me"}, both),
            ({"name": "Filter me"}, none),
            ({"owner": "Me"}, one),
            ({"fileId": other}, other_one),
            ({"externalIdPrefix": "Fil-"}, one),
            ({"externalIdPrefix": "fil-"}, none),
            ({"externalIdPrefix": ""}, one),
            ({"metadata": {"a": "1"}}, both),
            ({"metadata": {"a": "1", "b": "2"}}, one),
            ({"metadata": {"a": "2"}}, none),
            ({"createdTime": {"min": first["createdTime"]}}, both),
            ({"createdTime": {"max": first["createdTime"] - 1}}, none),
            ({"name": "filter me", "owner": "You"}, none),
        ]:
            assert found(wanted) == expected, wanted
        assert first["id"] in found({"createdTime": span})
        refused(api.post("/functions/list", {"filter": {"status": "Retired"}}), 400)
        refused(api.post("/functions/list", {"filter": {"status": "ready"}}), 400)
        for made in mine:
            api.delete(made)

    def test_lists_are_oldest_first_and_have_no_cursor(self, api: Api, code: int, echo: int) -> None:
        made = [make(api, code)["id"] for _ in range(3)]
        answer = api.post("/functions/list", {"limit": 10_000})
        assert list(answer.json()) == ["items"]
        listed = [(function["createdTime"], function["id"]) for function in items(answer)]
        assert listed == sorted(listed)
        assert [function_id for _, function_id in listed][-3:] == made
        assert list(api.get("/functions?limit=1").json()) == ["items"]
        for function_id in made:
            api.delete(function_id)


class TestCalls:
    """Contract 4."""

    def test_a_call_is_answered_bare_and_marks_its_function(self, api: Api) -> None:
        function_id = api.ready(ECHO)
        assert "lastCalled" not in api.get(f"/functions/{function_id}").json()
        answer = api.post(f"/functions/{function_id}/call", {"data": {"return": 1}})
        assert answer.status_code == 201
        call = answer.json()
        assert {"id", "functionId", "status", "startTime"} <= set(call)
        assert call["functionId"] == function_id
        ended = api.ended(call)
        assert set(ended) == {"id", "functionId", "status", "startTime", "endTime", "outcome"}
        assert ended["endTime"] >= ended["startTime"]
        assert api.get(f"/functions/{function_id}").json()["lastCalled"] == call["startTime"]
        api.delete(function_id)
        refused(api.get(f"/functions/{function_id}/calls/{call['id']}"), 404)

    @pytest.mark.parametrize(
        "text",
        [
            '{"a": 1.0, "ü": "\\u00fc"}',
            "[1, 2]",
            '"text"',
            "7",
            "true",
            "false",
            '{"n": 123456789012345678901234567890}',
        ],
    )
    def test_data_of_any_kind_gets_to_the_handler(self, api: Api, echo: int, text: str) -> None:
        answer = post_raw(api, f"/functions/{echo}/call", b'{"data": %b}' % text.encode())
        assert answer.status_code == 201, answer.text
        assert api.response(api.ended(answer.json())) == json.loads(text)

    @pytest.mark.parametrize("body", [b"", b"{}", b'{"data": null}', b'{"nonce": null}'])
    def test_data_that_is_absent_is_an_empty_object(self, api: Api, echo: int, body: bytes) -> None:
        answer = post_raw(api, f"/functions/{echo}/call", body)
        assert answer.status_code == 201, answer.text
        assert api.response(api.ended(answer.json())) == {}

    def test_an_error_is_an_object_to_all_and_text_to_the_toolkit(self, api: Api, echo: int) -> None:
        call = api.call(echo, {"fail": "on purpose", "say": ["first"]})
        assert call["status"] == "Failed"
        assert call["error"]["message"] == "ValueError: on purpose"
        assert call["error"]["trace"].startswith("Traceback (most recent call last):")
        path = f"/functions/{echo}/calls"
        for sent, expected in [
            ("CogniteToolkit:0.9.28", "ValueError: on purpose"),
            ("CognitePythonSDK:8.22.0", call["error"]),
            ("", call["error"]),
        ]:
            headers = {"x-cdp-sdk": sent}
            one = api.get(f"{path}/{call['id']}", headers=headers).json()
            several = items(api.post(f"{path}/byids", {"items": [{"id": call["id"]}]}, headers=headers))
            listed = items(api.post(f"{path}/list", {"limit": 1}, headers=headers))
            assert one["error"] == several[0]["error"] == listed[0]["error"] == expected
        body = api.get(f"{path}/{call['id']}/response").json()
        assert body == {"functionId": echo, "callId": call["id"]}
        assert api.logs(call)[0] == "first"
        assert "ValueError: on purpose" in api.logs(call)[-1]

    @pytest.mark.parametrize("value", [None, 0, "", [], {"a": [1.5, None]}, "ü\U0001f600\u2028"])
    def test_a_response_is_what_the_handler_returned(self, api: Api, echo: int, value: Any) -> None:
        call = api.call(echo, {"return": value})
        body = api.get(f"/functions/{echo}/calls/{call['id']}/response").json()
        assert body == {"functionId": echo, "callId": call["id"], "response": value}

    def test_a_log_is_a_line_an_entry_in_order(self, api: Api, echo: int) -> None:
        call = api.call(echo, {"say": ["one", "", "dr\u00fci"]})
        entries = api.get(f"/functions/{echo}/calls/{call['id']}/logs").json()["items"]
        assert [entry["message"] for entry in entries] == ["one", "", "dr\u00fci"]
        assert all(call["startTime"] - 1 <= entry["timestamp"] <= call["endTime"] + 1 for entry in entries)
        silent = api.call(echo, {})
        assert api.get(f"/functions/{echo}/calls/{silent['id']}/logs").json() == {"items": []}

    def test_a_running_call_has_no_end_no_response_and_its_log_so_far(self, api: Api, echo: int) -> None:
        call = api.post(f"/functions/{echo}/call", {"data": {"sleep": 1.5}}).json()
        path = f"/functions/{echo}/calls/{call['id']}"
        until(lambda: api.logs(call) == ["began"], 20, "the call has begun")
        running = api.get(path).json()
        assert running["status"] == "Running"
        assert "endTime" not in running
        assert api.get(f"{path}/response").json() == {"functionId": echo, "callId": call["id"]}
        listed = items(api.post(f"/functions/{echo}/calls/list", {"filter": {"status": "Running"}}))
        assert call["id"] in [one["id"] for one in listed]
        ranged = items(api.post(f"/functions/{echo}/calls/list", {"filter": {"endTime": {"min": 0}}}))
        assert call["id"] not in [one["id"] for one in ranged]
        assert api.ended(call)["status"] == "Completed"

    def test_calls_are_listed_newest_first_page_by_page(self, api: Api) -> None:
        function_id = api.ready(ECHO)
        made = [api.call(function_id, {"n": n}) for n in range(5)]
        path = f"/functions/{function_id}/calls"
        newest_first = [call["id"] for call in reversed(made)]
        seen: list[int] = []
        body: dict[str, Any] = {"limit": 2}
        sizes: list[int] = []
        while True:
            answer = api.post(f"{path}/list", body)
            sizes.append(len(items(answer)))
            seen += [call["id"] for call in items(answer)]
            if "nextCursor" not in answer.json():
                break
            body["cursor"] = answer.json()["nextCursor"]
        assert [seen, sizes] == [newest_first, [2, 2, 1]]
        first = api.get(f"{path}?limit=3").json()
        rest = api.get(f"{path}?limit=3&cursor={first['nextCursor']}").json()
        assert [call["id"] for call in first["items"] + rest["items"]] == newest_first
        assert "nextCursor" not in rest
        assert "nextCursor" not in api.get(f"{path}?limit=5").json()
        for cursor in ("", "nonsense", "MQ", "4oKs", "-1", "9" * 60):
            refused(api.post(f"{path}/list", {"cursor": cursor}), 400)
            refused(api.get(f"{path}?cursor={cursor}"), 400)
        times = [call["startTime"] for call in made]
        for wanted, expected in [
            ({}, newest_first),
            ({"startTime": {"min": times[2], "max": times[2]}}, [made[2]["id"]]),
            ({"endTime": {"max": times[0] - 1}}, []),
            ({"status": "Completed"}, newest_first),
            ({"status": "Failed"}, []),
            ({"scheduleId": 7}, []),
        ]:
            found = [call["id"] for call in items(api.post(f"{path}/list", {"filter": wanted}))]
            assert set(expected) <= set(found), wanted
            assert len(found) >= len(expected) or found == expected
        refused(api.post(f"{path}/list", {"filter": {"status": "Queued"}}), 400)
        api.delete(function_id)
        refused(api.post(f"{path}/list", {}), 404)

    def test_calls_by_ids(self, api: Api, echo: int) -> None:
        first, second = api.call(echo, {"n": 1}), api.call(echo, {"n": 2})
        path = f"/functions/{echo}/calls/byids"
        asked = [{"id": second["id"]}, {"id": first["id"]}]
        assert items(api.post(path, {"items": asked})) == [second, first]
        unknown = {"items": [*asked, {"id": 7}]}
        assert refused(api.post(path, unknown), 400)["missing"] == [{"id": 7}]
        assert items(api.post(path, {**unknown, "ignoreUnknownIds": True})) == [second, first]
        refused(api.post(path, {"items": [*asked, asked[0]]}), 400)
        refused(api.post(path, {"items": []}), 400)
        many = {"items": [{"id": n} for n in range(1, 10_001)], "ignoreUnknownIds": True}
        assert isinstance(items(api.post(path, many)), list)
        many["items"] += [{"id": 10_001}]  # type: ignore[operator]
        refused(api.post(path, many), 400)

    def test_a_call_of_another_function_is_not_there(self, api: Api, echo: int, code: int) -> None:
        call = api.call(echo, {})
        other = make(api, code)["id"]
        assert refused(api.get(f"/functions/{other}/calls/{call['id']}"), 404)["missing"] == [{"id": call["id"]}]
        for what in ("response", "logs"):
            refused(api.get(f"/functions/{other}/calls/{call['id']}/{what}"), 404)
        assert refused(api.post(f"/functions/{other}/calls/byids", {"items": [{"id": call["id"]}]}), 400)["missing"]
        api.delete(other)
        refused(api.post("/functions/7/call", {}), 404)

    def test_a_function_that_is_not_ready_cannot_be_called_and_keeps_the_nonce(self, api: Api, echo: int) -> None:
        file_id = api.upload(bundle(handler="def handle(): return 1", requirements="inflection==0.5.0\n"))
        made = make(api, file_id)
        nonce = items(api.post("/sessions", {"items": [{"tokenExchange": True}]}))[0]["nonce"]
        refused(api.post(f"/functions/{made['id']}/call", {"nonce": nonce}), 400)
        assert api.post(f"/functions/{echo}/call", {"nonce": nonce}).status_code == 201
        api.delete(made["id"])

    def test_a_nonce_that_cannot_be_bound_makes_no_call(self, api: Api, echo: int) -> None:
        newest = items(api.post(f"/functions/{echo}/calls/list", {"limit": 1}))
        assert "nonce" in refused(api.post(f"/functions/{echo}/call", {"nonce": "x" * 32}), 400)["message"]
        assert items(api.post(f"/functions/{echo}/calls/list", {"limit": 1})) == newest


class TestSchedules:
    """Contract 5."""

    def create(self, api: Api, function_id: int, **fields: Any) -> dict[str, Any]:
        body = {"name": "s", "functionId": function_id, "cronExpression": "0 0 1 1 *", **fields}
        return items(api.post("/functions/schedules", {"items": [body]}), 201)[0]

    def delete(self, api: Api, *schedules: dict[str, Any]) -> None:
        answer = api.post("/functions/schedules/delete", {"items": [{"id": one["id"]} for one in schedules]})
        assert [answer.status_code, answer.json()] == [200, {}]

    def test_a_schedule_comes_back_as_it_was_sent(self, api: Api, echo: int) -> None:
        session = items(api.post("/sessions", {"items": [{"tokenExchange": True}]}))[0]
        sent = {"name": " dägli ", "cronExpression": "0  8 * * MON-FRI", "description": "hash: ab/==\n"}
        made = self.create(api, echo, **sent, nonce=session["nonce"], data={})
        assert {key: made[key] for key in sent} == sent
        assert made["sessionId"] == session["id"]
        assert made["when"] == "At 08:00, Monday through Friday"
        assert set(made) == {*sent, "id", "createdTime", "when", "functionId", "sessionId"}
        assert api.get(f"/functions/schedules/{made['id']}").json() == made
        assert items(api.post("/functions/schedules/byids", {"items": [{"id": made["id"]}]})) == [made]
        self.delete(api, made)
        assert items(api.post("/sessions/byids", {"items": [{"id": session["id"]}]}))[0]["status"] == "CANCELLED"
        refused(api.get(f"/functions/schedules/{made['id']}"), 404)

    @pytest.mark.parametrize(
        "text",
        [
            '{"a":1.0,"b":1e300,"c":-0,"d":123456789012345678901234567890}',
            '{"key":1,"key":2}',
            '{ "spaced" : [ 1 ,2 ] }',
            '{"Snake_case":{"camelCase":"\\u00fc","ü":"\\ud83d\\ude00","\\/":"/"}}',
            "{}",
            "[]",
            "0",
            '""',
        ],
    )
    def test_input_data_comes_back_to_the_letter(self, api: Api, echo: int, text: str) -> None:
        body = f'{{"items":[{{"name":"s","functionId":{echo},"cronExpression":"0 0 1 1 *","data":{text}}}]}}'
        made = items(post_raw(api, "/functions/schedules", body.encode()), 201)[0]
        answer = api.get(f"/functions/schedules/{made['id']}/input_data")
        assert answer.text == f'{{"id":{made["id"]},"data":{text}}}'
        self.delete(api, made)

    def test_input_data_that_was_not_given_is_left_out(self, api: Api, echo: int) -> None:
        for fields in ({}, {"data": None}):
            made = self.create(api, echo, **fields)
            assert api.get(f"/functions/schedules/{made['id']}/input_data").json() == {"id": made["id"]}
            assert "data" not in made
            self.delete(api, made)
        refused(api.get("/functions/schedules/7/input_data"), 404)

    def test_a_function_is_named_in_one_way(self, api: Api, echo: int) -> None:
        by_name = {"name": "s", "cronExpression": "0 0 1 1 *", "functionExternalId": "contract-echo"}
        made = items(api.post("/functions/schedules", {"items": [by_name]}), 201)[0]
        assert [made["functionId"], made["functionExternalId"]] == [echo, "contract-echo"]
        self.delete(api, made)
        for fields in (
            {"functionId": echo, "functionExternalId": "contract-echo"},
            {},
            {"functionExternalId": "contract-echo", "nonce": "n"},
            {"functionId": 7},
            {"functionExternalId": "nobody"},
        ):
            refused(
                api.post("/functions/schedules", {"items": [{"name": "s", "cronExpression": "* * * * *", **fields}]}),
                400,
            )

    def test_a_nonce_that_cannot_be_bound_is_told_in_the_words_that_clients_look_for(self, api: Api, echo: int) -> None:
        body = {"name": "s", "functionId": echo, "cronExpression": "* * * * *", "nonce": "used"}
        error = refused(api.post("/functions/schedules", {"items": [body]}), 400)
        assert "Failed to bind session" in error["message"]

    def test_input_data_over_the_limit_is_refused(self, api: Api, echo: int) -> None:
        body = {"name": "s", "functionId": echo, "cronExpression": "* * * * *", "data": "x" * 9_100_000}
        refused(api.post("/functions/schedules", {"items": [body]}), 413)

    def test_filters_are_all_applied(self, api: Api, echo: int) -> None:
        by_id = self.create(api, echo, name="one", cronExpression="1 0 1 1 *")
        named = {"name": "two", "cronExpression": "0 0 1 1 *", "functionExternalId": "contract-echo"}
        by_name = items(api.post("/functions/schedules", {"items": [named]}), 201)[0]
        mine = [by_id["id"], by_name["id"]]

        def found(wanted: dict[str, Any]) -> list[int]:
            listed = items(api.post("/functions/schedules/list", {"filter": wanted}))
            return [one["id"] for one in listed if one["id"] in mine]

        for wanted, expected in [
            ({}, mine),
            ({"name": "one"}, mine[:1]),
            ({"functionId": echo}, mine),
            ({"FunctionId": echo}, mine),
            ({"functionExternalId": "contract-echo"}, mine),
            ({"FunctionExternalId": "contract-echo"}, mine),
            ({"functionExternalId": "nobody"}, []),
            ({"cronExpression": "0 0 1 1 *"}, mine[1:]),
            ({"cronExpression": "0 0 1 1"}, []),
            ({"createdTime": {"max": by_id["createdTime"] - 1}}, []),
            ({"functionId": echo, "name": "two"}, mine[1:]),
        ]:
            assert found(wanted) == expected, wanted
        refused(
            api.post(
                "/functions/schedules/list", {"filter": {"functionId": echo, "functionExternalId": "contract-echo"}}
            ),
            400,
        )
        assert [one["id"] for one in items(api.get("/functions/schedules")) if one["id"] in mine] == mine
        self.delete(api, by_id, by_name)

    def test_unknown_ones_are_named_and_nothing_is_deleted(self, api: Api, echo: int) -> None:
        made = self.create(api, echo)
        asked = {"items": [{"id": made["id"]}, {"id": 7}]}
        assert refused(api.post("/functions/schedules/byids", asked), 400)["missing"] == [{"id": 7}]
        assert items(api.post("/functions/schedules/byids", {**asked, "ignoreUnknownIds": True})) == [made]
        assert refused(api.post("/functions/schedules/delete", asked), 400)["missing"] == [{"id": 7}]
        assert api.get(f"/functions/schedules/{made['id']}").status_code == 200
        twice = {"items": [{"id": made["id"]}, {"id": made["id"]}]}
        refused(api.post("/functions/schedules/byids", twice), 400)
        assert api.post("/functions/schedules/delete", twice).json() == {}

    def test_schedules_go_with_their_function(self, api: Api, code: int) -> None:
        function_id = make(api, code)["id"]
        made = self.create(api, function_id)
        api.delete(function_id)
        refused(api.get(f"/functions/schedules/{made['id']}"), 404)
        assert made["id"] not in [one["id"] for one in items(api.get("/functions/schedules?limit=1000"))]


class TestDataSets:
    """Contract 8, as far as the Toolkit needs it."""

    def create(self, api: Api, **fields: Any) -> dict[str, Any]:
        return items(api.post("/datasets", {"items": [fields]}))[0]

    def unique(self) -> str:
        return f"ds-{time.time_ns()}"

    def test_a_data_set_comes_back_as_it_was_sent(self, api: Api) -> None:
        sent = {
            "externalId": self.unique(),
            "name": "n" * 50,
            "description": "ü",
            "metadata": {"a": "b", "console": "{}"},
            "writeProtected": True,
        }
        made = self.create(api, **sent)
        assert {key: made[key] for key in sent} == sent
        assert set(made) == {*sent, "id", "createdTime", "lastUpdatedTime"}
        asked = {"items": [{"externalId": sent["externalId"]}, {"id": made["id"]}]}
        assert items(api.post("/datasets/byids", asked)) == [made, made]
        bare = self.create(api)
        assert bare["writeProtected"] is False
        assert set(bare) == {"id", "writeProtected", "createdTime", "lastUpdatedTime"}

    def test_unknown_ones_are_named_or_left_out(self, api: Api) -> None:
        asked = {"items": [{"externalId": "nobody"}, {"id": 7}]}
        missing = [{"externalId": "nobody"}, {"id": 7}]
        assert refused(api.post("/datasets/byids", asked), 400)["missing"] == missing
        assert items(api.post("/datasets/byids", {**asked, "ignoreUnknownIds": True})) == []
        unknown = {"items": [{"externalId": "nobody", "update": {"name": {"set": "x"}}}]}
        assert refused(api.post("/datasets/update", unknown), 400)["missing"] == missing[:1]

    def test_an_external_id_is_given_once_and_all_or_none_are_made(self, api: Api) -> None:
        taken, free = self.unique(), self.unique()
        self.create(api, externalId=taken)
        error = refused(api.post("/datasets", {"items": [{"externalId": free}, {"externalId": taken}]}), 409)
        assert error["duplicated"] == [{"externalId": taken}]
        refused(api.post("/datasets", {"items": [{"externalId": free}, {"externalId": free}]}), 409)
        refused(api.post("/datasets/byids", {"items": [{"externalId": free}]}), 400)
        made = self.create(api, externalId=free)
        change = {"items": [{"id": made["id"], "update": {"externalId": {"set": taken}}}]}
        assert refused(api.post("/datasets/update", change), 409)["duplicated"] == [{"externalId": taken}]

    @pytest.mark.parametrize(
        "wrong",
        [
            [{"name": "n" * 51}],
            [{"description": "d" * 501}],
            [{"metadata": {"k" * 129: ""}}],
            [{"metadata": {"k": "v" * 10_240}}],
            [{}] * 11,
            [],
        ],
    )
    def test_what_breaks_a_constraint_is_refused(self, api: Api, wrong: Any) -> None:
        refused(api.post("/datasets", {"items": wrong}), 400)

    def test_fields_are_set_cleared_added_to_and_removed_from(self, api: Api) -> None:
        made = self.create(api, externalId=self.unique(), name="old", description="old", metadata={"a": "1", "b": "2"})
        update = {
            "name": {"set": "new"},
            "description": {"setNull": True},
            "metadata": {"add": {"c": "3"}, "remove": ["a", "z"]},
            "writeProtected": {"set": True},
        }
        changed = items(api.post("/datasets/update", {"items": [{"externalId": made["externalId"], "update": update}]}))
        assert changed[0]["metadata"] == {"b": "2", "c": "3"}
        assert [changed[0]["name"], changed[0]["writeProtected"]] == ["new", True]
        assert "description" not in changed[0]
        assert changed[0]["externalId"] == made["externalId"]
        for wrong in ({"name": {"set": "n" * 51}}, {"name": {}}, {"name": {"set": "x", "setNull": True}}):
            refused(api.post("/datasets/update", {"items": [{"id": made["id"], "update": wrong}]}), 400)
        assert items(api.post("/datasets/byids", {"items": [{"id": made["id"]}]})) == changed

    def test_they_are_listed_page_by_page_and_filtered(self, api: Api) -> None:
        prefix = self.unique()
        made = [self.create(api, externalId=f"{prefix}-{n}", metadata={"n": str(n)}) for n in range(3)]
        wanted = {"externalIdPrefix": prefix}
        first = api.post("/datasets/list", {"filter": wanted, "limit": 2}).json()
        rest = api.post("/datasets/list", {"filter": wanted, "limit": 2, "cursor": first["nextCursor"]}).json()
        assert first["items"] + rest["items"] == made
        assert "nextCursor" not in rest
        both = {**wanted, "metadata": {"n": "1"}, "writeProtected": False}
        assert items(api.post("/datasets/list", {"filter": both})) == [made[1]]
        assert items(api.post("/datasets/list", {"filter": {**wanted, "writeProtected": True}})) == []
        refused(api.post("/datasets/list", {"cursor": "nonsense"}), 400)

    def test_there_are_no_security_categories_and_a_file_that_names_one_is_refused(self, api: Api) -> None:
        assert api.get("/securitycategories?sort=ASC&limit=100").json() == {"items": []}
        error = refused(api.post("/files", {"name": "f", "securityCategories": [1]}), 400)
        assert "data set" in error["message"]
