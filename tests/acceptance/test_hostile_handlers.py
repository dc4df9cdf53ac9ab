"""Handlers that misbehave: each call gets a clear end, and the next call, and the neighbour's, go on as before."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.api import Api
from tests.acceptance.server import Server, until


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of its own, with short limits."""
    folder = tmp_path_factory.mktemp("hostile")
    with Server(folder, "--timeout-minutes", "0.05", "--log-limit-mb", "1") as running:
        yield running


@pytest.fixture(scope="module")
def api(hostile: Server) -> Iterator[Api]:
    with Api(hostile.environment()) as bare:
        yield bare


@pytest.fixture(scope="module")
def neighbour(api: Api) -> int:
    return api.ready("def handle(data): return data")


@pytest.fixture(scope="module")
def probe(api: Api) -> int:
    handler = """
        def handle(data):
            scope = {"result": "fine"}
            exec(compile(data["code"], "<given>", "exec"), scope)
            return scope["result"]
    """
    return api.ready(handler, memory=0.2)


@pytest.fixture(autouse=True)
def all_goes_on(api: Api, neighbour: int, probe: int) -> Iterator[None]:
    yield
    assert api.response(api.call(neighbour, {"n": 1})) == {"n": 1}
    assert api.response(api.call(probe, {"code": ""})) == "fine"


def ended(api: Api, probe: int, code: str) -> dict[str, Any]:
    return api.call(probe, {"code": textwrap.dedent(code)}, seconds=60)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("raise ValueError('what a day')", "ValueError: what a day"),
        ("import sys; sys.exit(3)", "3"),
        ("import os; os._exit(3)", "3"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("result = object()", "object"),
        ("result = float('nan')", "JSON"),
        ("result = {1, 2}", "set"),
        ("result = 'x' * 1_100_000", "1000000"),
        ("def f(): f()\nf()", "RecursionError"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
    ids=[
        "raises",
        "sys.exit",
        "os._exit",
        "segfault",
        "kills itself",
        "object",
        "nan",
        "set",
        "too large",
        "recursion",
        "interrupt",
    ],
)
def test_it_fails_and_says_why(api: Api, probe: int, code: str, told: str) -> None:
    call = ended(api, probe, code)
    assert call["status"] == "Failed"
    assert told in call["error"]["message"]
    assert isinstance(call["error"]["trace"], str)
    assert api.get(f"/functions/{probe}/calls/{call['id']}/response").json() == {
        "functionId": probe,
        "callId": call["id"],
    }


def test_one_that_eats_memory_is_told_so(api: Api, probe: int) -> None:
    call = ended(
        api, probe, "result = len(bytearray(600_000_000)) and [bytearray(10_000_000) for _ in range(60)] and 1"
    )
    assert call["status"] == "Failed"
    assert "memory" in call["error"]["message"].lower()


def test_one_that_forks_for_ever_is_contained(api: Api, probe: int) -> None:
    call = ended(
        api,
        probe,
        """
        import os, time
        while True:
            if os.fork() == 0:
                time.sleep(300)
        """,
    )
    assert call["status"] == "Failed"
    assert call["error"]["message"]


def test_one_that_sleeps_past_the_limit_times_out_with_all_its_children(api: Api, probe: int, hostile: Server) -> None:
    call = ended(
        api,
        probe,
        """
        import subprocess, time
        print("going to sleep", flush=True)
        subprocess.Popen(["/bin/sleep", "271.828"], start_new_session=True)
        time.sleep(300)
        """,
    )
    assert call["status"] == "Timeout"
    assert "3" in call["error"]["message"]
    assert api.logs(call)[0] == "going to sleep"
    assert 2_900 <= call["endTime"] - call["startTime"] <= 8_000
    until(lambda: not sleepers("271.828"), 10, "the child is gone")


def test_one_that_leaves_a_daemon_behind_leaves_nothing(api: Api, probe: int) -> None:
    call = ended(api, probe, "import subprocess; subprocess.Popen(['/bin/sleep', '314.159'], start_new_session=True)")
    assert call["status"] == "Completed"
    until(lambda: not sleepers("314.159"), 10, "the daemon is gone")


def test_one_that_prints_a_hundred_megabytes_is_cut_with_a_word(api: Api, probe: int) -> None:
    call = ended(api, probe, "for _ in range(1000): print('x' * 99_999)")
    assert call["status"] in ("Completed", "Timeout")
    lines = api.logs(call)
    assert sum(map(len, lines)) < 1_200_000
    assert "dropped" in lines[-1] or "limit" in lines[-1]


def test_one_that_prints_without_newline(api: Api, probe: int) -> None:
    call = ended(api, probe, "import sys; sys.stdout.write('y' * 300_000)")
    assert call["status"] == "Completed"
    assert "".join(api.logs(call)) == "y" * 300_000


@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.stdout.close()",
        "import os; os.close(1); os.close(2)",
        "import sys; sys.stdout = sys.stderr = None",
    ],
    ids=["close", "descriptors", "None"],
)
def test_one_that_closes_stdout_still_answers_and_the_next_one_prints(api: Api, probe: int, code: str) -> None:
    assert ended(api, probe, code)["status"] == "Completed"
    assert api.logs(ended(api, probe, "print('still here')")) == ["still here"]


def test_one_that_closes_every_descriptor(api: Api, probe: int) -> None:
    call = ended(api, probe, "import os; os.closerange(3, 4096)")
    assert call["status"] in ("Completed", "Failed")


def sleepers(figure: str) -> list[str]:
    """Processes of this machine with `figure` among their words."""
    from pathlib import Path

    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if figure.encode() in words:
            found.append(entry.name)
    return found
