"""An in-memory twin of the client, with just what the command line asks of it, and how to run a command line."""

# ruff: noqa: A002 (`id` is what the client's arguments are called)

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from kvern.cli import connection, deploy, logs
from kvern.cli.app import run
from kvern.client.exceptions import CogniteAPIError


def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.title() for word in others)


class Resource:
    hidden: tuple[str, ...] = ()

    def dump(self) -> dict[str, Any]:
        return {camel(key): value for key, value in vars(self).items() if value is not None and key not in self.hidden}


class Resources(list[Any]):
    def dump(self) -> list[dict[str, Any]]:
        return [one.dump() for one in self]


@dataclass
class Function(Resource):
    id: int
    name: str
    external_id: str | None = None
    status: str = "Queued"
    created_time: int = 1_700_000_000_000
    last_called: int | None = None
    runtime: str = "py311"
    runtime_version: str | None = None
    error: dict[str, str] | None = None
    given: dict[str, Any] = field(default_factory=dict[str, Any])
    hidden = ("given",)

    def fail(self, message: str, trace: str = "") -> None:
        self.status, self.error = "Failed", {"message": message, "trace": trace}


@dataclass
class Call(Resource):
    """A call that goes through the states and lines of `script`, one at each `update`."""

    id: int
    function_id: int
    status: str = "Running"
    start_time: int = 1_700_000_000_000
    end_time: int | None = None
    schedule_id: int | None = None
    error: dict[str, str] | None = None
    outcome: dict[str, Any] | None = None
    response: Any = None
    lines: list[str] = field(default_factory=list[str])
    script: list[Callable[[Call], None]] = field(default_factory=list[Any])
    hidden = ("response", "lines", "script")

    def update(self) -> None:
        if self.script:
            self.script.pop(0)(self)

    def finish(self, response: Any = None, status: str = "Completed", error: dict[str, str] | None = None) -> None:
        self.status, self.response, self.error, self.end_time = status, response, error, self.start_time + 1500
        verdict = "returned" if status == "Completed" else "raised"
        self.outcome = {"verdict": verdict, "queueSeconds": 0.25, "cpuSeconds": 1.5, "peakMemory": 12_000_000}
        self.outcome |= {"cold": False, "attempt": 1}

    def get_logs(self) -> Resources:
        return Resources(LogLine(line) for line in self.lines)

    def get_response(self) -> Any:
        return self.response


@dataclass
class LogLine(Resource):
    message: str
    timestamp: int = 1_700_000_000_000


@dataclass
class Schedule(Resource):
    id: int
    name: str
    cron_expression: str
    function_id: int
    when: str = "Every minute"
    description: str | None = None
    data: Any = None
    policies: dict[str, Any] = field(default_factory=dict)
    hidden = ("data", "policies")


@dataclass
class File(Resource):
    id: int
    content: bytes
    given: dict[str, Any]


class Answer:
    def __init__(self, content: Any) -> None:
        self._content = content

    def json(self) -> Any:
        return self._content


