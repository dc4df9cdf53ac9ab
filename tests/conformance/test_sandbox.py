"""What every sandbox guarantees, and what one that calls itself a boundary does."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from kvern.sandbox import Box, Mount, Sandbox
from kvern.sandbox.bubblewrap import Bubblewrap
from kvern.sandbox.detect import choose
from kvern.sandbox.plain import Plain
from kvern.sandbox.seccomp import LOOKED_AT, MACHINES, MISSING

CHOSEN, WHY = choose("auto")
ENV = {"PATH": "/usr/bin:/bin"}

needs_boundary = pytest.mark.skipif(not CHOSEN.is_boundary, reason=WHY)


@pytest.fixture(
    params=[pytest.param(CHOSEN, id="bubblewrap", marks=needs_boundary), pytest.param(Plain(), id="plain")],
)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    return request.param


@pytest.fixture
def boundary() -> Sandbox:
    if not CHOSEN.is_boundary:
        pytest.skip(WHY)
    return CHOSEN


def run(sandbox: Sandbox, script: str, env: dict[str, str] | None = None, **settings: Any) -> str:
    """What a shell script in a box prints."""
    box = Box(argv=["/bin/sh", "-c", textwrap.dedent(script)], env={**ENV, **(env or {})}, **settings)
    done = subprocess.run(
        sandbox.command(box), env=dict(box.env), pass_fds=box.pass_fds, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_command_gets_its_arguments_as_they_are(sandbox: Sandbox) -> None:
    box = Box(argv=["/usr/bin/printf", "%s|", "a b", "$HOME", "'", "--", ""], env=ENV)
    assert subprocess.check_output(sandbox.command(box), env=dict(box.env), text=True) == "a b|$HOME|'|--||"


def test_the_environment_is_what_the_box_says(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SERVER", "x")
    names = {line.partition("=")[0] for line in run(sandbox, "env", {"MINE": "1"}).splitlines()}
    assert names - {"PWD", "SHLVL", "_", "OLDPWD"} == {"PATH", "MINE"}


def test_no_value_of_the_environment_is_in_the_argv(sandbox: Sandbox) -> None:
    assert "hush-hush" not in " ".join(sandbox.command(Box(argv=["/bin/true"], env={"TOKEN": "hush-hush"})))


def test_the_command_starts_in_its_folder(sandbox: Sandbox) -> None:
    assert run(sandbox, "pwd", workdir="/usr/lib") == "/usr/lib\n"


def test_a_mount_is_found_where_inside_says(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("there")
    mount = Mount(tmp_path, "/kvern/thing")
    assert run(sandbox, f"cat {sandbox.inside(mount)}/file", mounts=[mount]) == "there"
    one = Mount(tmp_path / "file", "/kvern/one")
    assert run(sandbox, f"cat {sandbox.inside(one)}", mounts=[one]) == "there"


def test_a_writable_mount_can_be_written(sandbox: Sandbox, tmp_path: Path) -> None:
    mount = Mount(tmp_path, "/kvern/out", writable=True)
    run(sandbox, f"echo made > {sandbox.inside(mount)}/file", mounts=[mount])
    assert (tmp_path / "file").read_text() == "made\n"


def test_a_descriptor_that_is_passed_stays_open(sandbox: Sandbox) -> None:
    end, start = os.pipe()
    try:
        run(sandbox, f"echo through > /proc/self/fd/{start}", pass_fds=[start])
        assert os.read(end, 100) == b"through\n"
    finally:
        os.close(end)
        os.close(start)


def test_the_exit_status_comes_through(sandbox: Sandbox) -> None:
    box = Box(argv=["/bin/sh", "-c", "exit 7"], env=ENV)
    assert subprocess.run(sandbox.command(box), env=dict(box.env)).returncode == 7


def test_this_interpreter_runs_in_a_box(sandbox: Sandbox) -> None:
    prefix = Path(sys.base_prefix)
    mount = Mount(prefix, str(prefix))
    executable = Path(sys.executable).resolve()
    box = Box(argv=[str(executable), "-I", "-c", "import ssl, sqlite3; print('well')"], env=ENV, mounts=[mount])
    assert subprocess.check_output(sandbox.command(box), env=dict(box.env), text=True) == "well\n"


# A boundary


def test_a_mount_is_read_only_unless_it_says_otherwise(boundary: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("there")
    told = run(
        boundary,
        """
        echo x > /kvern/thing/file || echo no 1
        rm /kvern/thing/file || echo no 2
        touch /kvern/thing/new || echo no 3
        chmod 777 /kvern/thing || echo no 4
        """,
        mounts=[Mount(tmp_path, "/kvern/thing")],
    )
    assert told == "no 1\nno 2\nno 3\nno 4\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_nothing_else_of_the_host_is_seen(boundary: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    script = f"ls {tmp_path} 2>/dev/null; ls -A / /root /home /var /srv /run /mnt /opt 2>/dev/null; ls /etc; ls -A /tmp"
    seen = set(run(boundary, script).split())
    assert not seen & {"secret", "shadow", "sudoers", "hostname", "machine-id", ".pyenv", ".ssh", "private"}
    assert {entry for entry in seen if entry.startswith("/")} <= {"/:", "/root:", "/home:", "/var:"}


def test_no_private_keys_of_the_system_are_seen(boundary: Sandbox) -> None:
    assert run(boundary, "ls /etc/ssl/private /etc/pki/tls/private 2>/dev/null || true") == ""


def test_names_and_certificates_are_there(boundary: Sandbox) -> None:
    assert "localhost" in run(boundary, "getent hosts localhost")
    assert run(boundary, "getent passwd 1000; getent group 1000").split()[0].startswith("kvern:")
    if Path("/etc/ssl/certs").is_dir():
        assert run(boundary, "ls /etc/ssl/certs | head -1")


def test_code_runs_as_nobody_in_particular(boundary: Sandbox) -> None:
    told = run(boundary, "id -u; id -g; grep -E '^(Cap|NoNewPrivs)' /proc/self/status; hostname").split()
    assert told[:2] == ["1000", "1000"]
    capabilities = dict(zip(told[2:-1:2], told[3:-1:2], strict=True))
    assert capabilities.pop("NoNewPrivs:") == "1"
    assert set(capabilities.values()) == {"0000000000000000"}
    assert told[-1] == "kvern"


def test_only_the_boxs_own_processes_are_seen(boundary: Sandbox) -> None:
    pids = [int(name) for name in run(boundary, "ls /proc").split() if name.isdigit()]
    assert len(pids) < 6
    assert run(boundary, f"kill -9 {os.getpid()} 2>/dev/null || echo no such process") == "no such process\n"


def test_the_root_is_read_only_and_tmp_is_private(boundary: Sandbox) -> None:
    told = run(
        boundary,
        """
        for place in / /usr /etc /dev/../kvern /proc/sys/kernel; do touch $place/x 2>/dev/null && echo $place; done
        touch /tmp/x /dev/shm/x && echo fine
        """,
    )
    assert told == "fine\n"
    assert run(boundary, "ls -A /tmp") == ""


def test_tmp_has_a_size(boundary: Sandbox) -> None:
    kilobytes = int(run(boundary, "df -k /tmp | tail -1").split()[1])
    assert 0 < kilobytes <= 512 * 1024


def test_only_harmless_devices_are_there(boundary: Sandbox) -> None:
    devices = set(run(boundary, "find /dev -type b -o -type c").split())
    assert devices <= {
        "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/console",
        "/dev/pts/ptmx", "/dev/ptmx",
    }  # fmt: skip


def test_all_in_a_box_dies_with_the_process_that_was_started(boundary: Sandbox) -> None:
    word = f"word-{os.urandom(6).hex()}"
    script = f"setsid sh -c 'sleep 300; : {word}' & echo begun; sleep 300"
    box = Box(argv=["/bin/sh", "-c", script], env=ENV)
    with subprocess.Popen(boundary.command(box), env=dict(box.env), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        assert _alive(word)
        process.send_signal(signal.SIGKILL)
    _until_dead(word)


def test_all_in_a_box_dies_with_the_process_that_started_it(boundary: Sandbox) -> None:
    word = f"word-{os.urandom(6).hex()}"
    box = Box(argv=["/bin/sh", "-c", f"echo begun; sleep 300; : {word}"], env=ENV)
    script = f"import subprocess\nsubprocess.run({boundary.command(box)!r}, env={dict(box.env)!r})"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"begun\n"
        starter.send_signal(signal.SIGKILL)
    _until_dead(word)


def _alive(word: str) -> bool:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if word.encode() in (entry / "cmdline").read_bytes():
                    return True
            except OSError:
                continue
    return False


def _until_dead(word: str) -> None:
    deadline = time.monotonic() + 5
    while _alive(word):
        assert time.monotonic() < deadline, "something in the box is still alive"


# System calls that a box may not make


CALLS = """
import ctypes, errno, json, platform, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, (*arguments, *[0] * (6 - len(arguments)))))
    return errno.errorcode[ctypes.get_errno()] if result < 0 else "done"
