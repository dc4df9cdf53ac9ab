"""A worker: load the handler once; for ever: next call, run it, answer."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import socket
import sys
import time
from typing import Any, NoReturn

from . import call, frames
from .folder import WorkingFolder, place
from .handler import Handler, NotLoaded, load
from .leftovers import Leftovers
from .output import Output
from .preload import reseed
from .process import be_subreaper, die_with_parent, keep_to_itself, lower
from .variables import warn


def run(control: socket.socket, log: int, output: Output, printed: bytes, work: str) -> NoReturn:
    """Serve calls that come over `control` until the server closes it.

    Args:
        control: the worker's own socket.
        log: the pipe to which all output goes.
        output: makes it go there.
        printed: what the modules that the zygote loaded have printed, as they would have here.
        work: where its working folder is made.
    """
    parent = os.getppid()
    be_subreaper()
    if die_with_parent(signal.SIGKILL) and os.getppid() != parent:
        os._exit(0)
    keep_to_itself()
    output.lead_to(log)
    faulthandler.enable(file=2, all_threads=False)
    os.register_at_fork(after_in_child=lambda: os.close(control.detach()) if control.fileno() >= 0 else None)
    own = os.getpid()
    control.send(b"\0")  # the server reads our pid, as it sees it, from this message's credentials
    frame = frames.receive(control)
    if frame is None or frame.kind != frames.LOAD:
        os._exit(0)
    if printed:
        os.write(log, printed)
    reseed()
    folder = WorkingFolder(frame.meta["code"], place(work, own))
    try:
        folder.make()
    except OSError:  # no room is left; it works where the zygote does
        os.chdir(work)
    try:
        handler = prepare(frame.meta)
    except NotLoaded as error:
        if os.getpid() == own:
            sys.stderr.write(error.trace)
            output.restore()
            control.sendall(frames.encode(frames.NOT_LOADED, 0, {"message": error.message, "trace": error.trace}))
        os._exit(0)
    if os.getpid() != own:  # the handler's module forked, and this is the child: it must not answer
        os._exit(0)
    output.restore()
    control.sendall(frames.encode(frames.LOADED, 0, {"takes": sorted(handler.takes), **used()}))
    home = os.getcwd()  # noqa: PTH109
    folder.note()
    environ, held = dict(os.environ), variables()
    leftovers = Leftovers()
    while True:
        frame = frames.receive(control)
        if frame is None or frame.kind != frames.CALL:
            os._exit(0)
        kind, meta, body = call.run(handler, frame)
        if os.getpid() != own:  # `handle` forked and returned in the child as well
            os._exit(0)
        output.restore()
        spent = leftovers.look()
        if spent:
            meta["spent"] = spent
        meta.update(used())
        if folder.changed():
            try:
                folder.restore()
            except OSError as error:
                meta["spent"] = f"its working folder could not be put back: {error}"
        control.sendall(frames.encode(kind, frame.call_id, meta, body))
        reset(home, environ, held)


def prepare(meta: dict[str, Any]) -> Handler:
    """Set limits and environment, then load the handler. Raises NotLoaded."""
    for name, limit in meta["rlimits"].items():
        lower(name, limit)
    os.environ.update(meta["env"])
    time.tzset()
    warn()
    return load(meta["code"], meta["handler"], meta["function_id"], meta["secrets"])


def used() -> dict[str, float]:
    """CPU seconds of this process and the children that it waited for, and the most memory of one of them, in bytes."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return {"cpu": round(seconds, 6), "peak": max(own.ru_maxrss, children.ru_maxrss) * 1024}


def variables() -> dict[Any, Any]:
    """A copy of the environment variables as Python holds them, to compare them: reading each decodes it anew."""
    return dict(getattr(os.environ, "_data", os.environ))


def reset(home: str, environ: dict[str, str], held: dict[Any, Any]) -> None:
    """Undo what a call may have changed for the next one: timers, working folder, environment variables."""
    for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        signal.setitimer(timer, 0)
    faulthandler.cancel_dump_traceback_later()
    try:
        os.chdir(home)
    except OSError:  # the call has removed it
        pass
    if getattr(os.environ, "_data", os.environ) != held:
        os.environ.clear()
        os.environ.update(environ)
