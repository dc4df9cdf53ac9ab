"""Where trees go that nobody needs any more: out of sight at once, off the disk in the background."""

from __future__ import annotations

import contextlib
import secrets
import threading
from pathlib import Path

from kvern.build.staging import remove


class Trash:
    """Removes trees one after the other in a thread of its own, which is there as long as there are some.

    Nobody waits for it, the end of the server neither: what is not gone by then is taken up by `resume`. All methods
    may be called from any thread.

    Args:
        folder: holds nothing else; on the file system of what is thrown away; made when missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._waiting: list[Path] = []
        self._is_busy = False

    def take(self, path: Path) -> None:
        """Have a file or a tree vanish from its place now, and from the disk some time. Harmless when it is gone."""
        self._folder.mkdir(parents=True, exist_ok=True)
        moved = self._folder / secrets.token_hex(8)
        with contextlib.suppress(FileNotFoundError):
            path.rename(moved)
            self._remove([moved])

    def resume(self) -> None:
        """Go on with what an earlier server left."""
        if self._folder.is_dir():
            self._remove(list(self._folder.iterdir()))

    def _remove(self, paths: list[Path]) -> None:
        with self._lock:
            self._waiting += paths
            if self._is_busy or not self._waiting:
                return
            self._is_busy = True
        threading.Thread(target=self._empty, name="trash", daemon=True).start()

    def _empty(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._is_busy = False
                    return
                path = self._waiting.pop()
            with contextlib.suppress(OSError):  # what stays, the next start takes up
                remove(path)
