"""The engine: it decides on which machine a host lives, and runs calls there."""

from __future__ import annotations

from typing import Protocol

from kvern.build.revision import Revision
from kvern.host.call import Access, HandlerError, LogLine, Order, Outcome, Verdict

__all__ = ["Access", "Engine", "HandlerError", "LogLine", "Order", "Outcome", "Verdict"]


class Engine(Protocol):
    """Runs calls. All methods are called on one event loop.

    Guarantees: `run` begins `handle` at most once and returns exactly one outcome, whatever the handler does; nothing
    that a call started outlives it by more than a moment; after `stop` no process of any function is left.
    """

    async def start(self) -> None:
        """Make ready. Clears away what an earlier server that was killed left on this machine."""
        ...

    async def stop(self) -> None:
        """Kill every host; calls that run end as `INTERRUPTED`. Harmless when called twice."""
        ...

    async def prepare(self, revision: Revision) -> None:
        """Start a host for `revision` and load its handler once, so that the first call finds a warm worker.

        Raises:
            HandlerError: the module cannot be imported, or has no `handle` that can be called with the contract's
                arguments. No process is left.
        """
        ...

    def has_room(self, revision: Revision, besides: int = 0) -> bool:
        """Whether `run`, called now after `besides` other calls, would hand the call to a warm worker at once."""
        ...

    async def run(self, revision: Revision, order: Order) -> Outcome:
        """Run one call to its end. Waits for a free worker first; makes the host when there is none."""
        ...

    async def cancel(self, call_id: int) -> bool:
        """Stop a call that runs or waits: its `run` returns `CANCELLED`. False when no such call is here."""
        ...

    async def retire(self, function_id: int) -> None:
        """Stop all hosts of a function; its calls end as `CANCELLED`. Harmless when there are none."""
        ...
