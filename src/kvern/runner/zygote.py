"""The zygote: one quiet, single-threaded process in a box, from which workers are forked.

The server asks over a SOCK_SEQPACKET socket, a message each: `{"fork": id}` with two descriptors (the worker's call
socket, the write end of its log pipe). The zygote says `{"ready": true}` once, and `{"exited": id, "status": n}` or
`{"unforked": id, "message": text}` for each worker. Processes that a dead worker left behind become children of the
zygote, which kills them. When the server goes, all end.
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

from . import worker
from .frames import LOST
from .process import be_subreaper, children


def serve(descriptor: int) -> NoReturn:
    """Fork workers for the server at the other end of `descriptor` until it goes, then kill them and exit."""
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, _wake)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    os.umask(0o022)
    be_subreaper()
    preload()
    gc.collect()
    gc.freeze()  # a worker's collector then never touches, and so never copies, the pages that it shares
    control.send(b'{"ready":true}')
    private = (wake_read, wake_write)
    workers: dict[int, int] = {}
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wake_read, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready == wake_read:
                os.read(wake_read, 4096)
                reap(control, workers)
                continue
            request, passed = next_request(control)
            if request is None:
                end(workers)
            fork(control, request["fork"], passed, workers, private)


def _wake(signum: int, frame: object) -> None:
    """That there is a handler makes the signal reach the wakeup descriptor."""


def preload() -> None:
    """Load what workers would otherwise each load for themselves: so far what the runner itself needs."""


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


def fork(
    control: socket.socket, number: int, passed: list[int], workers: dict[int, int], private: tuple[int, ...]
) -> None:
    """Fork worker `number`, which gets the descriptors `passed` and none of `private` and `control`."""
    call, log = passed
    try:
        pid = os.fork()
    except OSError as error:
        report(control, {"unforked": number, "message": f"no process could be forked: {error.strerror}"})
    else:
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                control.close()
                for descriptor in private:
                    os.close(descriptor)
                worker.run(socket.socket(fileno=call), log)
            except OSError:
                os._exit(LOST)
            except BaseException:
                os.write(2, traceback.format_exc().encode())
            finally:
                os._exit(1)
        workers[pid] = number
    os.close(call)
    os.close(log)


def reap(control: socket.socket, workers: dict[int, int]) -> None:
    """Report the workers that died, and kill what they left: a child that is no worker can only be such a thing."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            break
        if pid in workers:
            report(control, {"exited": workers.pop(pid), "status": status})
    for pid in children():
        if pid not in workers:
            kill(pid)


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