class Twin:
    """`client.functions`, `client.functions.calls`, `client.functions.schedules` and `client.files` in one."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self.all: dict[int, Function] = {}
        self.keys: dict[str, int] = {}
        """The calls that were made with an idempotency key."""
        self.options: dict[int, dict[str, Any]] = {}
        """`retries` and `softDeadlineSeconds` of functions."""
        self.attempts: dict[int, list[dict[str, Any]]] = {}
        """The attempts of calls, each with its `lines`."""
        self.made_calls: dict[int, Call] = {}
        self.made_schedules: dict[int, Schedule] = {}
        self.uploaded: list[File] = []
        self.build: Callable[[Function], None] = lambda one: setattr(one, "status", "Ready")
        """What becomes of a function when it is asked for after it was created."""
        self.answer: Callable[[Call, Any], None] = lambda call, data: call.finish(data)
        """What becomes of a call when it is made."""
        self.lock = "six==1.17.0 \\\n    --hash=sha256:ab\n"
        self.build_log: list[str] | None = None
        """Lines of every build's log; None for a service that keeps none."""
        self.refuse: Exception | None = None
        """What is raised instead of creating a function."""
        self.ticks: dict[int, list[dict[str, Any]]] = {}
        """The ledgers of schedules, newest first."""
        self.page_most = 1000
        self.functions = self.files = self
        self.iam = SimpleNamespace(sessions=SimpleNamespace(create=lambda: SimpleNamespace(nonce="a nonce")))

    @property
    def calls(self) -> _Calls:
        return _Calls(self)

    @property
    def schedules(self) -> _Schedules:
        return _Schedules(self)

    def get(self, url: str, params: dict[str, Any] | None = None, headers: dict[str, Any] | None = None) -> Answer:
        """What the service adds to the contract: figures of calls, locks, the logs of builds, the ledgers of schedules."""
        if url.endswith("/ticks"):
            return self._page_of_ticks(int(url.split("/")[3]), params or {})
        _, _, function_id, *rest = url.split("/")
        if not rest:
            return Answer(self.all[int(function_id)].dump() | self.options.get(int(function_id), {}))
        what, *rest = rest
        if what == "calls" and rest[1:] == ["attempts"]:
            return Answer({"items": self.attempts.get(int(rest[0]), [])})
        if what == "calls" and rest[1:] == ["logs"]:
            chosen = self.attempts[int(rest[0])][(params or {})["attempt"] - 1]
            return Answer({"items": [LogLine(line).dump() for line in chosen["lines"]]})
        if what == "calls":
            return Answer(self.made_calls[int(rest[0])].dump())
        one = self.all[int(function_id)]
        if what == "lock":
            return Answer(
                {"functionId": one.id, "runtimeVersion": "Python 3.11.7", "environment": "e", "lock": self.lock}
            )
        if self.build_log is None:
            raise CogniteAPIError("not found", 404)
        seen = (params or {})["after"]
        lines = [{"timestamp": 1_700_000_000_000, "message": line} for line in self.build_log]
        return Answer({"items": lines[seen:], "status": one.status})

    def post(
        self, url: str, json: dict[str, Any] | None = None, params: None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        if url == "/functions/schedules/list":
            found = self.schedules.list(function_id=(json or {})["filter"]["functionId"])
            return Answer({"items": [one.dump() | one.policies for one in found]})
        if url.startswith("/functions/schedules"):
            return self._post_schedules(url.rpartition("/")[2], (json or {})["items"])
        if url == "/functions":
            return self._create_with_options((json or {})["items"][0])
        _, _, function_id, what = url.split("/", 3)
        assert (what, json) != ("", None)
        assert json is not None
        if what == "call":
            key = (headers or {})["Idempotency-Key"]
            assert json["nonce"] == "a nonce"
            if key not in self.keys:
                self.keys[key] = self.call(int(function_id), json["data"], wait=False).id
            return Answer(self.made_calls[self.keys[key]].dump())
        wanted = {"status": json["filter"].get("status"), "schedule_id": json["filter"].get("scheduleId")}
        return Answer({"items": self.calls.list(int(function_id), limit=json["limit"], **wanted).dump()})

    def _create_with_options(self, item: dict[str, Any]) -> Answer:
        options = {key: item[key] for key in ("retries", "softDeadlineSeconds") if key in item}
        given = {"file_id": item["fileId"], "description": item.get("description")}
        made = self.create(item["name"], external_id=item.get("externalId"), **given)
        self.options[made.id] = options
        return Answer({"items": [{**made.dump(), **options, "fileId": item["fileId"]}]})

    def _post_schedules(self, verb: str, items: list[dict[str, Any]]) -> Answer:
        if verb == "schedules":
            given = {**items[0]}
            assert given.pop("nonce") == "a nonce"
            plain = {
                "cron_expression": given.pop("cronExpression"),
                "function_id": given.pop("functionId"),
                "description": given.pop("description", None),
            }
            made = self.schedules.create(given.pop("name"), data=given.pop("data", None), policies=given, **plain)
            return Answer({"items": [made.dump()]})
        chosen = [self.made_schedules[item["id"]] for item in items]
        for one in chosen:
            one.policies.pop("pausedTime", None)
            if verb == "pause":
                one.policies["pausedTime"] = 1_700_000_000_000
        return Answer({"items": [one.dump() for one in chosen]})

    def _page_of_ticks(self, schedule_id: int, query: dict[str, Any]) -> Answer:
        wanted = str(query.get("outcome", "ran,late,skipped,queued")).split(",")
        found = [one for one in self.ticks[schedule_id] if one["outcome"] in wanted]
        start = int(query.get("cursor", 0))
        end = start + min(query["limit"], self.page_most)
        return Answer({"items": found[start:end], **({"nextCursor": str(end)} if end < len(found) else {})})

    def add(self, name: str, external_id: str | None = None, **given: Any) -> Function:
        one = Function(next(self._ids), name, external_id, **given)
        self.all[one.id] = one
        return one

    def upload_bytes(self, content: bytes, **given: Any) -> File:
        self.uploaded.append(File(next(self._ids), content, given))
        return self.uploaded[-1]

    def create(self, name: str, *, external_id: str | None = None, **given: Any) -> Function:
        if self.refuse:
            raise self.refuse
        assert external_id is None or external_id not in {one.external_id for one in self.all.values()}
        return self.add(name, external_id, given=given)

    def retrieve(self, id: int | None = None, external_id: str | None = None) -> Function | None:
        found = next(
            (one for one in self.all.values() if one.id == id or (external_id and one.external_id == external_id)), None
        )
        if found and found.status == "Queued":
            self.build(found)
        return found

    def list(self, name: str | None = None, limit: int | None = 25) -> Resources:
        return Resources(one for one in self.all.values() if name in (None, one.name))

    def delete(self, id: int | list[int]) -> None:
        for one in [id] if isinstance(id, int) else id:
            del self.all[one]
            self.made_schedules = {k: v for k, v in self.made_schedules.items() if v.function_id != one}

    def call(self, id: int, data: Any, wait: bool) -> Call:
        assert not wait
        call = Call(next(self._ids), id)
        self.made_calls[call.id] = call
        self.all[id].last_called = call.start_time
        self.answer(call, data)
        return call


class _Calls:
    def __init__(self, twin: Twin) -> None:
        self._twin = twin

    def stream_logs(self, call_id: int, function_id: int) -> Iterator[LogLine]:
        call = self._twin.made_calls[call_id]
        seen = 0
        while True:
            ended = call.status != "Running"
            yield from call.get_logs()[seen:]
            seen = len(call.lines)
            if ended:
                return
            assert call.script, "the call would run for ever"
            call.update()

    def retrieve(self, call_id: int, function_id: int) -> Call | None:
        call = self._twin.made_calls.get(call_id)
        return call if call and call.function_id == function_id else None

    def list(
        self, function_id: int, status: str | None = None, schedule_id: int | None = None, limit: int | None = 25
    ) -> Resources:
        found = [
            call
            for call in reversed(self._twin.made_calls.values())
            if call.function_id == function_id
            and status in (None, call.status)
            and schedule_id in (None, call.schedule_id)
        ]
        return Resources(found[:limit])


class _Schedules:
    def __init__(self, twin: Twin) -> None:
        self._twin = twin

    def create(self, name: str, *, data: Any = None, **given: Any) -> Schedule:
        made = Schedule(self._twin.upload_bytes(b"").id, name, data=data, **given)
        self._twin.made_schedules[made.id] = made
        return made

    def list(self, name: str | None = None, function_id: int | None = None, limit: int | None = 25) -> Resources:
        return Resources(
            one
            for one in self._twin.made_schedules.values()
            if name in (None, one.name) and function_id in (None, one.function_id)
        )

    def retrieve(self, id: int) -> Schedule | None:
        return self._twin.made_schedules.get(id)

    def get_input_data(self, id: int) -> Any:
        return self._twin.made_schedules[id].data

    def delete(self, id: int) -> None:
        del self._twin.made_schedules[id]


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch) -> Twin:
    """An empty service, which every verb then talks to."""
    one = Twin()
    monkeypatch.setattr(connection, "connect", lambda options: one)
    monkeypatch.setattr(deploy, "_POLL", 0)
    monkeypatch.setattr(logs, "_SHORTEST_WAIT", 0)
    return one


@dataclass
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def kvern(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run a command line, such as `kvern("functions", "--json")`."""

    def ran(*arguments: str) -> Ran:
        capsys.readouterr()
        code = run(arguments)
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return ran
