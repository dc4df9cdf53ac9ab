"""A worker's output: descriptors 1 and 2 are one pipe that the server reads, and stay so whatever a handler does."""

from __future__ import annotations

import io
import logging
import os
import sys


class Output:
    """Makes stdout and stderr lead to a pipe, and puts them back after a call.

    It is made in the zygote, before any package is loaded that may hold on to `sys.stderr` or set up `logging`.

    Logging: what a handler logs at INFO or above is shown, as `LEVEL:logger:message`, unless it sets up the `logging`
    module itself. The official SDK's HTTP client is kept to warnings: it would add a line for each request.
    """

    def __init__(self) -> None:
        self._log = -1
        self._out = self._open(1)
        self._err = self._open(2)
        sys.stdout = sys.__stdout__ = self._out
        sys.stderr = sys.__stderr__ = self._err
        logging.root.setLevel(logging.INFO)
        for name in ("httpx", "httpx2"):
            logging.getLogger(name).setLevel(logging.WARNING)
        if logging.lastResort is not None:
            logging.lastResort.setLevel(logging.INFO)
            logging.lastResort.setFormatter(logging.Formatter(logging.BASIC_FORMAT))

    def lead_to(self, log: int) -> None:
        """In a worker: from now on all output goes to the pipe `log`."""
        self._log = log
        self.restore()

    def restore(self) -> None:
        """Flush, then undo what the handler did to stdout and stderr: closed, replaced or redirected."""
        others = [stream for stream in (sys.stdout, sys.stderr) if stream is not self._out and stream is not self._err]
        for stream in (*others, self._out, self._err):
            try:
                stream.flush()
            except BaseException:  # noqa: S110 - closed, or the handler's own object: nothing more to be had
                pass
        self._point()
        if self._out.closed:
            self._out = self._open(1)
        if self._err.closed:
            self._err = self._open(2)
        sys.stdout = sys.__stdout__ = self._out
        sys.stderr = sys.__stderr__ = self._err

    def _point(self) -> None:
        os.dup2(self._log, 1)
        os.dup2(self._log, 2)

    @staticmethod
    def _open(descriptor: int) -> io.TextIOWrapper:
        # closefd=False: a handler that closes sys.stdout closes the object, not the pipe.
        return open(descriptor, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
