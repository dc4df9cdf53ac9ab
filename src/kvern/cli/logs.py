"""`kvern logs`, and following a call that runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kvern.cli import connection, lookup, output
from kvern.cli.complaint import Complaint
from kvern.cli.options import DEFAULT, Options

if TYPE_CHECKING:
    from kvern.client import CogniteClient
    from kvern.client.data_classes.functions import FunctionCall, FunctionCallLogEntry

_SHORTEST_WAIT, _LONGEST_WAIT = 0.05, 1.0  # seconds


class Tail:
    """The log of one call, read as it grows.

    Args:
        client: what reads.
        call: the call; its status is brought up to date.
        show: takes each new line as the API gives it: `message`, and `timestamp` in ms since the epoch.
    """

    def __init__(
        self, client: CogniteClient, call: FunctionCall, show: Callable[[dict[str, Any]], None] | None = None
    ) -> None:
        self._client = client
        self._call = call
        self._show = show
        self.lines: list[dict[str, Any]] = []
        """What was read so far."""

    def read(self) -> None:
        """Take what is new."""
        for entry in self._call.get_logs()[len(self.lines) :]:
            self._take(entry)

    def follow(self, until: float | None = None) -> bool:
        """Read until the call has ended.

        Args:
            until: give up at this time of `time.monotonic`; None never gives up.

        Returns:
            Whether the call has ended.
        """
        if until is None:
            for entry in self._client.functions.calls.stream_logs(self._call.id, function_id=self._call.function_id):
                self._take(entry)
            self._call.update()
            return True
        wait = _SHORTEST_WAIT
        while self._call.status == "Running":
            if time.monotonic() >= until:
                return False
            time.sleep(max(0.0, min(wait, until - time.monotonic())))
            wait = min(wait * 1.5, _LONGEST_WAIT)
            self.read()
            self._call.update()
        self.read()
        return True

    def _take(self, entry: FunctionCallLogEntry) -> None:
        self.lines.append(entry.dump())
        if self._show:
            self._show(self.lines[-1])


def logs(
    call: str,
    /,
    *,
    follow: bool = False,
    function: str | None = None,
    timestamps: bool = False,
    attempt: int | None = None,
    options: Options = DEFAULT,
) -> int:
    """Print the log of a call.

    With `--follow`, the exit code is 1 when the call did not complete. With `--json`, each line is a JSON object.

    For example:

        kvern logs 4711
        kvern logs 4711 --follow
        kvern logs trend
        kvern logs 4711 --attempt 2

    Args:
        call: Id of a call; or a function, by external id, name or id, for its newest call.
        follow: Go on until the call has ended.
        function: The function of the call, which is found more quickly then.
        timestamps: Begin each line with its time.
        attempt: Only the lines of this attempt, counted from 1.
    """
    if follow and attempt is not None:
        raise Complaint("--follow goes on through all attempts, so it takes no --attempt", exit_code=2)
    client = connection.connect(options)
    found = _find(client, call, function)
    show = _json_line if options.json else _timed_line if timestamps else _line
    if attempt is not None:
        path = f"/functions/{found.function_id}/calls/{found.id}/logs"
        for line in client.get(path, {"attempt": attempt}).json()["items"]:
            show(line)
        return 0
    tail = Tail(client, found, show)
    if not follow:
        tail.read()
        return 0
    tail.follow()
    if found.status == "Completed":
        return 0
    output.note(f"kvern: call {found.id} ended as {found.status}")
    return 1


def _line(line: dict[str, Any]) -> None:
    output.say(line["message"])


def _timed_line(line: dict[str, Any]) -> None:
    output.say(f"{output.moment(line.get('timestamp'))} {line['message']}")


def _json_line(line: dict[str, Any]) -> None:
    output.as_json(line, indent=None)


def _find(client: CogniteClient, call: str, function: str | None) -> FunctionCall:
    if function is not None:
        owner = lookup.function(client, function)
        found = client.functions.calls.retrieve(call_id=int(call), function_id=owner.id) if lookup.is_id(call) else None
        if found is None:
            raise Complaint(f"{function} has no call {call}; `kvern calls {function}` lists them")
        return found
    found = lookup.call(client, int(call)) if lookup.is_id(call) else None
    if found is not None:
        return found
    newest = client.functions.calls.list(function_id=lookup.function(client, call).id, limit=1)
    if not newest:
        raise Complaint(f"{call} was never called; call it: kvern call {call}")
    return newest[0]