def opened(*arguments):
    try: socket.socket(*arguments).close()
    except OSError as error: return errno.errorcode[error.errno]
    return "done"
numbers = json.loads(sys.argv[1])
print(json.dumps({
    "clone": call(numbers.pop("clone"), 0x10000000 | 17),
    **{name: call(number) for name, number in numbers.items()},
    "packet": opened(17, socket.SOCK_RAW, 3),
    "raw": opened(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "netlink": opened(16, socket.SOCK_RAW, 12),
    "route": opened(16, socket.SOCK_RAW, 0),
    "tcp": opened(socket.AF_INET, socket.SOCK_STREAM),
}))
"""


def test_the_kernel_is_out_of_reach(boundary: Sandbox) -> None:
    machine = MACHINES.get(platform.machine())
    if machine is None or not isinstance(boundary, Bubblewrap) or not boundary.is_filtered:
        pytest.skip("no filter of system calls on this machine")
    numbers = {name: number for name, number in machine.numbers.items() if name not in LOOKED_AT or name == "clone"}
    prefix = Path(sys.base_prefix)
    argv = [str(Path(sys.executable).resolve()), "-I", "-c", CALLS, json.dumps(numbers)]
    box = Box(argv=argv, env=ENV, mounts=[Mount(prefix, str(prefix))])
    told = json.loads(subprocess.check_output(boundary.command(box), env=dict(box.env), text=True))
    assert told.pop("tcp") == told.pop("route") == "done"
    assert {name for name, how in told.items() if how == "ENOSYS"} == MISSING
    assert {how for name, how in told.items() if name not in MISSING} == {"EPERM"}


def test_without_network_only_a_loopback_is_there(boundary: Sandbox) -> None:
    assert "lo:" in run(boundary, "cat /proc/net/dev", network=False)
    assert run(boundary, "tail -n +3 /proc/net/dev | wc -l", network=False).strip() == "1"


def test_a_box_may_have_a_tmp_of_its_own_size(boundary: Sandbox) -> None:
    assert int(run(boundary, "df -k /tmp | tail -1", tmp_size=4 << 20).split()[1]) == 4096


@pytest.mark.parametrize("taken", [[9], [8, 9], [3, 4, 5, 6, 7]])
def test_the_filter_takes_no_descriptor_that_is_passed(boundary: Sandbox, taken: list[int]) -> None:
    box = Box(argv=["/bin/true"], env=ENV, pass_fds=taken)
    argv = boundary.command(box)
    if "--seccomp" in argv:
        assert int(argv[argv.index("--seccomp") + 1]) not in taken


# Where the server runs as root, code in a box is the owner of what belongs to the machine


def test_nothing_of_the_machine_can_be_written(boundary: Sandbox) -> None:
    script = """
        find /proc /etc -path '/proc/[0-9]*' -prune -o -type f -print | while read file; do
            (true 3>>"$file") 2>/dev/null && echo "$file"
        done
        true
    """
    assert run(boundary, script) == ""


def test_the_mode_of_the_machines_devices_is_kept(boundary: Sandbox) -> None:
    script = """
        for name in null zero full random urandom tty; do chmod 666 /dev/$name 2>/dev/null && echo $name; done
        echo x > /dev/null && head -c 4 /dev/urandom | wc -c
    """
    assert run(boundary, script) == "4\n"


def test_what_tells_of_the_kernels_inside_is_empty(boundary: Sandbox) -> None:
    assert run(boundary, "cat /proc/kallsyms /proc/keys /proc/timer_list /proc/slabinfo 2>/dev/null; true") == ""
