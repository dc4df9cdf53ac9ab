"""What an aborted run has started ends, however the run was aborted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.environments import ROOT

RUN = """
import subprocess, sys, time
from tests import guardian
guardian.guard()
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
child = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
subprocess.Popen([sys.executable, "-c", child, deaf], start_new_session=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_all_descendants_of_an_aborted_run_end(number: signal.Signals, tmp_path: Path) -> None:
    patience = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    # A shell that starts the tests in the background has Ctrl-C ignored, and so would this run.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = RUN.replace("guardian.guard()", f"guardian.PATIENCE = 0.2\n{heard}\nguardian.guard()")
    run = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=patience, cwd=tmp_path)
    assert run.stdout is not None
    with run.stdout:
        run.stdout.readline()  # the descendant is there, and deaf
        run.send_signal(number)
        run.wait(20)
        assert run.stdout.read() == b""  # nobody holds the other end any more
