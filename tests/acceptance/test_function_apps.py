"""Function Apps: one deployed and called by its own client, and the paths below it over bare HTTP (contract 10)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.acceptance.api import Api, bundle
from tests.acceptance.driver import Driver
from tests.acceptance.server import Server, until
from tests.acceptance.test_contract import refused
from tests.environments import kept_environment

PACKAGE = "cognite-function-apps==0.15.0"
NAME = "my app/ü 1"
"""Its external id, with what a path must escape."""

APP = """
    from cognite.client import CogniteClient
    from cognite_function_apps import FunctionApp, Response, create_function_service
    from pydantic import BaseModel

    app = FunctionApp(title="Pumps", version="1.2.3")

    class Pump(BaseModel):
        name: str
        speed: float

    class Found(BaseModel):
        id: int
        pump: Pump
        project: str

    @app.get("/pumps/{pump_id}")
    def get_pump(client: CogniteClient, pump_id: int, fast: bool = False) -> Found:
        "One pump"
        print("looked up", pump_id)
        return Found(id=pump_id, pump=Pump(name="P", speed=2.0 if fast else 1.0), project=client.config.project)

    @app.post("/pumps")
    async def add_pump(client: CogniteClient, pump: Pump) -> Found:
        return Found(id=7, pump=pump, project=client.config.project)

    @app.get("/crash")
    def crash(client: CogniteClient) -> dict:
        raise ValueError("on purpose")

    handle = create_function_service(app)
"""

PLAIN = """
    import os, time

    def handle(data):
        print("began", flush=True)
        time.sleep(data.get("sleep", 0))
        if "fail" in data:
            raise ValueError(data["fail"])
        if "exit" in data:
            os._exit(3)
        return {"statusCode": 200, "data": data}
