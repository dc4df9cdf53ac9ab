"""`kvern backup` and `kvern restore`."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any, NoReturn

from cyclopts import Parameter

from kvern.cli import output
from kvern.cli.complaint import Complaint
from kvern.cli.settings import check_secrets, with_settings


def _backup(
    file: Path,
    /,
    *,
    data_dir: Path = Path(".kvern"),
    database: Annotated[str | None, Parameter(show_default=False)] = None,
    blobs: Annotated[str | None, Parameter(show_default=False)] = None,
    without_keys: bool = False,
    json: bool = False,
) -> int:
    """Write all that a service keeps to one file, while it runs.

    What is answered before this begins is in the file, as of one moment. Run it as the user that the service runs as,
    in the folder where its `kvern.toml` is.

    For example:

        kvern backup kvern-monday.tar

        kvern backup /backups/kvern-monday.tar --data-dir /var/lib/kvern --json

    Args:
        file: the file to write; it must not exist.
        data_dir: the service's data folder.
        database: the PostgreSQL that the service uses, if it does; it is not in the file, use `pg_dump`.
        blobs: the `s3://bucket/prefix` that the service uses, if it does; what is there is not in the file.
        without_keys: leave out the keys and `client.json`: who has the file cannot read the secrets of functions then.
        json: print JSON.
    """
    from kvern.client.progress import Progress
    from kvern.service.backup import BackupError, back_up
    from kvern.store import StoreFault

    try:
        check_secrets(database, sys.argv)
    except ValueError as error:
        raise Complaint(str(error), exit_code=2) from error
    began = time.monotonic()
    shown = _Shown(Progress("backup"))
    try:
        with _ending_cleanly(), shown.progress:
            report = back_up(
                file,
                data_dir,
                database=database is None,
                blobs=blobs is None,
                keys=not without_keys,
                progress=shown,
            )
    except (BackupError, StoreFault) as error:
        raise Complaint(f"there is no backup: {error}") from error
    notes = [
        *_left_out(database=database is not None, blobs=blobs is not None, keys=not without_keys),
        *_warnings(report.no_master_key and not without_keys, report.lost, report.needs_index),
    ]
    if json:
        output.as_json(
            {
                "file": str(file.resolve()),
                "size": report.size,
                "seconds": round(time.monotonic() - began, 3),
                **_described(report.description),
                "blobCount": report.blobs,
                "blobBytes": report.blob_bytes,
                "lostBlobs": report.lost,
                "needIndex": report.needs_index,
                "notes": notes,
            }
        )
        return 0
    output.say(f"{file}: {report.size / 1e6:.1f} MB, {report.blobs} blobs")
    for note in notes:
        output.note(f"kvern: {note}")
    return 0


backup = with_settings("backup", _backup, only=frozenset(("data-dir", "database", "blobs")))


def restore(file: Path, /, *, data_dir: Path, json: bool = False) -> int:
    """Make a data folder of a backup; `kvern serve` starts with it then.

    Everything is checked first: a file that is damaged, or is no backup, leaves no folder behind.

    For example:

        kvern restore kvern-monday.tar --data-dir restored

        kvern serve --data-dir restored

    Args:
        file: what `kvern backup` wrote.
        data_dir: the folder to make; there must be none, or an empty one.
        json: print JSON.
    """
    from kvern.client.progress import Progress
    from kvern.service.backup import BackupError
    from kvern.service.backup import restore as make

    shown = _Shown(Progress("restore"))
    try:
        with _ending_cleanly(), shown.progress:
            description = make(file, data_dir, progress=shown)
    except BackupError as error:
        raise Complaint(str(error)) from error
    in_file = description
    notes = _left_out(
        database=in_file.database == "postgresql", blobs=in_file.blobs == "s3", keys=in_file.keys, restored=True
    )
    if json:
        output.as_json({"dataDir": str(data_dir.resolve()), **_described(description), "notes": notes})
        return 0
    output.say(f"{data_dir}: as of {output.moment(description.created_time)}, written by Kvern {description.version}")
    for note in notes:
        output.note(f"kvern: {note}")
    return 0


class _Shown:
    """Has a progress line show what a backup tells."""

    def __init__(self, progress: Any) -> None:
        self.progress = progress
        self._done = 0

    def __call__(self, amount: int, total: int) -> None:
        self._done += amount
        share = 100 * self._done // total if total else 100
        self.progress.show(f"{self._done / 1e6:.0f} of {total / 1e6:.0f} MB ({min(share, 100)} %)")


def _left_out(*, database: bool, blobs: bool, keys: bool, restored: bool = False) -> list[str]:
    """What the file does not hold, and what to do about it."""
    notes: list[str] = []
    if database and restored:
        notes.append("the database is not in it: restore the dump with pg_restore, and start with --database")
    elif database:
        notes.append(
            "the database is not in it. Dump that with pg_dump BEFORE each backup: what is uploaded in between is then "
            "left out, and what is replaced or deleted in between is missing"
        )
    if blobs:
        notes.append("the blobs are not in it: they are in S3; keep old versions there")
    if not keys and restored:
        notes.append("the keys are not in it: put them into keys/ before the service starts, else it refuses to")
    elif not keys:
        notes.append("the keys are not in it: without keys/master.key no secret can be read again")
    return notes


def _warnings(no_master_key: bool, lost: list[str], needs_index: int) -> list[str]:
    notes: list[str] = []
    if no_master_key:
        notes.append("the master key is not in it: the service has it from KVERN_MASTER_KEY; keep it as well")
    if lost:
        notes.append(f"WARNING: the bytes of {len(lost)} files or bundles were lost before, and are not in it")
    if needs_index:
        notes.append(
            f"{needs_index} functions would need the package index again: not all of their wheels are kept yet"
        )
    return notes


def _described(description: Any) -> dict[str, Any]:
    import msgspec

    return dict(msgspec.to_builtins(description))


@contextlib.contextmanager
def _ending_cleanly() -> Generator[None, None, None]:
    """Have SIGTERM clear away what is half done, as Ctrl-C does."""

    def leave(number: int, _frame: object) -> NoReturn:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
