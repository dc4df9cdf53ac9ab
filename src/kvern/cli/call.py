"""`kvern call`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, cast

from cyclopts import Parameter

from kvern.cli import connection, inputs, lookup, output
from kvern.cli.complaint import Complaint
from kvern.cli.logs import Tail
from kvern.cli.options import DEFAULT, Options

if TYPE_CHECKING:
    from kvern.client import CogniteClient
    from kvern.client.data_classes.functions import Function, FunctionCall


def call(
    name: str,
    /,
    *,
    data: Annotated[str | None, Parameter(alias="-d", allow_leading_hyphen=True)] = None,
    wait: Annotated[bool, Parameter(negative="--no-wait")] = True,
    timeout: float | None = None,
    idempotency_key: str | None = None,
    options: Options = DEFAULT,
) -> int:
    """Call a function; its log goes to stderr while it runs, its response to stdout.

    The exit code is 1 when the call failed, ran into its time limit or is not over after `--timeout`.

    For example:

        kvern call trend --data '{"file": "mauna-loa-co2"}'
        kvern call outliers --data @points.json > found.json
        curl -s https://plant.example/today | kvern call outliers --data -
        kvern call trend --no-wait --json
        kvern call trend --idempotency-key 2026-11-21

    Args:
        name: External id of the function, else its name, else its id.
        data: Input for `data`: JSON, @FILE with JSON, or - for standard input. Default: {}.
        wait: Wait for the end of the call.
        timeout: Seconds to wait for it.
        idempotency_key: The same key and data are the same call, which is made once.
    """
    given = cast("dict[str, object]", inputs.data(data))  # any JSON value is allowed (contract 13.16)
    client = connection.connect(options)
    function = lookup.function(client, name)
    made = (
        client.functions.call(id=function.id, data=given, wait=False)
        if idempotency_key is None
        else _keyed(client, function, given, idempotency_key)
    )
    if not wait:
        if options.json:
            output.as_json(made.dump())
        else:
            output.say(str(made.id))
            output.note(f"Call {made.id} is on its way: kvern logs {made.id} --follow")
        return 0

    tail = Tail(client, made, None if options.json else lambda line: output.note(line["message"]))
    try:
        over = tail.follow(None if timeout is None else time.monotonic() + timeout)
    except KeyboardInterrupt:
        output.note(f"kvern: call {made.id} goes on: kvern logs {made.id} --follow")
        return 130
    if not over:
        output.note(f"kvern: call {made.id} still runs after {timeout:g} s: kvern logs {made.id} --follow")
    response = made.get_response() if over else None
    if options.json:
        output.as_json({**made.dump(), "response": response, "logs": tail.lines})
    elif over:
        _tell(made, function, response)
    return 0 if made.status == "Completed" else 1


def _keyed(client: CogniteClient, function: Function, data: dict[str, object], key: str) -> FunctionCall:
    path = f"/functions/{function.id}/call"
    body = {"data": data, "nonce": client.iam.sessions.create().nonce}
    made = client.post(path, body, headers={"Idempotency-Key": key}).json()
    found = client.functions.calls.retrieve(call_id=made["id"], function_id=function.id)
    if found is None:
        raise Complaint(f"call {made['id']} was deleted with its function")
    return found


def _tell(made: FunctionCall, function: Function, response: Any) -> None:
    if made.status == "Completed":
        output.as_json(response)
        return
    error = made.error
    text = error.get("message") if isinstance(error, dict) else error
    output.note(
        f"kvern: call {made.id} of {lookup.called(function)} ended as {made.status}: {text or 'no reason given'}"
    )
