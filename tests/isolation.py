"""What tests see of this machine: where packages come from, proxies and certificates, and nothing else that is set.

It is taken once, for the process that runs the tests, and thus holds for all that they start.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from tools import machine

_HOME = "HOME_OF_TESTS"
"""The variable by which the processes of one run know that its first has done it."""
_KEPT = ("KVERN_CRASHES", "KVERN_CRASH_SEED", "KVERN_SOAK_MINUTES")


def isolate() -> None:
    """Put away the settings of pip, uv, Python and Kvern, and the home folder, of who runs the tests.

    The machine's index is told in pip's variables alone: a test that sets another of these wins over it.
    """
    if _HOME in os.environ and Path(os.environ[_HOME]).is_dir():
        return  # the process that leads the run has done it
    found = machine.sources(os.environ)
    environment = machine.plain(os.environ) | {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment.pop("NETRC", None)
    folder = tempfile.mkdtemp(prefix="kvern-tests-home-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    environment |= {_HOME: folder, **machine.home(Path(folder), found), **machine.without_proxy_here(os.environ)}
    environment |= found.network | found.for_pip()
    environment |= {"UV_NO_CONFIG": "1", "UV_CACHE_DIR": found.for_uv()["UV_CACHE_DIR"]}
    os.environ.clear()
    os.environ.update(environment)
