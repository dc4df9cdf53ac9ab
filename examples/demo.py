"""`make demo`: a fresh service, and `drive.py` against it with the official SDK in an environment of its own."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import uv

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from tools import machine  # noqa: E402  (lies beside, not below)

SDK = "cognite-sdk>=8,<9"
SDK_ENVIRONMENT = ROOT / ".make" / "sdk"
START_LIMIT = 60  # seconds


class Trouble(Exception):
    """The demonstration cannot go on; the text says why."""


def kvern(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from kvern.cli import main; main()", *arguments]


def sdk_environment(environment: dict[str, str]) -> Path:
    """The interpreter of an environment with the newest `cognite-sdk` 8; made once, brought up to date after."""
    python = SDK_ENVIRONMENT / "bin" / "python"
    ready = SDK_ENVIRONMENT / "ready"
    if ready.exists() and not os.access(python, os.X_OK):
        ready.unlink()  # the Python that it was made of is gone
    tool = uv.find_uv_bin()
    steps = [[tool, "pip", "install", "--quiet", "--upgrade", "--python", str(python), SDK]]
    if not ready.exists():
        steps.insert(0, [tool, "venv", "--quiet", "--clear", "--python", sys.executable, str(SDK_ENVIRONMENT)])
    for step in steps:
        done = subprocess.run(step, env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            continue
        if not ready.exists():
            raise Trouble(f"{shlex.join(step)} ended with {done.returncode}:\n{done.stderr}")
        print("  the package index cannot be reached; the SDK stays as it is")
    ready.touch()
    return python


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_up(server: subprocess.Popen[bytes], url: str) -> None:
    until = time.monotonic() + START_LIMIT
    while time.monotonic() < until:
        if server.poll() is not None:
            raise Trouble(f"kvern serve ended with {server.returncode}")
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    raise Trouble(f"kvern serve did not answer at {url}/health within {START_LIMIT} s")


def access(data_dir: Path, environment: dict[str, str]) -> dict[str, str]:
    """The variables that `kvern env` prints."""
    printing = kvern("env", "--data-dir", str(data_dir))
    done = subprocess.run(printing, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(f"kvern env ended with {done.returncode}: {done.stderr}")
    words = [word for line in done.stdout.splitlines() for word in shlex.split(line, comments=True)]
    return dict(word.split("=", 1) for word in words if "=" in word)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """A signal that comes meanwhile acts after: else a process that is being started or ended could be left behind."""
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [(number, signal.signal(number, lambda this, _: came.append(this))) for number in numbers]
    try:
        yield
    finally:
        for number, handler in handlers:
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


@contextlib.contextmanager
def running(
    name: str,
    command: list[str],
    environment: dict[str, str],
    folder: Path | None = None,
    output: IO[bytes] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block, in a session of its own: Ctrl-C reaches this process alone, which ends it."""
    process: subprocess.Popen[bytes] | None = None
    errors = None if output is None else subprocess.STDOUT
    try:
        with held():
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        yield process
    finally:
        if process is not None:
            with held():
                stop(process, name)


def drive(python: Path, environment: dict[str, str]) -> None:
    with running("drive.py", [str(python), str(HERE / "drive.py")], environment) as driver:
        code = driver.wait()
    if code:
        raise Trouble(f"drive.py ended with {code}")


def stop(process: subprocess.Popen[bytes], name: str) -> None:
    """End it as an operator would; it must leave by itself."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise Trouble(f"{name} did not end within 30 s of SIGTERM") from None


def run(folder: Path) -> None:
    begun = time.perf_counter()
    print("▸ Install the official SDK in an environment of its own", flush=True)
    found = machine.sources(os.environ)
    # Settings of pip, uv or a service of the user's own, made for other work, have no say here.
    environment = machine.plain(os.environ) | machine.without_proxy_here(os.environ)
    environment |= machine.home(folder / "home", found) | found.for_pip() | found.for_uv()
    environment.pop("NETRC", None)
    python = sdk_environment(environment | {"TMPDIR": str(folder)})  # in which uv leaves its lock files
    print(f"  {time.perf_counter() - begun:.1f} s\n")

    begun = time.perf_counter()
    url = f"http://127.0.0.1:{free_port()}"
    print("▸ Start the service: kvern serve", flush=True)
    data_dir, log = folder / "data", folder / "serve.log"
    serve = kvern("serve", "--data-dir", str(data_dir), "--port", url.rpartition(":")[2])
    try:
        with log.open("wb") as output, running("kvern serve", serve, environment, folder, output) as server:
            wait_until_up(server, url)
            environment |= {**access(data_dir, environment), "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
            print(f"  {url}, data in a temporary folder\n  {time.perf_counter() - begun:.1f} s", flush=True)
            drive(python, environment)
        if server.returncode != 0:
            raise Trouble(f"kvern serve ended with {server.returncode}")
    except Trouble:
        print(f"\nThe service's log:\n{log.read_text(errors='replace')[-4000:]}", file=sys.stderr)
        raise


def remove(folder: Path) -> None:
    """Environments and code are read-only folders, from which their owner, unless it is root, can delete nothing."""
    for at, _, _ in os.walk(folder):
        Path(at).chmod(0o700)
    shutil.rmtree(folder)


def go_on() -> None:
    command = "kvern" if shutil.which("kvern") else ".venv/bin/kvern"
    print(
        f"""
The service is stopped and its data removed. To go on with your own code, in two terminals:

  {command} serve                             a service on port 8000 with its data in ./.kvern

  {command} deploy PATH                       a folder with a handler.py, a .zip or a single .py file
  {command} call NAME --data '{{"key": 1}}'     call it, and see its log and its response
  {command} --help                            everything else; docs/getting-started.md shows it step by step
"""
    )


def main() -> int:
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="kvern-demo-"))
    try:
        run(folder)
    except Trouble as trouble:
        print(f"\n{trouble}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; nothing is left behind.", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C does not keep it from being removed
        remove(folder)
    go_on()
    return 0


if __name__ == "__main__":
    sys.exit(main())
