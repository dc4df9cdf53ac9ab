"""Several real servers on one PostgreSQL: what one does the others know, and what one leaves the others do, once.

The servers' clocks are put forward together, so that minutes pass at once; leases go by the machine's time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.acceptance.api import Api, bundle
from tests.acceptance.crashes import HANDLER, Witness
from tests.acceptance.server import KVERN, Server, until
from tests.acceptance.turned_clock import PROGRAM, Turned
from tests.postgres import execute

MASTER_KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
LEASE = 3.0
PATIENCE = 40
"""Seconds for what takes a lease and a few commits; a busy machine may need it."""


class Site:
    """Two servers on one database and one folder of blobs, and a function whose runs are counted."""

    def __init__(self, folder: Path, database: str) -> None:
        self.database = database
        self.clock = Turned(folder)
        self.witness = Witness()
        self.options = (
            *("--database", database, "--blobs", f"file://{folder / 'blobs'}", "--sandbox", "plain"),
            *("--workers-per-function", "1", "--lease-seconds", str(LEASE), "--heartbeat-seconds", "0.5"),
        )
        self.servers = [self._server(folder / name) for name in ("a", "b")]
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(Server.start, self.servers))
        self.apis = [Api(server.environment()) for server in self.servers]
        self.function = self.apis[0].ready(HANDLER, externalId="witnessed")
        self.tokens = 0

    def _server(self, folder: Path) -> Server:
        folder.mkdir()
        env = {"KVERN_MASTER_KEY": MASTER_KEY, **self.clock.environment()}
        return Server(folder, *self.options, extra_env=env, program=PROGRAM)

    def close(self) -> None:
        self.witness.close()
        for api in self.apis:
            api.close()
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(Server.stop, [one for one in self.servers if one.process and one.process.poll() is None]))

    def data(self, **more: Any) -> dict[str, Any]:
        self.tokens += 1
        return {"port": self.witness.port, "token": f"t{self.tokens}", **more}

    def calls_on(self, api: Api, seconds: float, waiting: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """A call that runs on a server, and some that wait there for its one worker; each with its token."""
        path = f"/functions/{self.function}/call"
        made: list[dict[str, Any]] = []
        for number in range(waiting + 1):
            data = self.data(seconds=0 if number else seconds)
            answer = api.post(path, {"data": data})
            assert answer.status_code == 201, answer.text
            made.append({**answer.json(), "token": data["token"]})
            if number == 0:
                until(lambda token=data["token"]: self.witness.begun[token], PATIENCE, "the call has begun")
        return made[0], made[1:]

    def leader(self) -> int:
        """Which server fires schedules."""
        holder = until(lambda: execute(self.database, "SELECT server FROM leases"), PATIENCE, "somebody leads")[0][0]
        return [(server.data / "server").read_text() for server in self.servers].index(holder)

    def ends_of_schedules(self) -> set[str]:
        """The states of all calls that a schedule made."""
        return {row[0] for row in execute(self.database, "SELECT status FROM calls WHERE schedule_id IS NOT NULL")}

    def check_none_twice(self) -> None:
        twice = {token: count for token, count in self.witness.begun.items() if count > 1}
        assert not twice, f"ran more than once: {twice}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, new_postgres: Callable[[], str]) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("servers"), new_postgres())
    try:
        yield made
    finally:
        made.close()


def shown(api: Api, call: dict[str, Any]) -> dict[str, Any]:
    return dict(api.get(f"/functions/{call['functionId']}/calls/{call['id']}").json())


def has_ended(api: Api, *calls: dict[str, Any]) -> bool:
    return all(shown(api, call)["status"] != "Running" for call in calls)


def check_end(api: Api, call: dict[str, Any], status: str, verdict: str) -> None:
    seen = shown(api, call)
    assert (seen["status"], seen["outcome"]["verdict"]) == (status, verdict), seen


def test_what_one_server_does_the_other_knows(site: Site) -> None:
    a, b = site.apis
    data = site.data()
    call = b.call(site.function, data)
    assert call["status"] == "Completed", call
    assert a.ended(call)["status"] == "Completed"
    assert a.response(call) == {"token": data["token"]}
    assert a.logs(call) == [f"began {data['token']}"]
    # A waits for a call that B runs; then A stops one.
    running, (waiting,) = site.calls_on(b, 600, 1)
    began = time.monotonic()
    assert a.post(f"/functions/{site.function}/calls/{running['id']}/cancel").json()["status"] == "Failed"
    assert a.ended(waiting, PATIENCE)["status"] == "Completed"
    assert time.monotonic() - began < PATIENCE
    check_end(b, running, "Failed", "cancelled")
    site.check_none_twice()


def test_a_deletion_and_a_revocation_bind_everywhere(site: Site) -> None:
    a, b = site.apis
    other = a.create(bundle(handler="def handle():\n    return 1\n"))
    b.delete(other["id"])
    until(lambda: a.get(f"/functions/{other['id']}").status_code == 404, PATIENCE, "A knows of the deletion")
    sessions = [a.post("/sessions", {"items": [{"tokenExchange": True}]}).json()["items"][0] for _ in range(2)]
    assert b.post("/sessions/revoke", {"items": [{"id": sessions[0]["id"]}]}).status_code == 200
    path = f"/functions/{site.function}/call"
    assert a.post(path, {"data": site.data(), "nonce": sessions[0]["nonce"]}).status_code == 400
    # A nonce that both are given at once is good for one of them, whose call keeps its session.
    wanted = [{"data": site.data(), "nonce": sessions[1]["nonce"]} for _ in site.apis]
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda given: given[0].post(path, given[1]), zip(site.apis, wanted, strict=True)))
    assert sorted(answer.status_code for answer in answers) == [201, 400], [answer.text for answer in answers]
    [(winner, call)] = [
        (api, answer.json()) for api, answer in zip(site.apis, answers, strict=True) if answer.status_code == 201
    ]
    assert winner.ended(call)["status"] == "Completed"
    assert sum(site.witness.begun[one["data"]["token"]] for one in wanted) == 1


def test_a_server_that_is_killed_is_taken_over(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = {
        **{"name": "each minute", "cronExpression": "* * * * *", "functionId": site.function},
        "data": {"port": site.witness.port},
    }
    assert site.apis[1].post("/functions/schedules", {"items": [wanted]}).status_code == 201
    number = site.leader()
    victim, there = site.servers[number], site.apis[number]
    here = site.apis[1 - number]

    due = [site.clock.turn_to_the_minute()]
    until(lambda: site.witness.ended[f"tick-{due[0]}"], PATIENCE, "it is fired while both live")
    running, waiting = site.calls_on(there, 600, 3)
    deployed = there.create(bundle(handler="def handle():\n    return 1\n"))
    victim.kill()
    killed = time.monotonic()
    due.append(site.clock.turn_to_the_minute())
    until(lambda: has_ended(here, running), PATIENCE, "the call that ran has an end")
    seconds = time.monotonic() - killed
    until(lambda: has_ended(here, *waiting), PATIENCE, "those that waited have run")
    all_done = time.monotonic() - killed
    until(lambda: site.witness.ended[f"tick-{due[1]}"], PATIENCE, "a due time with nobody to fire it is fired")
    fired = time.monotonic() - killed
    due.append(site.clock.turn_to_the_minute())
    until(lambda: site.witness.ended[f"tick-{due[2]}"], PATIENCE, "the one that is left fires")

    check_end(here, running, "Failed", "interrupted")
    for call in waiting:
        check_end(here, call, "Completed", "returned")
    ready = lambda: here.get(f"/functions/{deployed['id']}").json()["status"] == "Ready"  # noqa: E731
    until(ready, PATIENCE, "what was being deployed is there")
    victim.start()
    assert there.call(site.function, site.data())["status"] == "Completed"
    due.append(site.clock.turn_to_the_minute())
    until(lambda: site.witness.ended[f"tick-{due[3]}"], PATIENCE, "the one that leads fires")
    path, query = f"/functions/{site.function}/calls/list", {"filter": {"status": "Running"}}
    until(lambda: here.post(path, query).json()["items"] == [], PATIENCE, "every call has ended")
    assert [site.witness.begun[f"tick-{moment}"] for moment in due] == [1] * len(due)
    assert site.ends_of_schedules() == {"Completed"}
    site.check_none_twice()
    assert site.witness.ended[running["token"]] == 0
    with capsys.disabled():
        print(
            f"\nkilled, with a lease of {LEASE:g} s: the call that ran ended after {seconds:.2f} s, those that waited "
            f"had run after {all_done:.2f} s, the schedule was fired after {fired:.2f} s"
        )


def test_a_server_that_was_frozen_past_its_lease_does_nothing_twice(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    number = site.leader()
    frozen, there = site.servers[number], site.apis[number]
    here = site.apis[1 - number]
    running, waiting = site.calls_on(there, 1, 3)
    assert frozen.process is not None
    os.kill(frozen.process.pid, signal.SIGSTOP)
    stopped = time.monotonic()
    due = site.clock.turn_to_the_minute()
    try:
        until(lambda: has_ended(here, running, *waiting), PATIENCE, "its calls were taken over")
        seconds = time.monotonic() - stopped
        until(lambda: site.witness.ended[f"tick-{due}"], PATIENCE, "its schedule was taken over")
    finally:
        os.kill(frozen.process.pid, signal.SIGCONT)

    def calls_again() -> bool:
        answer = there.post(f"/functions/{site.function}/call", {"data": site.data()})
        assert answer.status_code in (201, 429, 500, 503), answer.text
        return answer.status_code == 201 and there.ended(answer.json())["status"] == "Completed"

    until(calls_again, PATIENCE, "it is one of them again")
    assert "is cut off" in frozen.log.read_text()
    check_end(here, running, "Failed", "interrupted")
    for call in waiting:
        check_end(there, call, "Completed", "returned")
        assert site.witness.ended[call["token"]] == 1
    due = [due, site.clock.turn_to_the_minute()]
    until(lambda: site.witness.ended[f"tick-{due[1]}"], PATIENCE, "one of them fires")
    assert [site.witness.begun[f"tick-{moment}"] for moment in due] == [1, 1]
    until(lambda: "Running" not in site.ends_of_schedules(), PATIENCE, "every call of the schedule has ended")
    assert site.ends_of_schedules() == {"Completed"}
    site.check_none_twice()
    with capsys.disabled():
        print(f"\nfrozen, with a lease of {LEASE:g} s: all of its calls had ended elsewhere after {seconds:.2f} s")


def test_a_server_with_blobs_of_its_own_is_refused(site: Site, tmp_path: Path) -> None:
    options = [word for word in site.options if word != "--blobs" and not word.startswith("file:")]
    started = subprocess.run(
        [KVERN, "serve", "--data-dir", str(tmp_path / "data"), "--port", "0", *options],
        env={**os.environ, "KVERN_MASTER_KEY": MASTER_KEY},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert started.returncode == 1
    assert "are not those of the database" in started.stderr
    assert "--blobs" in started.stderr
    assert httpx2.get(f"{site.servers[0].url}/health").status_code == 200
