"""Kept wheels: what an environment was made of, so that a lost one is made again without a network.

uv keeps no wheels, only what was in them, in a cache that it may change or clean at any time. So the wheels are packed
anew from the environment, by what each distribution's RECORD says (the specifications "Recording installed projects"
and "Binary distribution format"). That holds for what was built from source as well, and for another minor version of
the same Python.

A wheel is named by the hash of its content, and an environment's list says which of them it needs. So nobody can put
another one in its place, whatever a RECORD claims.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections import deque
from pathlib import Path

from kvern.build import packing
from kvern.build.process import run
from kvern.build.revision import Environment
from kvern.build.staging import remove, staging

_log = logging.getLogger(__name__)


class Wheels:
    """Keeps wheels below one folder: `<hash>/<file name>`, and `<environment>.json`; while an environment's wheels are
    being packed, `<environment>.part`. `keep`, `close` and `forget` are called on one event loop.

    Args:
        folder: made when missing.
        staging_folder: for work not done yet; on the same file system.
    """

    def __init__(self, folder: Path, staging_folder: Path) -> None:
        self._folder = folder
        self._staging = staging_folder
        self._seen: set[str] = set()
        """Environments whose wheels are there, or about to be, or cannot be kept."""
        self._waiting: deque[tuple[Environment, str]] = deque()
        self._packing: asyncio.Task[None] | None = None
        self._closed = False

    def keep(self, environment: Environment, built_for: str) -> None:
        """See to it that the wheels of an environment are kept: what is missing is packed in the background.

        Cheap when it was called for the same environment before. That the environment is removed meanwhile does no
        harm.

        Args:
            environment: one that is finished.
            built_for: what it was built for beside its lock; empty when it is made of wheels alone.
        """
        if self._closed or environment.key in self._seen:
            return
        self._seen.add(environment.key)
        self._waiting.append((environment, built_for))
        if self._packing is None or self._packing.done():
            self._packing = asyncio.create_task(self._pack_all(), name="pack-wheels")

    @property
    def folder(self) -> Path:
        """Where they are."""
        return self._folder

    async def close(self) -> None:
        """Break off the packing; who finds the environment next begins where it ended. Harmless when called twice."""
        self._closed = True
        self._waiting.clear()
        if self._packing is not None:
            self._packing.cancel()
            await asyncio.gather(self._packing, return_exceptions=True)

    def forget(self, used: set[str]) -> None:
        """Have the wheels of environments that are not `used` looked for again when they are: they may be removed."""
        self._seen &= used

    def pinned(self, key: str) -> tuple[str, str] | None:
        """Requirements that name the kept wheels of an environment with their hashes, and what it was built for.

        None when one of them is not there.
        """
        try:
            record = json.loads((self._folder / f"{key}.json").read_bytes())
            lines: list[str] = []
            for name, digest in record["wheels"]:
                path = self._folder / digest / name
                if not path.is_file():
                    return None
                lines.append(f"{name.partition('-')[0]} @ {path.as_uri()} --hash=sha256:{digest}\n")
            return "".join(lines), str(record["built_for"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def collect(self, used: set[str], grace: float) -> int:
        """Remove the lists of environments that are not `used`, and wheels on no list; how many wheels.

        Args:
            used: keys of environments.
            grace: seconds for which what is not used any more stays.
        """
        needed: set[str] = set()
        for path in self._folder.glob("*.json"):
            if path.stem not in used and _is_older(path, grace):
                path.unlink(missing_ok=True)
                continue
            try:
                needed.update(digest for _, digest in json.loads(path.read_bytes())["wheels"])
            except (OSError, ValueError, KeyError, TypeError):
                path.unlink(missing_ok=True)
        for path in self._folder.glob("*.part"):
            if path.stem not in used and _is_older(path, grace):
                path.unlink(missing_ok=True)
            else:
                needed.update(packing.noted(path))
        count = 0
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            if path.suffix not in (".json", ".part") and path.name not in needed and _is_older(path, grace):
                remove(path)
                count += 1
        return count

    async def _pack_all(self) -> None:
        while self._waiting:
            environment, built_for = self._waiting.popleft()
            if await asyncio.to_thread(self.pinned, environment.key) is None:
                await self._pack(environment, built_for)

    async def _pack(self, environment: Environment, built_for: str) -> None:
        said: deque[str] = deque(maxlen=1)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            async with staging(self._staging) as work:
                places = [environment.path, self._folder, work]
                command = [sys.executable, "-I", "-S", packing.__file__, *map(str, places)]
                command += [environment.key, built_for, str(os.getpid())]
                status = await run(command, {"LANG": "C.UTF-8"}, said.append)
        except OSError as error:
            status = 1
            said.append(str(error))
        if status != 0 and environment.path.exists():
            # Then it is made again from the index.
            reason = said[0] if said else f"packing them ended with status {status}"
            _log.warning("the wheels of environment %s are not kept: %s", environment.key, reason)


def _is_older(path: Path, seconds: float) -> bool:
    try:
        return time.time() - path.stat().st_mtime >= seconds
    except OSError:
        return False
