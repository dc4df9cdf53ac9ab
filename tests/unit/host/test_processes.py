from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from kvern.host import processes

FAMILY = """
import os, subprocess, sys
child = subprocess.Popen(["sleep", "300"])
block = bytearray(50_000_000)
print(child.pid, flush=True)
sys.stdin.read()
child.kill()
"""


def test_a_tree_is_a_process_and_its_descendants_parents_first() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert processes.tree(parent.pid) == [parent.pid, child]
        assert os.getpid() in processes.tree(os.getppid())
        used = processes.private_memory([parent.pid, child, 2**22 - 1])
        assert 50_000_000 < used < 150_000_000
        parent.communicate("")


def test_a_process_that_is_gone_or_a_zombie_has_not_started() -> None:
    with subprocess.Popen(["sleep", "300"]) as process:
        assert processes.started(process.pid) is not None
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert processes.started(process.pid) is None
        process.wait()
    assert processes.started(process.pid) is None
    assert processes.tree(process.pid) == [process.pid]
    processes.kill(process.pid)


def test_processes_are_found_by_a_mark_in_their_environment() -> None:
    with subprocess.Popen(["sleep", "300"], env={"KVERN_TEST_MARK": "a-b"}) as process:
        assert (process.pid, "a-b") in set(processes.marked("KVERN_TEST_MARK"))
        process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "left with status 0"),
        (3, "left with status 3"),
        (-11, "died by signal 11 (SIGSEGV)"),
        (-60, "died by signal 60 (unknown)"),
    ],
)
def test_an_ending_is_told_in_words(code: int, words: str) -> None:
    assert processes.ending(code) == words


def test_threads_of_this_user_are_counted() -> None:
    assert processes.count_of_user() >= 1