"""


@pytest.fixture(scope="module")
def apps(server: Server) -> Iterator[Driver]:
    """The client of Function Apps, in an environment of its own, made once and kept for later runs."""
    python = kept_environment("test-function-apps", PACKAGE) / "bin" / "python"
    with Driver(python, server.environment(), lambda method: None) as driver:
        yield driver


@pytest.fixture(scope="module")
def pumps(api: Api) -> Iterator[str]:
    content = bundle(handler=APP, requirements=f"{PACKAGE}\n")
    function = api.deployed(content, name="pumps", externalId=NAME)
    assert function["status"] == "Ready", function["error"]
    yield NAME
    api.delete(function["id"])


@pytest.fixture(scope="module")
def plain(api: Api) -> Iterator[int]:
    function_id = api.ready(PLAIN, externalId="plain")
    yield function_id
    api.delete(function_id)


def path(name: str, rest: str = "") -> str:
    return f"/function-apps/{quote(name, safe='')}/calls{rest}"


class TestAnApp:
    def test_its_client_finds_its_methods_and_calls_them(self, apps: Driver, pumps: str) -> None:
        result = apps.run(
            f"""
            from cognite_function_apps.client import FunctionClient
            app = FunctionClient(cognite_client=client, function_external_id={pumps!r})
            models = app.discover()
            found = app.get_pump(pump_id=12, fast=True)
            made = app.add_pump(pump=models.Pump(name="new", speed=3.5))
            result = [type(found).__name__, found.model_dump(), made.pump["name"], made.project]
            """
        )
        project = apps.run("result = client.config.project")
        assert result == [
            "Found",
            {"id": 12, "pump": {"name": "P", "speed": 2.0}, "project": project},
            "new",
            project,
        ]

    def test_its_client_is_told_what_the_app_refused(self, apps: Driver, pumps: str) -> None:
        result = apps.run(
            f"""
            from cognite_function_apps import BaseFunctionClient, HTTPMethod
            app = BaseFunctionClient(cognite_client=client, function_external_id={pumps!r})
            result = []
            for path, method in (("/crash", "GET"), ("/nothing", "GET"), ("/pumps/x", "GET"), ("/pumps/1", "DELETE")):
                try:
                    app._call_method(path, HTTPMethod(method))
                except RuntimeError as error:
                    result.append(str(error).partition(":")[0])
            result.append(app._call_method("/__ping__", HTTPMethod.GET))
            """
        )
        assert result == ["ExecutionError", "RouteNotFound", "ValidationError", "MethodNotAllowed", {"status": "pong"}]

    def test_it_is_an_ordinary_function_as_well(self, api: Api, pumps: str) -> None:
        function = api.post("/functions/byids", {"items": [{"externalId": pumps}]}).json()["items"][0]
        call = api.call(function["id"], {"path": "/pumps/3", "method": "GET", "body": {}})
        assert api.response(call)["data"]["id"] == 3
        assert "looked up 3" in api.logs(call)


class TestItsPaths:
    """With a function that is no app, to see what the service itself does."""

    def call(self, api: Api, data: Any, status: int = 200, **headers: str) -> dict[str, Any]:
        answer = api.post(path("plain"), {"data": data}, headers=headers)
        assert answer.status_code == status, answer.text
        return {**answer.json(), "headers": dict(answer.headers)}

    def test_a_call_is_answered_when_it_has_ended(self, api: Api, plain: int) -> None:
        body = {"path": "/x?y=1", "method": "GET", "body": {"Key": 1.0}}
        nonce = api.post("/sessions", {"items": [{"tokenExchange": True}]}).json()["items"][0]["nonce"]
        answer = api.post(path("plain"), {"data": {**body, "sleep": 0.5}, "nonce": nonce})
        assert answer.status_code == 200
        ended = answer.json()
        assert ended["runtimeStatus"] == "Completed"
        assert ended["response"] == {"statusCode": 200, "data": {**body, "sleep": 0.5}}
        assert set(ended) == {"callId", "functionId", "runtimeStatus", "response"}
        assert ended["functionId"] == plain
        kept = api.get(f"/functions/{plain}/calls/{ended['callId']}").json()
        assert kept["status"] == "Completed"
        refused(api.post(path("plain"), {"data": body, "nonce": nonce}), 400)

    @pytest.mark.parametrize(
        ("data", "told"), [({"fail": "on purpose"}, "ValueError: on purpose"), ({"exit": True}, "3")]
    )
    def test_a_call_that_fails_says_why(self, api: Api, plain: int, data: dict[str, Any], told: str) -> None:
        ended = self.call(api, data)
        assert ended["runtimeStatus"] == "Failed"
        assert ended["error"]["code"] == 500
        assert told in ended["error"]["message"]
        assert "response" not in ended

    def test_who_prefers_not_to_wait_is_told_where_to_look(self, api: Api, plain: int) -> None:
        begun = self.call(api, {"sleep": 1}, 202, prefer="respond-async")
        assert [begun["runtimeStatus"], begun["functionId"]] == ["Running", plain]
        assert begun["headers"]["preference-applied"] == "respond-async"
        where = begun["headers"]["location"]
        assert where.startswith("/api/v1/projects/")

        def ended() -> bool:
            return api.http.get(api.root + where, headers=api.headers).json()["status"] == "Completed"

        until(ended, 20, "the call has ended")
        response = api.http.get(f"{api.root}{where}/response", headers=api.headers).json()
        assert response == {
            "functionId": plain,
            "callId": begun["callId"],
            "response": {"statusCode": 200, "data": {"sleep": 1}},
        }
        logs = api.http.get(f"{api.root}{where}/logs", headers=api.headers).json()["items"]
        assert [entry["message"] for entry in logs] == ["began"]

    def test_who_waits_a_while_gets_the_end_if_it_comes_in_time(self, api: Api, plain: int) -> None:
        ended = self.call(api, {}, 200, prefer="respond-async, wait=20")
        assert [ended["runtimeStatus"], ended["headers"]["preference-applied"]] == [
            "Completed",
            "respond-async, wait=20",
        ]
        begun = self.call(api, {"sleep": 3}, 202, prefer='respond-async, wait="1"')
        assert begun["runtimeStatus"] == "Running"
        ended = api.get(f"/functions/{plain}/calls/{begun['callId']}", headers={"prefer": "wait=20"}).json()
        assert ended["status"] == "Completed"

    def test_calls_are_listed_as_those_of_the_function(self, api: Api, plain: int) -> None:
        self.call(api, {})
        for query in ("", "?limit=1"):
            assert api.get(path("plain") + query).json() == api.get(f"/functions/{plain}/calls{query}").json()
        listed = api.get("/function-apps?limit=1000").json()["items"]
        assert plain in [function["id"] for function in listed]
        assert all("externalId" in function for function in listed)

    def test_what_is_not_there_is_a_404(self, api: Api, plain: int) -> None:
        for answer in (api.post(path("nobody"), {}), api.get(path("nobody")), api.get(path("nobody", "/1/logs"))):
            assert refused(answer, 404)["missing"] == [{"externalId": "nobody"}]
        refused(api.get(path("plain", "/7/response")), 404)

    def test_a_function_that_is_not_ready_is_not_called(self, api: Api) -> None:
        made = api.create(bundle(other="x = 1"), externalId="unready")
        assert "Ready" in refused(api.post(path("unready"), {"data": {}}), 400)["message"]
        api.delete(made["id"])
