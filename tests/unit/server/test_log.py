"""The service's own log says whose work a line is about, in words or in JSON, and no secret."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from tests.unit.fakes import PROJECT
from tests.unit.server.conftest import Web, error_of

from kvern.engine import Order, Outcome, Verdict
from kvern.server.log import JsonLines, TextLines
from kvern.service.functions import Functions
from kvern.service.log_context import bound

_log = logging.getLogger("kvern.test")


class Lines(logging.Handler):
    """Keeps what a formatter makes of each record, as it is logged."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@pytest.fixture
def listening() -> Iterator[Callable[[logging.Formatter], Lines]]:
    handlers: list[Lines] = []
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.INFO)

    def listen(formatter: logging.Formatter) -> Lines:
        handlers.append(Lines(formatter))
        root.addHandler(handlers[-1])
        return handlers[-1]

    yield listen
    root.setLevel(before)
    for handler in handlers:
        root.removeHandler(handler)


Listen = Callable[[logging.Formatter], Lines]


def broken(*_: object) -> None:
    raise RuntimeError("broken")


async def test_a_fault_is_in_the_log_under_the_request_id_of_the_answer(
    web: Web, listening: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = listening(JsonLines())
    monkeypatch.setattr(Functions, "get", broken)
    answer = await web.get("/functions/1")
    error_of(answer, 500)
    (line,) = [one for one in log.objects() if one["level"] == "error"]
    assert line["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["x-request-id"] in answer.json()["error"]["message"]
    assert "RuntimeError: broken" in line["traceback"]
    assert set(line) >= {"time", "logger", "message"}


async def test_a_line_of_a_call_names_the_call_and_the_request_that_made_it(web: Web, listening: Listen) -> None:
    function = await web.p.function()
    log = listening(JsonLines())

    def run(_: Order) -> Outcome:
        _log.info("in the engine")
        return Outcome(Verdict.RETURNED, b"1")

    web.p.engine.endings.append(run)
    answer = await web.call(function)
    (line,) = [one for one in log.objects() if one["message"] == "in the engine"]
    assert {name: line[name] for name in ("request_id", "call_id", "function_id", "project")} == {
        "request_id": answer.headers["x-request-id"],
        "call_id": answer.json()["id"],
        "function_id": function.record.id,
        "project": PROJECT,
    }


async def test_what_outlives_a_call_is_not_told_as_its_own(listening: Listen) -> None:
    log = listening(JsonLines())
    over = asyncio.Event()

    async def outlive() -> None:
        _log.info("within")
        await over.wait()
        _log.info("later")

    with bound(call_id=7):
        task = asyncio.create_task(outlive())
        await asyncio.sleep(0)
    over.set()
    await task
    assert [(line["message"], line.get("call_id")) for line in log.objects()] == [("within", 7), ("later", None)]


async def test_the_access_log_has_no_query_no_token_and_no_proof(
    webs: Callable[..., AbstractAsyncContextManager[Web]], listening: Listen
) -> None:
    async with webs(access_log=True) as web:
        log = listening(JsonLines())
        made = (await web.post("/files", {"name": "a.zip"})).json()
        await web.http.put(made["uploadUrl"], content=b"x")
        await web.get("/functions?limit=3")
        lines = [one for one in log.objects() if one["logger"] == "kvern.access"]
        assert [(one["method"], one["route"], one["status"]) for one in lines] == [
            ("POST", "/files", 201),
            ("PUT", "/api/v1/files/upload/{proof}", 200),
            ("GET", "/functions", 200),
        ]
        assert all(one["milliseconds"] > 0 and one["request_id"] for one in lines)
        told = json.dumps([one for one in log.objects() if one["logger"].startswith("kvern")], ensure_ascii=False)
        assert "/upload/…" in told
        assert web.token not in told
        assert made["uploadUrl"].rpartition("/")[2] not in told
        assert "limit=3" not in told


async def test_without_being_asked_for_there_is_no_access_log(web: Web, listening: Listen) -> None:
    log = listening(JsonLines())
    await web.get("/functions")
    assert not [one for one in log.objects() if one["logger"] == "kvern.access"]


def test_text_has_the_same_fields_and_a_line_stays_a_line(listening: Listen) -> None:
    log = listening(TextLines())
    with bound(request_id="r1", call_id=7):
        _log.warning("said %s", "one\ntwo\x1b[31m")
        try:
            broken()
        except RuntimeError:
            _log.exception("fault")
    _log.info("alone")
    first, second, third = log.lines
    assert first.endswith(r"WARNING kvern.test: said one\ntwo\x1b[31m [request_id=r1 call_id=7]")
    assert second.splitlines()[0].endswith("ERROR kvern.test: fault [request_id=r1 call_id=7]")
    assert second.splitlines()[-1] == "RuntimeError: broken"
    assert third.endswith("INFO kvern.test: alone")
