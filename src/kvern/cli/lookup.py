"""From the name that a user types to the function or the call that is meant."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from kvern.cli.complaint import Complaint

if TYPE_CHECKING:
    from kvern.client import CogniteClient
    from kvern.client.data_classes.functions import Function, FunctionCall


def function(client: CogniteClient, name: str) -> Function:
    """The function with this external id, else with this name, else with this id.

    Raises:
        Complaint: when there is none, or several have the name.
    """
    found = client.functions.retrieve(external_id=name)
    if found is not None:
        return found
    named = client.functions.list(name=name, limit=None)
    if len(named) == 1:
        return named[0]
    if named:
        ids = ", ".join(str(one.id) for one in named)
        raise Complaint(f"{len(named)} functions are called {name!r}; say which by its id: {ids}")
    found = client.functions.retrieve(id=int(name)) if is_id(name) else None
    if found is not None:
        return found
    known = [called(one) for one in client.functions.list(limit=None)]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "`kvern functions` lists what there is"
    raise Complaint(f"no function has the external id, the name or the id {name!r}; {hint}")


def call(client: CogniteClient, id: int) -> FunctionCall | None:  # noqa: A002
    """The call with this id, whichever function it belongs to. The functions called last are asked first."""
    functions = client.functions.list(limit=None)
    for one in sorted(functions, key=lambda one: one.last_called or 0, reverse=True):
        if one.last_called is not None:
            found = client.functions.calls.retrieve(call_id=id, function_id=one.id)
            if found is not None:
                return found
    return None


def called(function: Function) -> str:
    """What a user calls a function: its external id, or its id when it has none."""
    return function.external_id or str(function.id)


def is_id(name: str) -> bool:
    """Whether a name can be an id (contract 1.4)."""
    return name.isascii() and name.isdigit() and 1 <= int(name) <= 2**53 - 1
