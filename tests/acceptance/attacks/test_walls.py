"""Code in a box tries to reach the machine, the service, and the other processes of its own function."""

from __future__ import annotations

import ctypes
import io
import os
import secrets
import socket
import textwrap
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

from kvern.sandbox.detect import choose
from tests.acceptance.api import Api, bundle
from tests.acceptance.server import Server

LANDLOCK = ctypes.CDLL(None).syscall(444, None, 0, 1)
"""The version of Landlock that the kernel has; negative for none."""

pytestmark = pytest.mark.skipif(not choose("auto")[0].is_boundary, reason="no boundary on this machine")

PRELUDE = """
import errno, os, resource, socket
def tried(deed, *arguments):
    try:
        return deed(*arguments) or "done"
    except OSError as error:
        return errno.errorcode[error.errno]
def connect(name):
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(name)
def write(path, text):
    with open(path, "w") as file:
        file.write(text)
"""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Server(tmp_path_factory.mktemp("walls")) as running, Api(running.environment()) as bare:
        yield bare


@pytest.fixture(scope="module")
def probe(api: Api) -> int:
    return api.ready(
        """
        def handle(data):
            scope = {}
            exec(data["code"], scope)
            return scope["result"]
        """
    )


@pytest.fixture(scope="module")
def listener() -> Iterator[str]:
    """The name of an abstract socket of this machine at which somebody listens."""
    name = f"kvern-test-{secrets.token_hex(4)}"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(f"\0{name}")
        one.listen(16)
        yield name


def told(api: Api, probe: int, code: str) -> Any:
    call = api.call(probe, {"code": PRELUDE + textwrap.dedent(code)})
    assert call["status"] == "Completed", call["error"]
    return api.response(call)


def spying_wheel(listener: str) -> bytes:
    """A package that, when it is imported, tries to reach an abstract socket and to be spared by the kernel."""
    deeds = f"""
reached = tried(connect, "\\0{listener}")
spared = tried(write, "/proc/self/oom_score_adj", "0")
"""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("spy.py", PRELUDE + deeds + "process = os.getpid()\n")
        archive.writestr("spy-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: spy\nVersion: 1.0\n")
        archive.writestr("spy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("spy-1.0.dist-info/RECORD", "")
    return out.getvalue()


@pytest.mark.skipif(LANDLOCK < 6, reason="the kernel cannot scope abstract sockets (Linux 6.12)")
def test_an_imported_package_reaches_no_abstract_socket_of_the_machine_and_is_spared_no_more(
    api: Api, listener: str
) -> None:
    content = bundle(
        handler="""
        import os, spy
        def handle(data):
            return [spy.process != os.getpid(), spy.reached, spy.spared]
        """,
        requirements="./spy-1.0-py3-none-any.whl\n",
    )
    packed = io.BytesIO(content)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("spy-1.0-py3-none-any.whl", spying_wheel(listener))
    function = api.deployed(packed.getvalue())
    assert function["status"] == "Ready", function["error"]
    was_in_the_zygote, reached, spared = api.response(api.call(int(function["id"])))
    assert was_in_the_zygote
    assert (reached, spared) == ("EPERM", "EACCES")


@pytest.mark.skipif(LANDLOCK < 6, reason="the kernel cannot scope abstract sockets (Linux 6.12)")
def test_a_handler_reaches_no_abstract_socket_of_the_machine(api: Api, probe: int, listener: str) -> None:
    assert told(api, probe, f"result = tried(connect, '\\0{listener}')") == "EPERM"


@pytest.mark.skipif(LANDLOCK < 2 and os.geteuid() != 0, reason="nothing on this machine keeps it")
@pytest.mark.parametrize("process", ["self", "{os.getppid()}", "self/task/{os.getpid()}"])
def test_a_handler_cannot_have_the_kernel_spare_it(api: Api, probe: int, process: str) -> None:
    code = f"""
        path = f"/proc/{process}/oom_score_adj"
        result = tried(write, path, "0"), open(path).read().strip()
    """
    verdict, score = told(api, probe, code)
    assert verdict in ("EACCES", "EPERM")
    assert score == "500"


@pytest.mark.parametrize(
    "deed",
    [
        "os.setpriority, os.PRIO_PROCESS, os.getppid(), 19",
        "os.setpriority, os.PRIO_PGRP, 0, 19",
        "os.setpriority, os.PRIO_USER, 0, 19",
        "os.sched_setscheduler, os.getppid(), os.SCHED_IDLE, os.sched_param(0)",
        "os.sched_setparam, os.getppid(), os.sched_param(0)",
        "resource.prlimit, os.getppid(), resource.RLIMIT_CPU, (1, 1)",
        "resource.prlimit, os.getppid(), resource.RLIMIT_NOFILE, (8, 8)",
    ],
)
def test_a_handler_slows_or_starves_no_other_process_of_its_function(api: Api, probe: int, deed: str) -> None:
    assert told(api, probe, f"result = tried({deed})") == "EPERM"
    assert told(api, probe, "result = os.getpriority(os.PRIO_PROCESS, os.getppid())") == told(
        api, probe, "result = os.getpriority(os.PRIO_PROCESS, 0)"
    )


def test_a_handler_may_slow_itself_move_files_and_write_where_it_may(api: Api, probe: int) -> None:
    code = """
        import shutil, tempfile
        os.nice(1)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        one, other = tempfile.mkdtemp(), tempfile.mkdtemp()
        write(f"{one}/file", "moved")
        os.rename(f"{one}/file", f"{other}/file")
        os.link(f"{other}/file", f"{one}/again")
        write("/dev/null", "x"); write("/dev/shm/x", "x")
        result = open(f"{one}/again").read()
    """
    assert told(api, probe, code) == "moved"


def test_a_worker_that_pins_the_zygote_to_a_core_pins_no_later_worker(api: Api, probe: int) -> None:
    told(api, probe, "os.sched_setaffinity(os.getppid(), {min(os.sched_getaffinity(0))}); result = 1")
    api.call(probe, {"code": "import os; os._exit(3)"})  # the next call is a new worker's
    assert told(api, probe, "result = len(os.sched_getaffinity(0))") == len(os.sched_getaffinity(0))
