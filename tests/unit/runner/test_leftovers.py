from __future__ import annotations

import queue
import subprocess
import sys
import threading

from kvern.runner.leftovers import Leftovers


def test_a_thread_that_waits_for_work_may_stay() -> None:
    before, work = Leftovers(), queue.Queue[None]()
    thread = threading.Thread(target=work.get)
    thread.start()
    assert before.look() == ""
    work.put(None)
    thread.join()


def test_a_thread_that_goes_on_by_itself_may_not() -> None:
    before, stop = Leftovers(), threading.Event()
    thread = threading.Thread(target=stop.wait, args=(20,), name="ticker")
    thread.start()
    assert before.look() == "the call left the thread 'ticker' running"
    assert Leftovers().look() == ""  # it was there before
    stop.set()
    thread.join()
    assert before.look() == ""


def test_a_child_process_may_not_stay() -> None:
    before = Leftovers()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert before.look() == "the call left child processes behind"
    assert Leftovers().look() == ""
    child.communicate(b"\n")
    assert before.look() == ""
