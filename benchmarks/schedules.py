"""How precisely schedules fire: 1,000 that are due in the same minute, beside the bare timer of an idle event loop.

Measured is the start of the call less its due time, as the API shows it: the moment at which all checks are done and
the calls go to the database. Then comes the commit of all of them; when it is done is seen by the first handler that
runs.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import harness
import uvloop
from book import Book
from harness import Api, Function

SCHEDULES = 1000
_FIRST = 20
"""Calls among which is the one that ran first."""

ROOM = ("--max-schedules", "2000", "--max-function-schedules", "2000", "--max-calls", "3000")


def main(book: Book) -> None:
    book.begin("schedules", f"{SCHEDULES} schedules due at once: start of the call - due time")
    idle = uvloop.run(_timer(200))
    with harness.served(*ROOM, "--max-function-calls", "3000") as server:
        api = Api(server)
        function = api.deploy("import time\ndef handle():\n    return time.time()\n")
        due, fired = _fired(api, function)
        first = min(_ran_at(api, function, call) for call in sorted(call["id"] for call in fired)[:_FIRST])
    late = [(call["startTime"] - due) / 1000 for call in fired]
    book.head()
    base = book.times("the timer of an idle loop", idle)
    row = book.times("schedules", late, base=base)
    book.meet("schedules", row.quantiles["p99"] * 1e3)
    committed = first - max(call["startTime"] for call in fired) / 1000
    book.value("from the last start to the first handler: commit", committed * 1e3, "ms")


async def _timer(times: int) -> list[float]:
    """How late an idle process wakes for a moment of the clock, in seconds."""
    late: list[float] = []
    for _ in range(times):
        moment = time.time() + 0.02
        while (left := moment - time.time()) > 0:
            await asyncio.sleep(left)
        late.append(time.time() - moment)
    return late


def _fired(api: Api, function: Function) -> tuple[int, list[dict[str, Any]]]:
    """Have all schedules fire once: the due time in ms since the epoch, and the calls.

    Raises:
        RuntimeError: some did not fire within the minute.
    """
    for number in range(SCHEDULES):
        wanted = {"name": f"s{number}", "functionId": function.id, "cronExpression": "* * * * *"}
        api.http.post(f"{api.base}/functions/schedules", json={"items": [wanted]}).raise_for_status()
    due = (int(time.time() + 5) // 60 + 1) * 60_000
    fired: list[dict[str, Any]] = []
    while len(fired) < SCHEDULES or any(call["status"] == "Running" for call in fired):
        time.sleep(1)
        if time.time() * 1000 > due + 55_000:
            raise RuntimeError(f"{len(fired)} of {SCHEDULES} schedules fired")
        fired = _calls(api, function, due)
    return due, fired


def _calls(api: Api, function: Function, due: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    body: dict[str, object] | None = {"limit": 1000, "filter": {"startTime": {"min": due, "max": due + 55_000}}}
    while body is not None:
        page = api.http.post(f"{function.url}/calls/list", json=body).json()
        found += [call for call in page["items"] if call.get("scheduledTime") == due]
        body = {**body, "cursor": page["nextCursor"]} if "nextCursor" in page else None
    return found


def _ran_at(api: Api, function: Function, call: int) -> float:
    """When the handler of a call ran, in seconds since the epoch."""
    return float(api.http.get(f"{function.url}/calls/{call}/response").json()["response"])


if __name__ == "__main__":
    whole = Book()
    main(whole)
    whole.table(["schedules"])
