"""Loads into the zygote what workers would otherwise each load for themselves.

A package is loaded here only when a fork of this process can do with it all that a fresh process could. One that
starts threads or processes, opens descriptors, fails, or takes the process with it, cannot be unloaded again: the
zygote then tells its name and leaves, and the server starts another that leaves that package to the workers.
"""

from __future__ import annotations

import importlib
import marshal
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence

from . import bundle
from .process import children

SURVEY_TIMEOUT = 20
"""Seconds that reading the bundle's sources may take."""

OUTPUT_LIMIT = 1 << 15
"""Bytes kept of what modules print while they are loaded."""

SETTLE_TIME = 0.5
"""Seconds that threads may take to end."""

HARMLESS = frozenset({"/dev/null", "/dev/urandom", "/dev/random", "/dev/zero"})
"""Files that processes may share: reading one takes nothing from another."""

TOP_ONLY = frozenset({"__main__", "_kvern_runner", "__future__"})


class Spoiled(Exception):
    """A module did what a fork does not survive. The first argument is its name, the second what it did."""


def survey(code: str, entry: str) -> bundle.Survey:
    """The bundle's survey, made in a child: a source that makes the parser crash harms nothing here."""
    shared = os.memfd_create("survey", os.MFD_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(SURVEY_TIMEOUT)
            made = bundle.survey(code, entry)
            with open(shared, "wb") as file:  # noqa: PTH123
                file.write(marshal.dumps((made.modules, made.codes)))
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    with open(shared, "rb") as file:  # noqa: PTH123
        file.seek(0)
        text = file.read()
    if status != 0:
        return bundle.Survey([], {})
    return bundle.Survey(*marshal.loads(text))  # noqa: S302 - our own child's, which ran nothing of the bundle's


def load(modules: Sequence[str], shadows: set[str], left: Sequence[str], tell: Callable[[str], None]) -> bytes:
    """Import `modules`; returns what they printed.

    Args:
        modules: names; those that do not exist are passed over.
        shadows: top-level names that the bundle takes for itself.
        left: modules to leave to the workers, and with each those below it.
        tell: told the name of each module before it is loaded.

    Raises:
        Spoiled: this process cannot be forked from any more.
    """
    descriptors = _descriptors()
    known = set(sys.modules)
    with _Captured() as captured:
        for name in modules:
            if name.partition(".")[0] in TOP_ONLY or any(name == one or name.startswith(one + ".") for one in left):
                continue
            tell(name)
            _load(name)
            trouble = _trouble(descriptors | captured.descriptors)
            if trouble:
                raise Spoiled(name, trouble)
            if name == bundle.SDK[-1] and name in sys.modules:
                importlib.import_module(".client", __package__)
        shadowed = {name for name in set(sys.modules) - known if name.partition(".")[0] in shadows}
        if shadowed:
            raise Spoiled("*", f"the bundle has a module of the same name as {min(shadowed)}")
    return captured.output


def reseed() -> None:
    """In a worker: take random numbers that no sibling takes. `random` sees to itself."""
    random = sys.modules.get("numpy.random")
    if random is not None:
        random.seed()


def _load(name: str) -> None:
    own = os.getpid()
    try:
        parent, _, last = name.rpartition(".")
        if parent and hasattr(sys.modules.get(parent), last):  # `from parent import last`, which is no module
            return
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if not (name == missing or name.startswith(missing + ".")):
            raise Spoiled(name, f"{type(error).__name__}: {error}") from None
    except BaseException as error:
        if os.getpid() == own:
            raise Spoiled(name, "".join(traceback.format_exception_only(type(error), error)).strip()) from None
    if os.getpid() != own:  # the module forked, and this is the child
        os._exit(0)


def _trouble(descriptors: set[int]) -> str:
    """What was begun here that a fork would not have, or would share; empty when nothing."""
    if _threads() > 1 and not _settled():
        return "it starts threads"
    for descriptor in _descriptors() - descriptors:
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115
        except OSError:  # the listing's own
            continue
        if target not in HARMLESS:
            return f"it opens {target}"
    return "it starts processes" if children() else ""


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208


def _settled() -> bool:
    """Whether all threads end at a fork, as those of OpenBLAS do, which come again when a worker needs them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pid = os.fork()
    if pid == 0:
        os._exit(0)
    deadline = time.monotonic() + SETTLE_TIME
    forked = False
    while time.monotonic() < deadline:
        if not forked:
            forked = os.waitpid(pid, os.WNOHANG)[0] == pid
        elif _threads() == 1:
            return True
        time.sleep(0.002)
    if not forked:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return False


def _descriptors() -> set[int]:
    return {int(name) for name in os.listdir("/proc/self/fd")}  # noqa: PTH208


class _Captured:
    """Keeps what is written to descriptors 1 and 2 meanwhile."""

    def __init__(self) -> None:
        self.output = b""

    def __enter__(self) -> _Captured:
        self._file = os.memfd_create("output", os.MFD_CLOEXEC)
        self._kept = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
        self.descriptors = {self._file, *self._kept.values()}
        for descriptor in self._kept:
            os.dup2(self._file, descriptor)
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:  # noqa: S110 - a module has closed or replaced it
                pass
        for descriptor, kept in self._kept.items():
            os.dup2(kept, descriptor)
            os.close(kept)
        size = os.fstat(self._file).st_size
        self.output = os.pread(self._file, OUTPUT_LIMIT, 0)
        if size > OUTPUT_LIMIT:
            self.output += f"\n[{size - OUTPUT_LIMIT} more bytes were printed while modules were loaded]\n".encode()
        os.close(self._file)
