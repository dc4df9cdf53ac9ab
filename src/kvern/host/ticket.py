"""A call in a host, and how it is ended before it began."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from kvern.host.call import Outcome, Verdict
from kvern.host.worker import Worker


class EndedError(Exception):
    """The call was ended before it began."""

    def __init__(self, verdict: Verdict, message: str) -> None:
        super().__init__(message)
        self.verdict = verdict
        self.message = message


@dataclass(eq=False, slots=True)
class Ticket:
    """A call in this host, from `run` to its outcome."""

    waiter: asyncio.Future[Worker] | asyncio.Future[None] | None = None
    waited: bool = False  # for a worker
    begun: bool = False
    worker: Worker | None = None
    outcome: asyncio.Future[Outcome] | None = None
    ended: EndedError | None = None
