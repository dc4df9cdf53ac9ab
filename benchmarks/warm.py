"""Warm calls of an echo handler: closed loops beside the floor and the peers, open loops, payloads.

Floor, Kvern and a peer take turns in short runs, so that all see the same machine; what each peer keeps and walls off
stands in docs/performance.md.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path

import harness
import venvs
from book import Book, Row
from harness import Api, Run

HERE = Path(__file__).resolve().parent
CONCURRENCIES = (1, 16, 64)
ROUNDS = 7
SECONDS = 0.6
LARGE = 200_000
SHARES = (0.25, 0.5, 0.75, 0.9)
QUOTAS = ("--max-calls", "100000", "--max-function-calls", "100000")
PEERS = {
    "functions-framework": "functions-framework",
    "celery": "Celery + Redis",
    "huey": "Huey (SQLite)",
    "dbos": "DBOS (SQLite)",
    "ray": "Ray",
}


def main(book: Book) -> None:
    with harness.floor() as bare, harness.served(*QUOTAS) as server, harness.load() as load:
        api = Api(server)
        url = f"{api.deploy(harness.ECHO).url}/call"

        def floor(concurrency: int, size: int = 1) -> Run:
            return load.run(url=bare, concurrency=concurrency, size=size, seconds=SECONDS)

        def kvern(concurrency: int, size: int = 1) -> Run:
            return load.run(url=url, token=api.token, concurrency=concurrency, size=size, seconds=SECONDS)

        def as_sdk(concurrency: int) -> Run:
            order = {"url": url, "token": api.token, "concurrency": concurrency, "seconds": SECONDS, "bears": True}
            return load.run(**order, **api.as_sdk)

        book.begin("warm", "Warm echo calls, closed loop")
        book.head()
        rates: dict[str, float] = {}
        for concurrency in CONCURRENCIES:
            low, ours, sdks = _in_turn(
                lambda c=concurrency: floor(c), lambda c=concurrency: kvern(c), lambda c=concurrency: as_sdk(c)
            )
            words = f"concurrency {concurrency}"
            base = book.runs(f"floor, {words}", low)
            row = book.runs(f"Kvern, no nonce, {words}", ours, base)
            sdk = book.runs(f"Kvern, as the official SDK, {words}", sdks, base)
            _meet(book, concurrency, base, row, sdk)
            rates[words] = base.rate or 0.0
        low, ours = _in_turn(lambda: floor(1, LARGE), lambda: kvern(1, LARGE))
        base = book.runs("floor, 200 kB of data, concurrency 1", low)
        book.runs("Kvern, 200 kB of data, concurrency 1", ours, base)
        _open_loops(book, load, bare, url, api.token, rates["concurrency 16"])
        for peer, title in PEERS.items():
            try:
                _compare(book, peer, title, kvern)
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                book.trouble(title, error)


def _in_turn(*each: Callable[[], Run]) -> list[list[Run]]:
    """Some rounds, in each of which all run once."""
    runs: list[list[Run]] = [[] for _ in each]
    for _ in range(ROUNDS):
        for measured, run in zip(runs, each, strict=True):
            measured.append(run())
    return runs


def _meet(book: Book, concurrency: int, base: Row, row: Row, sdk: Row) -> None:
    if concurrency in (1, 16):
        book.meet(f"sdk-{concurrency}", sdk.rate or 0.0, base.rate, sdk.rate_ratio)
    if concurrency == 1:
        book.meet("warm-1", row.quantiles["p50"] * 1e3, base.quantiles["p50"] * 1e3, row.ratio)
    if concurrency == 16:
        book.meet("warm-16", row.rate or 0.0, base.rate, row.rate_ratio)


def _open_loops(book: Book, load: harness.Driver, bare: str, url: str, token: str, floor_rate: float) -> None:
    """Calls that come at a rate of their own, at shares of what Kvern bears in a closed loop just before."""
    capacity = load.run(url=url, token=token, concurrency=16, seconds=2 * SECONDS).rate
    book.begin("warm", f"Warm echo calls, open loop; 100 % is {capacity:.0f} calls/s, the floor's {floor_rate:.0f}")
    book.head()
    for share in SHARES:
        rate = share * capacity
        base = book.runs(f"floor, {rate:.0f} calls/s", [load.run(url=bare, rate=rate, seconds=3)])
        book.runs(
            f"Kvern, {share:.0%}, {rate:.0f} calls/s", [load.run(url=url, token=token, rate=rate, seconds=3)], base
        )


def _compare(book: Book, peer: str, title: str, kvern: Callable[[int], Run]) -> None:
    venvs.python(peer)
    book.begin("warm", f"{title} (the base) and Kvern, in turn")
    book.head()
    with _peer(peer) as run:
        for concurrency in CONCURRENCIES[:2]:
            ours, theirs = _in_turn(lambda c=concurrency: kvern(c), lambda c=concurrency: run(c))
            base = book.runs(f"{title}, concurrency {concurrency}", theirs)
            row = book.runs(f"Kvern, concurrency {concurrency}", ours, base)
            if concurrency == 16 and peer in ("functions-framework", "celery"):
                book.meet(peer, row.rate or 0.0, base.rate, row.rate_ratio)


@contextlib.contextmanager
def _peer(name: str) -> Generator[Callable[[int], Run], None, None]:
    """A peer that runs: what carries out a closed loop of calls on it."""
    if name == "functions-framework":
        with _functions_framework() as url, harness.load() as load:
            yield lambda concurrency: load.run(url=url, concurrency=concurrency, seconds=SECONDS)
        return
    with harness.driver(str(venvs.python(name)), str(HERE / "peers" / f"{name}_peer.py")) as peer:
        peer.run(concurrency=1, seconds=0.2)
        yield lambda concurrency: peer.run(concurrency=concurrency, seconds=SECONDS)


@contextlib.contextmanager
def _functions_framework() -> Generator[str, None, None]:
    """As its documentation starts it in production: gunicorn, one process, its default of threads."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    program = venvs.python("functions-framework").with_name("functions-framework")
    source = str(HERE / "peers" / "functions_framework_peer.py")
    command = [str(program), "--target", "echo", "--source", source, "--host", "127.0.0.1", "--port", str(port)]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        try:
            _listening(port, process)
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()
            process.wait(timeout=20)


def _listening(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError("functions-framework did not start")
