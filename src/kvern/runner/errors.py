"""Exceptions as text for people: one line, and the traceback cut free of the runner's own frames."""

from __future__ import annotations

import os
import traceback
from types import TracebackType

_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep  # noqa: PTH100, PTH120 - as it stands in code objects
_ASYNCIO = os.path.dirname(traceback.__file__) + os.sep + "asyncio" + os.sep  # noqa: PTH120
_IMPORTLIB = os.path.dirname(traceback.__file__) + os.sep + "importlib" + os.sep  # noqa: PTH120

MESSAGE_LIMIT = 2_000
TRACE_LIMIT = 60_000
"""Characters. Of a longer trace the end is kept: it is what tells."""


def describe(error: BaseException) -> tuple[str, str]:
    """The last line of the traceback, such as `ValueError: no`, and the whole traceback. Never raises."""
    try:
        told = traceback.TracebackException(type(error), error, user_frames(error.__traceback__))
        lines = list(told.format_exception_only())
        trace = "".join(told.format())
        # A syntax error's message follows the lines that show the place; other messages may have lines of their own.
        text = lines[-1] if isinstance(error, SyntaxError) else lines[0]
        message = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    except BaseException as trouble:
        message = f"{type(error).__name__}: <the exception cannot be shown: {type(trouble).__name__}>"
        trace = message + "\n"
    if len(trace) > TRACE_LIMIT:
        trace = "[…]\n" + trace[-TRACE_LIMIT:]
    return clean(message[:MESSAGE_LIMIT]), clean(trace)


def clean(text: str) -> str:
    """`text` with lone surrogates replaced, so that it can be sent as UTF-8."""
    return text.encode("utf-8", "replace").decode()


def user_frames(trace: TracebackType | None) -> TracebackType | None:
    """`trace` without the frames of runner, import machinery and event loop that lead to the handler."""
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if not (name.startswith((_OWN, _ASYNCIO, _IMPORTLIB, "<frozen importlib"))):
            return trace
        trace = trace.tb_next
    return None
