"""Schedules of a real server: every due time is in the ledger, whatever happens to the server and to its clock.

The server's clock is put forward, so that hours pass at once.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.acceptance.api import Api
from tests.acceptance.server import KVERN, Server, until
from tests.acceptance.turned_clock import PROGRAM, Turned
from tests.environments import ROOT

MINUTE = 60_000
HANDLER = """
    import time
    def handle(data, function_call_info):
        if function_call_info["scheduled_time"] < data.get("held_before", 0):
            time.sleep(600)
        return function_call_info["scheduled_time"]
"""


class Site:
    """A server that may be killed, by a clock that may be turned, and a function in it."""

    def __init__(self, server: Server, clock: Turned) -> None:
        self.server = server
        self.clock = clock
        self.environment = {**os.environ, **server.environment()}
        self.api = Api(server.environment())
        self.function = self.api.ready(HANDLER, externalId="dial")

    def schedule(self, name: str, cron: str = "* * * * *", **fields: Any) -> int:
        wanted = {"name": name, "functionId": self.function, "cronExpression": cron, **fields}
        made = self.api.post("/functions/schedules", {"items": [wanted]})
        assert made.status_code == 201, made.text
        return int(made.json()["items"][0]["id"])

    def posted(self, verb: str, *schedules: int) -> httpx2.Response:
        """The answer to `POST /functions/schedules/{verb}` with these ids."""
        return self.api.post(f"/functions/schedules/{verb}", {"items": [{"id": one} for one in schedules]})

    def ticks(self, schedule: int, **query: Any) -> list[dict[str, Any]]:
        """Oldest first."""
        answer = self.api.get(f"/functions/schedules/{schedule}/ticks", params={"limit": 1000, **query})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["items"][::-1])

    def settled(self, schedule: int, moment: int) -> list[dict[str, Any]]:
        """The ledger, when it goes up to a moment and nothing in it waits."""

        def found() -> list[dict[str, Any]] | None:
            ticks = self.ticks(schedule)
            waits = any(tick["outcome"] == "queued" for tick in ticks)
            return ticks if ticks and ticks[-1]["dueTime"] >= moment and not waits else None

        return list(until(found, 30, f"the ledger of schedule {schedule} goes up to {moment}"))

    def kvern(self, *words: str) -> str:
        ran = subprocess.run([KVERN, *words], env=self.environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("schedules")
    clock = Turned(folder)
    with Server(folder, "--sandbox", "plain", extra_env=clock.environment(), program=PROGRAM) as server:
        made = Site(server, clock)
        yield made
        made.api.http.close()


def calls(site: Site, schedule: int) -> dict[int, list[dict[str, Any]]]:
    """The calls of a schedule, by due time."""
    body = {"filter": {"scheduleId": schedule}, "limit": 1000}
    found: dict[int, list[dict[str, Any]]] = {}
    for call in site.api.post(f"/functions/{site.function}/calls/list", body).json()["items"]:
        found.setdefault(call["scheduledTime"], []).append(call)
    return found


def test_every_due_time_is_in_the_ledger_after_a_kill_and_ends_as_the_policy_says(site: Site) -> None:
    held = (site.clock.now() // MINUTE + 1) * MINUTE + 1
    policies: dict[str, dict[str, Any]] = {
        "contract": {},
        "skip": {"missed": "skip", "timeZone": "Australia/Lord_Howe"},
        "last": {"missed": "last", "overlap": "skip"},
        "all": {"missed": "all"},
        "window": {"missed": "all", "missedWindow": 150},
        "queue": {"overlap": "queue", "data": {"held_before": held}},
    }
    ids = {name: site.schedule(name, **fields) for name, fields in policies.items()}
    site.clock.turn_to_the_minute()
    for name, schedule in ids.items():
        until(lambda schedule=schedule: site.ticks(schedule), 30, f"{name} has fired")
    second = site.clock.turn_to_the_minute()
    until(lambda: [t["outcome"] for t in site.ticks(ids["queue"])] == ["ran", "queued"], 30, "the second one waits")
    for name in ("contract", "skip", "last", "all", "window"):
        site.settled(ids[name], second)

    site.server.kill()
    site.clock.turn(5 * MINUTE)
    site.server.start()
    third = site.clock.turn_to_the_minute()
    down = [second + n * MINUTE for n in range(1, 6)]

    for name, schedule in ids.items():
        ledger = site.settled(schedule, third)
        dues = [tick["dueTime"] for tick in ledger]
        assert dues == list(range(dues[0], dues[-1] + 1, MINUTE)), name
        made = calls(site, schedule)
        for tick in ledger:
            ran = tick["outcome"] != "skipped"
            assert len(made.get(tick["dueTime"], [])) == (1 if ran else 0), (name, tick)
            assert tick.get("callId") == (made[tick["dueTime"]][0]["id"] if ran else None)
            assert ("reason" in tick) == (tick["outcome"] != "ran")
        missed = {tick["dueTime"]: tick for tick in ledger if "service was down" in tick.get("reason", "")}
        assert set(down[:4]) <= set(missed), name
        late = [due for due, tick in missed.items() if tick["outcome"] == "late"]
        assert (
            late
            == {
                "contract": [],
                "skip": [],
                "queue": [],
                "last": list(missed)[-1:],
                "all": list(missed),
                "window": [due for due in missed if due in late],
            }[name]
        ), name
        if name == "window":
            assert 0 < len(late) < len(missed)
    waited = [tick for tick in site.ticks(ids["queue"]) if tick["dueTime"] == second]
    assert waited[0]["outcome"] == "late"
    for schedule in ids.values():
        assert site.posted("delete", schedule).status_code == 200
        assert site.api.get(f"/functions/schedules/{schedule}/ticks").status_code == 404


def test_paused_skipped_and_shown(site: Site) -> None:
    schedule = site.schedule("dial", timeZone="Asia/Kolkata")
    (paused,) = site.posted("pause", schedule).json()["items"]
    assert (paused["timeZone"], paused["when"]) == ("Asia/Kolkata", "Every minute (Asia/Kolkata)")
    assert paused["pausedTime"] <= site.clock.now()
    assert site.api.get(f"/functions/schedules/{schedule}").json() == paused
    site.settled(schedule, site.clock.turn_to_the_minute())
    assert "pausedTime" not in site.posted("resume", schedule).json()["items"][0]
    moment = site.clock.turn_to_the_minute()
    ledger = site.settled(schedule, moment)
    assert [(one["dueTime"], one["outcome"]) for one in ledger] == [(moment - MINUTE, "skipped"), (moment, "ran")]
    assert "paused" in site.kvern("schedules", "ticks", "dial", "--outcome", "skipped")
    assert [tick["outcome"] for tick in site.ticks(schedule, outcome="ran,late")] == ["ran"]
    page = site.api.get(f"/functions/schedules/{schedule}/ticks", params={"limit": 1}).json()
    rest = {"cursor": page["nextCursor"]}
    assert [one["dueTime"] for one in site.ticks(schedule, **rest)] == [moment - MINUTE]
    for query in ({"outcome": "done"}, {"cursor": "x"}, {"limit": "0"}):
        assert site.api.get(f"/functions/schedules/{schedule}/ticks", params=query).status_code == 400
    for verb in ("pause", "resume"):
        answer = site.posted(verb, schedule, 7)
        assert (answer.status_code, answer.json()["error"]["missing"]) == (400, [{"id": 7}])
    assert site.posted("delete", schedule).status_code == 200


def test_a_clock_that_is_set_forward_and_back_fires_nothing_twice(site: Site) -> None:
    schedule = site.schedule("jumps")
    first = site.clock.turn_to_the_minute()
    site.settled(schedule, first)
    site.clock.turn(30 * MINUTE)
    site.settled(schedule, first + 30 * MINUTE)
    before = {tick["dueTime"]: tick for tick in site.ticks(schedule)}
    assert "the clock was set forward by 30.0 min" in before[first + 5 * MINUTE]["reason"]

    site.clock.turn(first + 90_000 - site.clock.now())  # between the due times that were missed
    until(lambda: "the clock was set back by" in site.server.log.read_text(), 30, "the server noticed")
    again = site.clock.turn_to_the_minute()
    assert before[again]["outcome"] == "skipped"

    def came_again() -> bool:
        return any(tick["dueTime"] == again and "callId" in tick for tick in site.ticks(schedule))

    until(came_again, 30, "a due time that was skipped is fired when it comes again")
    site.clock.turn(40 * MINUTE)
    ledger = site.settled(schedule, site.clock.now() // MINUTE * MINUTE)
    dues = [tick["dueTime"] for tick in ledger]
    assert dues == list(range(first, dues[-1] + 1, MINUTE))
    assert [tick for tick in ledger if tick["dueTime"] in before and tick["dueTime"] != again] == [
        tick for due, tick in before.items() if due != again
    ]
    made = calls(site, schedule)
    assert all(len(there) == 1 for there in made.values())
    assert set(made) == {tick["dueTime"] for tick in ledger if "callId" in tick}
    site.posted("delete", schedule)


def test_the_page_about_schedules_does_what_it_says(site: Site, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "schedules.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    script = "\n".join(["set -eu", f'kvern() {{ {shlex.quote(KVERN)} "$@"; }}', *blocks])
    ran = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=site.environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "morning calls report: At 07:00, Monday through Friday" in ran.stdout
    assert "careful is paused\ncareful is resumed\n" in ran.stdout
    assert json.loads("[" + ran.stdout.rpartition("\n[")[2]) == []


@pytest.mark.parametrize(
    ("rule", "when"),
    [
        ("*/90 * * * *", "Every hour"),
        ("0 */48 * * *", "At 00:00"),
        ("*/45 * * * *", "At 0 and 45 minutes past the hour"),
        ("0 0 */10 * 1", "At 00:00, on day 1, 11, 21, and 31 of the month, if that day is Monday"),
        ("0 9 * * SAT-SUN", "At 09:00, only on Saturday and Sunday"),
        (
            "*/15 22-23,0-2 * NOV,DEC,JAN,FEB fri-sun",
            "Every 15 minutes, between 22:00 and 02:59, Friday through Sunday, November through February",
        ),
    ],
)
def test_when_says_what_the_rule_does(site: Site, rule: str, when: str) -> None:
    schedule = site.schedule("rule", rule)
    made = site.api.get(f"/functions/schedules/{schedule}").json()
    assert (made["cronExpression"], made["when"]) == (rule, when)
    assert site.posted("delete", schedule).status_code == 200
