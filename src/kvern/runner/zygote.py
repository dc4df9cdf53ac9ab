"""The zygote: one quiet, single-threaded process in a box, from which workers are forked.

The two exchange messages over a SOCK_SEQPACKET socket. The zygote says `{"up": true}`, with the listening sockets that
were asked for; the server holds it to its
limits and sends `{"begin": true}` with a descriptor from which the zygote reads its plan; the zygote loads the
packages that the function imports, `{"loading": name}` before each, and says `{"ready": true}`, or `{"left": name,
"why": text}` before it leaves because a package is none that a zygote can have (see `preload.py`).

Then the server asks `{"fork": id}` with two descriptors (the worker's call socket, the write end of its log pipe), and
the zygote says, for each worker, `{"exited": id, "status": n, "cpu": seconds, "peak": bytes}` or `{"unforked": id,
"message": text}`. Processes that a dead worker left behind become children of the zygote, which kills them. When the
server goes, all end.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import time
import traceback
from typing import NoReturn

from . import bundle, preload, source, worker
from .folder import place
from .frames import LOST
from .output import Output
from .process import be_expendable, be_subreaper, children, lower, shut_in

SWEEP_MOST = 2000
"""Files that the zygote removes itself, in which time it can fork no worker."""


class Plan:
    """What the server wants a zygote to be. See `kvern.host.zygote`, which makes it.

    Args:
        code: the bundle's folder.
        handler: the entry file in it.
        env: environment variables that packages may look at when they are loaded.
        left: modules not to load here; `*` for none at all.
        rlimits: the limits of this process, by name.
        scratch: folders that can be written to, emptied whenever the last worker has gone.
        work: the one of them in which each worker has its working folder.
    """

    def __init__(
        self,
        code: str,
        handler: str,
        env: dict[str, str],
        left: list[str],
        rlimits: dict[str, int],
        scratch: list[str],
        work: str,
    ) -> None:
        self.code = code
        self.handler = handler
        self.env = env
        self.left = left
        self.rlimits = rlimits
        self.scratch = scratch
        self.work = work


def serve(descriptor: int, places: list[tuple[str, int]]) -> NoReturn:
    """Fork workers for the server at the other end of `descriptor` until it goes, then kill them and exit.

    Args:
        descriptor: of the socket to the server.
        places: addresses and ports at which to listen for the server.
    """
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    os.umask(0o022)
    be_subreaper()
    be_expendable()
    shut_in()  # before anything foreign is loaded
    listeners = listen(places)
    # The server reads our pid, as it sees it, from this message's credentials.
    socket.send_fds(control, [b'{"up":true}'], [listener.fileno() for listener in listeners])
    for listener in listeners:
        listener.close()
    request, passed = next_request(control)
    if request is None:
        os._exit(0)
    with open(passed[0], "rb") as file:  # noqa: PTH123
        plan = Plan(**json.loads(file.read()))
    output = Output()
    printed = prepare(control, plan)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, _wake)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    os.umask(0o022)
    gc.collect()
    gc.freeze()  # a worker's collector then never touches, and so never copies, the pages that it shares
    report(control, {"ready": True})
    private = (wake_read, wake_write)
    workers: dict[int, int] = {}
    cores = os.sched_getaffinity(0)
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wake_read, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready == wake_read:
                os.read(wake_read, 4096)
                busy = bool(workers)
                reap(control, workers, plan.work)
                if busy and not workers and not all(map(empty, plan.scratch)):
                    end(workers)
                continue
            request, passed = next_request(control)
            if request is None:
                end(workers)
            number, (call, log) = request["fork"], passed
            os.sched_setaffinity(0, cores)  # a worker can change it, and the next one would be born with that
            if fork(control, number, workers):
                run_worker(control, private, call, log, output, printed, plan.work)
            os.close(call)
            os.close(log)


def listen(places: list[tuple[str, int]]) -> list[socket.socket]:
    """Sockets that listen at `places`, up to the first at which none can."""
    listeners: list[socket.socket] = []
    for host, port in places:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listener = socket.socket(family, socket.SOCK_STREAM)
            listeners.append(listener)
            listener.bind((host, port))
            listener.listen(128)
        except OSError:  # such as a port that takes a privilege
            listeners.pop().close()
            break
    return listeners


def prepare(control: socket.socket, plan: Plan) -> bytes:
    """Load what the bundle imports; returns what was printed. Leaves when that went wrong."""
    for name, limit in plan.rlimits.items():
        lower(name, limit)
    os.environ.update(plan.env)
    time.tzset()
    made = preload.survey(plan.code, plan.handler)
    source.follow(plan.code, made.codes)
    if "*" in plan.left:
        return b""
    home = os.getcwd()  # noqa: PTH109
    try:
        printed = preload.load(
            made.modules, bundle.top_names(plan.code), plan.left, lambda name: report(control, {"loading": name})
        )
    except preload.Spoiled as spoiled:
        name, why = spoiled.args
        report(control, {"left": name, "why": why[:1000]})
        end({})
    os.chdir(home)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return printed


def _wake(signum: int, frame: object) -> None:
    """That there is a handler makes the signal reach the wakeup descriptor."""


def next_request(control: socket.socket) -> tuple[dict[str, int] | None, list[int]]:
    """The server's next request with the descriptors that came with it; None when the server has gone."""
    size = socket.CMSG_SPACE(2 * 4)
    try:
        text, ancillary, _, _ = control.recvmsg(4096, size, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:
        return None, []
    passed: list[int] = []
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            passed = [int.from_bytes(content[i : i + 4], "little") for i in range(0, len(content) // 4 * 4, 4)]
    return (json.loads(text) if text else None), passed


def fork(control: socket.socket, number: int, workers: dict[int, int]) -> bool:
    """Fork worker `number`; True in the worker."""
    try:
        pid = os.fork()
    except OSError as error:
        report(control, {"unforked": number, "message": f"no process could be forked: {error.strerror}"})
        return False
    if pid == 0:
        return True
    workers[pid] = number
    return False


def run_worker(
    control: socket.socket, private: tuple[int, ...], call: int, log: int, output: Output, printed: bytes, work: str
) -> NoReturn:
    """Be a worker, which has the descriptors `call` and `log` and none of `private` and `control`."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        control.close()
        for descriptor in private:
            os.close(descriptor)
        worker.run(socket.socket(fileno=call), log, output, printed, work)
    except OSError:
        os._exit(LOST)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(1)


def reap(control: socket.socket, workers: dict[int, int], work: str) -> None:
    """Report the workers that died, and kill what they left: a child that is no worker can only be such a thing."""
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            break
        if pid in workers:
            path = place(work, pid)
            if empty(path) and os.path.isdir(path):  # noqa: PTH112
                os.rmdir(path)  # noqa: PTH106
            told = {"cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss * 1024}
            report(control, {"exited": workers.pop(pid), "status": status, **told})
    for pid in children():
        if pid not in workers:
            kill(pid)


def empty(folder: str) -> bool:
    """Remove what is in `folder`; False when that is more than a moment's work, and the box must be made anew."""
    left = SWEEP_MOST
    try:
        for parent, folders, files in os.walk(folder, topdown=False):
            left -= len(files) + len(folders)
            if left < 0:
                return False
            for name in files:
                os.unlink(os.path.join(parent, name))  # noqa: PTH108, PTH118
            for name in folders:
                path = os.path.join(parent, name)  # noqa: PTH118
                if os.path.islink(path):  # noqa: PTH114
                    os.unlink(path)  # noqa: PTH108
                else:
                    os.rmdir(path)  # noqa: PTH106
    except (OSError, RecursionError):
        return False
    return True


def report(control: socket.socket, message: dict[str, object]) -> None:
    """Tell the server; that it has gone is noticed by the next read."""
    try:
        control.send(json.dumps(message).encode())
    except OSError:
        pass


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def end(workers: dict[int, int]) -> NoReturn:
    """Kill all that lives below this process, and exit. A dead worker's children become ours, hence the loop."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for pid in children() or list(workers):
            kill(pid)
        try:
            pid, _ = os.waitpid(-1, 0)
        except ChildProcessError:
            break
        workers.pop(pid, None)
    os._exit(0)
