"""One call: from the frame that orders it to the answer."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Awaitable
from typing import Any, cast

from . import frames
from .deadline import MAIN, Deadline
from .errors import clean, describe
from .handler import Handler
from .variables import pass_proxies

Answer = tuple[int, dict[str, Any], bytes]
"""Kind, meta and body of the frame that answers."""


def run(handler: Handler, order: frames.Frame) -> Answer:
    """Call `handle` as `order` says. Never raises."""
    own = os.getpid()
    deadline = (
        Deadline(order.meta["soft"], order.meta["timeout"] - order.meta["soft"]) if "soft" in order.meta else None
    )
    try:
        passed = arguments(handler, order)
        if "traceparent" in order.meta:  # the worker takes it away with whatever else the call leaves in there
            os.environ["TRACEPARENT"] = order.meta["traceparent"]
        if deadline is not None:
            deadline.arm()
        try:
            result = handler.handle(**passed)
            if isinstance(result, Awaitable):
                result = complete(cast("Awaitable[Any]", result), deadline)
        finally:
            if deadline is not None:
                deadline.disarm()
    except BaseException as error:
        if os.getpid() != own:
            os._exit(1)
        message, trace = describe(error)
        show(trace)
        kind = frames.NO_MEMORY if isinstance(error, MemoryError) else frames.RAISED
        return kind, {"message": message, "trace": trace}, b""
    return response(result, order.meta["limit"])


def arguments(handler: Handler, order: frames.Frame) -> dict[str, Any]:
    """What `handle` is passed: those arguments that it takes (contract 11.3)."""
    takes = handler.takes
    passed: dict[str, Any] = {}
    if "data" in takes:
        passed["data"] = json.loads(order.body)
    if "secrets" in takes:
        passed["secrets"] = json.loads(handler.secrets)
    if "function_call_info" in takes:
        info = {"function_id": handler.function_id, "call_id": order.call_id}
        for key in ("schedule_id", "scheduled_time"):
            if key in order.meta:
                info[key] = order.meta[key]
        if "soft" in order.meta:
            info["deadline"] = int((time.time() + order.meta["timeout"]) * 1000)
        passed["function_call_info"] = info
    if "client" in takes:
        from . import client

        pass_proxies(order.meta["access"]["base_url"])
        passed["client"] = client.make(order.meta["access"])
    return passed


def complete(result: Awaitable[Any], deadline: Deadline | None = None) -> Any:
    """What an async `handle` comes to."""
    import asyncio

    async def wait() -> Any:
        task = asyncio.current_task()
        if deadline is not None and task is not None:
            task.set_name(MAIN)
        return await result

    loop = event_loop()
    try:
        return loop.run_until_complete(wait())
    except asyncio.CancelledError:
        if deadline is not None and deadline.passed:
            raise deadline.error() from None
        raise
    finally:
        if not loop.is_closed():
            end_tasks(loop)


def event_loop() -> Any:
    """The worker's event loop, one for all its calls, so that a client which one call opened serves the next.

    It is the one that the handler's module made, when it did.
    """
    import asyncio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            loop = asyncio.get_event_loop()
        except RuntimeError:  # there is none
            loop = None
    if loop is None or loop.is_closed():
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
    return loop


def end_tasks(loop: Any) -> None:
    """Cancel what the call left under way on the loop, as `asyncio.run` does."""
    import asyncio

    tasks = asyncio.all_tasks(loop)
    if not tasks:
        return
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


def response(result: object, limit: int) -> Answer:
    """The answer that carries `result`, or says why it cannot be one."""
    try:
        text = json.dumps(result, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        body = text.encode()
    except UnicodeEncodeError:  # lone surrogates exist in JSON only as escapes
        body = json.dumps(result, allow_nan=False, separators=(",", ":")).encode()
    except MemoryError as error:
        message, trace = describe(error)
        return frames.NO_MEMORY, {"message": message, "trace": trace}, b""
    except BaseException as error:
        message, _ = describe(error)
        return unusable(f"handle must return what JSON can hold, it returned {kind_of(result)}: {message}")
    if len(body) > limit:
        return unusable(f"the response is too large: {len(body)} bytes of JSON, the limit is {limit} bytes")
    return frames.RETURNED, {}, body


def unusable(message: str) -> Answer:
    message = clean(message)
    show(message + "\n")
    return frames.UNUSABLE, {"message": message, "trace": ""}, b""


def kind_of(value: object) -> str:
    """The type of `value` for people: `a datetime.date`."""
    cls = type(value)
    name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    return f"a value of type {name!r}"


def show(text: str) -> None:
    """Write to the call's log what went wrong, wherever the handler has led stderr."""
    stream = sys.__stderr__
    try:
        assert stream is not None
        stream.write(text)
        stream.flush()
    except Exception:
        os.write(2, text.encode())
