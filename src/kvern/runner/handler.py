"""Find and load the handler: the bundle's entry file, and in it `handle`."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import describe
from .source import CODE, ENTRY, module_name
from .variables import search

ARGUMENTS = ("client", "data", "secrets", "function_call_info")
"""What `handle` may take, by keyword (contract 11.3)."""


class NotLoaded(Exception):
    """The handler cannot be loaded: `message` is one line for people, `trace` the traceback, which may be empty."""

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.trace = trace


@dataclass(frozen=True)
class Handler:
    """A loaded handler.

    Args:
        handle: the callable.
        takes: which of `ARGUMENTS` it is given.
        function_id: the function that it is.
        secrets: the JSON text of the function's secrets.
    """

    handle: Callable[..., Any]
    takes: frozenset[str]
    function_id: int
    secrets: str


def load(code: str, entry: str, function_id: int, secrets: str) -> Handler:
    """Import the file `entry` below the folder `code` and look at its `handle`. Raises NotLoaded."""
    path = os.path.join(code, entry)  # noqa: PTH118
    if not os.path.isfile(path):  # noqa: PTH113
        raise NotLoaded(f"no Python module was found at {entry!r} in the zip")
    try:
        with open(path, "rb") as source:  # noqa: PTH123
            if b"async" in source.read():
                importlib.import_module("asyncio")  # before the function's folder is searched, which may hold one
        sys.path[:0] = [code, *search(code)]
        folder = os.path.dirname(path)  # noqa: PTH120
        if folder != code:  # for modules beside the handler, as `python src/handler.py` finds them; after all others
            sys.path.append(folder)
        sys.argv = [path]
        os.environ[CODE], os.environ[ENTRY] = code, entry
        module = importlib.import_module(module_name(code, entry))
        handle: Any = getattr(module, "handle", None)
        if handle is None:
            raise NotLoaded(
                f"{entry} defines no 'handle': it must, as a function or another callable, at its top level"
            )
        if not callable(handle):
            raise NotLoaded(f"'handle' in {entry} must be callable; it is of type {type(handle).__name__!r}")
        takes = arguments_of(handle)
        if "client" in takes:
            importlib.import_module(".client", __package__)  # the SDK is imported now, not in the first call's time
    except NotLoaded:
        raise
    except BaseException as error:
        raise NotLoaded(*describe(error)) from None
    return Handler(handle, takes, function_id, secrets)


def arguments_of(handle: Callable[..., Any]) -> frozenset[str]:
    """Which of `ARGUMENTS` to pass to `handle`. Raises NotLoaded when it cannot be called with those alone."""
    try:
        parameters = inspect.signature(handle).parameters.values()
    except (TypeError, ValueError) as error:
        raise NotLoaded(f"the arguments of 'handle' cannot be told: {error}") from None
    allowed = ", ".join(ARGUMENTS)
    takes: set[str] = set()
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD:
            takes.update(ARGUMENTS)
        elif parameter.kind is parameter.VAR_POSITIONAL:
            continue
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            if parameter.default is parameter.empty:
                raise NotLoaded(
                    f"'handle' takes {parameter.name!r} by position only; arguments are passed by keyword ({allowed})"
                )
        elif parameter.name in ARGUMENTS:
            takes.add(parameter.name)
        elif parameter.default is parameter.empty:
            raise NotLoaded(f"'handle' takes the argument {parameter.name!r}, which it may not: allowed are {allowed}")
    return frozenset(takes)
