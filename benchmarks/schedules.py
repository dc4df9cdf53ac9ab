"""How precisely schedules fire: 1,000 that are due in the same minute, beside the bare timer of an idle event loop.

Measured is the start of the call less its due time, as the API shows it. Running the calls comes after that.
"""

from __future__ import annotations

import asyncio
import time

import harness
import uvloop
from book import Book
from harness import Api, Function

SCHEDULES = 1000
ROOM = ("--max-schedules", "2000", "--max-function-schedules", "2000", "--max-calls", "3000")


def main(book: Book) -> None:
    book.begin("schedules", f"{SCHEDULES} schedules due at once: start of the call - due time")
    idle = uvloop.run(_timer(200))
    with harness.served(*ROOM, "--max-function-calls", "3000") as server:
        api = Api(server)
        late = _fired(api, api.deploy("def handle():\n    return None\n"))
    book.head()
    base = book.times("the timer of an idle loop", idle)
    book.times("schedules", late, base=base)


async def _timer(times: int) -> list[float]:
    """How late an idle process wakes for a moment of the clock, in seconds."""
    late: list[float] = []
    for _ in range(times):
        moment = time.time() + 0.02
        while (left := moment - time.time()) > 0:
            await asyncio.sleep(left)
        late.append(time.time() - moment)
    return late


def _fired(api: Api, function: Function) -> list[float]:
    """Have all schedules fire once; how late each call started, in seconds.

    Raises:
        RuntimeError: some did not fire within the minute.
    """
    for number in range(SCHEDULES):
        wanted = {"name": f"s{number}", "functionId": function.id, "cronExpression": "* * * * *"}
        api.http.post(f"{api.base}/functions/schedules", json={"items": [wanted]}).raise_for_status()
    due = (int(time.time()) // 60 + 1) * 60_000
    late: list[float] = []
    while len(late) < SCHEDULES:
        time.sleep(1)
        if time.time() * 1000 > due + 55_000:
            raise RuntimeError(f"{len(late)} of {SCHEDULES} schedules fired")
        late = _starts(api, function, due)
    return late


def _starts(api: Api, function: Function, due: int) -> list[float]:
    late: list[float] = []
    body: dict[str, object] | None = {"limit": 1000, "filter": {"startTime": {"min": due, "max": due + 55_000}}}
    while body is not None:
        page = api.http.post(f"{function.url}/calls/list", json=body).json()
        late += [(call["startTime"] - due) / 1000 for call in page["items"] if call.get("scheduledTime") == due]
        body = {**body, "cursor": page["nextCursor"]} if "nextCursor" in page else None
    return late


if __name__ == "__main__":
    main(Book())
