"""Handlers that misbehave: each call gets a clear end, and the next call, and the neighbour's, go on as before."""

from __future__ import annotations

import ctypes
import platform
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest

from kvern.sandbox.detect import choose
from tests.acceptance.api import Api
from tests.acceptance.server import Server, until

X86 = platform.machine() == "x86_64"


def scopes_signals() -> bool:
    """Whether the kernel can keep a worker from signalling others in its box (Linux 6.12)."""
    return ctypes.CDLL(None).syscall(444, None, 0, 1) >= 6


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of its own, with short limits."""
    folder = tmp_path_factory.mktemp("hostile")
    with Server(folder, "--timeout-minutes", "0.05", "--log-limit-mb", "1") as running:
        yield running


@pytest.fixture(scope="module")
def api(hostile: Server) -> Iterator[Api]:
    with Api(hostile.environment()) as bare:
        yield bare


@pytest.fixture(scope="module")
def neighbour(api: Api) -> int:
    return api.ready("def handle(data): return data")


@pytest.fixture(scope="module")
def probe(api: Api) -> int:
    handler = """
        def handle(data):
            scope = {"result": "fine"}
            exec(compile(data["code"], "<given>", "exec"), scope)
            return scope["result"]
    """
    return api.ready(handler, memory=0.2)


@pytest.fixture(autouse=True)
def all_goes_on(api: Api, neighbour: int, probe: int) -> Iterator[None]:
    yield
    assert api.response(api.call(neighbour, {"n": 1})) == {"n": 1}
    assert api.response(api.call(probe, {"code": ""})) == "fine"


def ended(api: Api, probe: int, code: str) -> dict[str, Any]:
    return api.call(probe, {"code": textwrap.dedent(code)}, seconds=60)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("raise ValueError('what a day')", "ValueError: what a day"),
        ("import sys; sys.exit(3)", "3"),
        ("import os; os._exit(3)", "3"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("result = object()", "object"),
        ("result = float('nan')", "JSON"),
        ("result = {1, 2}", "set"),
        ("result = 'x' * 1_100_000", "1000000"),
        ("def f(): f()\nf()", "RecursionError"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
    ids=[
        "raises",
        "sys.exit",
        "os._exit",
        "segfault",
        "kills itself",
        "object",
        "nan",
        "set",
        "too large",
        "recursion",
        "interrupt",
    ],
)
def test_it_fails_and_says_why(api: Api, probe: int, code: str, told: str) -> None:
    call = ended(api, probe, code)
    assert call["status"] == "Failed"
    assert told in call["error"]["message"]
    assert isinstance(call["error"]["trace"], str)
    assert api.get(f"/functions/{probe}/calls/{call['id']}/response").json() == {
        "functionId": probe,
        "callId": call["id"],
    }


def test_one_that_eats_memory_is_told_so(api: Api, probe: int) -> None:
    call = ended(
        api, probe, "result = len(bytearray(600_000_000)) and [bytearray(10_000_000) for _ in range(60)] and 1"
    )
    assert call["status"] == "Failed"
    assert "memory" in call["error"]["message"].lower()


def test_one_that_forks_for_ever_is_contained(api: Api, probe: int) -> None:
    call = ended(
        api,
        probe,
        """
        import os, time
        while True:
            if os.fork() == 0:
                time.sleep(300)
        """,
    )
    assert call["status"] == "Failed"
    assert call["error"]["message"]


def test_one_that_sleeps_past_the_limit_times_out_with_all_its_children(api: Api, probe: int, hostile: Server) -> None:
    call = ended(
        api,
        probe,
        """
        import subprocess, time
        print("going to sleep", flush=True)
        subprocess.Popen(["/bin/sleep", "271.828"], start_new_session=True)
        time.sleep(300)
        """,
    )
    assert call["status"] == "Timeout"
    assert "3" in call["error"]["message"]
    assert api.logs(call)[0] == "going to sleep"
    assert 2_900 <= call["endTime"] - call["startTime"] <= 8_000
    until(lambda: not sleepers("271.828"), 10, "the child is gone")


def test_one_that_leaves_a_daemon_behind_leaves_nothing(api: Api, probe: int) -> None:
    call = ended(api, probe, "import subprocess; subprocess.Popen(['/bin/sleep', '314.159'], start_new_session=True)")
    assert call["status"] == "Completed"
    until(lambda: not sleepers("314.159"), 10, "the daemon is gone")


def test_one_that_prints_a_hundred_megabytes_is_cut_with_a_word(api: Api, probe: int) -> None:
    call = ended(api, probe, "for _ in range(1000): print('x' * 99_999)")
    assert call["status"] in ("Completed", "Timeout")
    lines = api.logs(call)
    assert sum(map(len, lines)) < 1_200_000
    assert "dropped" in lines[-1] or "limit" in lines[-1]


def test_one_that_prints_without_newline(api: Api, probe: int) -> None:
    call = ended(api, probe, "import sys; sys.stdout.write('y' * 300_000)")
    assert call["status"] == "Completed"
    assert "".join(api.logs(call)) == "y" * 300_000


@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.stdout.close()",
        "import os; os.close(1); os.close(2)",
        "import sys; sys.stdout = sys.stderr = None",
    ],
    ids=["close", "descriptors", "None"],
)
def test_one_that_closes_stdout_still_answers_and_the_next_one_prints(api: Api, probe: int, code: str) -> None:
    assert ended(api, probe, code)["status"] == "Completed"
    assert api.logs(ended(api, probe, "print('still here')")) == ["still here"]


def test_one_that_closes_every_descriptor(api: Api, probe: int) -> None:
    call = ended(api, probe, "import os; os.closerange(3, 4096)")
    assert call["status"] in ("Completed", "Failed")


# Walls


TOOLS = """
import ctypes, errno, os, signal, socket, subprocess
libc = ctypes.CDLL(None, use_errno=True)
def tried(deed, *arguments):
    try:
        deed(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
def called(name, *arguments):
    ctypes.set_errno(0)
    return "done" if getattr(libc, name)(*arguments) >= 0 else errno.errorcode[ctypes.get_errno()]
"""

needs_walls = pytest.mark.skipif(not choose("auto")[0].is_boundary, reason="no boundary on this machine")


def told(api: Api, probe: int, code: str) -> Any:
    call = ended(api, probe, TOOLS + textwrap.dedent(code))
    assert call["status"] == "Completed", call["error"]
    return api.response(call)


@needs_walls
@pytest.mark.parametrize(
    "deed",
    [
        "tried(open, '/etc/shadow')",
        "tried(open, '/root/.ssh/id_rsa')",
        "tried(os.listdir, DATA)",
        "tried(open, CREDENTIALS)",
        "tried(os.kill, SERVER, signal.SIGKILL)",
        "tried(open, f'/proc/{SERVER}/environ')",
        "tried(open, f'/proc/{SERVER}/mem')",
        "tried(open, '/proc/1/mem', 'rb')",
        "tried(os.sched_setaffinity, SERVER, {0})",
        "tried(os.setpriority, os.PRIO_PROCESS, SERVER, 19)",
        "called('process_vm_readv', SERVER, None, 0, None, 0, 0)",
        "tried(os.kill, os.getppid(), signal.SIGKILL)" if scopes_signals() else "'EPERM'",
        "tried(open, '/dev/mem')",
        "tried(open, '/dev/kmsg')",
        "tried(open, '/dev/sda')",
        "tried(os.mknod, '/tmp/device', 0o660 | 0o060000, os.makedev(8, 0))",
        "tried(os.setuid, 0)",
        "tried(os.setgid, 0)",
        "tried(os.setgroups, [0])",
        "tried(os.chroot, '/tmp')",
        "tried(os.nice, -5)",
        "tried(open, '/proc/sys/kernel/core_pattern', 'w')",
        "tried(open, '/proc/sysrq-trigger', 'w')",
        "tried(open, '/usr/bin/evil', 'w')",
        "tried(open, '/kvern/environment/evil.pth', 'w')",
        "tried(open, '/kvern/code/handler.py', 'w')",
        "tried(os.chmod, '/kvern/environment', 0o777)",
        "tried(os.utime, '/kvern/environment/pyvenv.cfg')",
        "tried(os.unlink, '/kvern/environment/pyvenv.cfg')",
        "tried(os.rename, '/kvern/environment/pyvenv.cfg', '/kvern/environment/other')",
        "tried(os.setxattr, '/kvern/environment/pyvenv.cfg', 'user.x', b'x')",
        "tried(os.open, '/proc/self/exe', os.O_WRONLY)",
        "tried(lambda: os.write(os.open('/proc/self/oom_score_adj', os.O_WRONLY), b'-1000'))",
        "tried(os.mkdir, '/sys/fs/cgroup/own')",
        "tried(open, '/kvern/runner/worker.py', 'w')",
        "called('mount', b'none', b'/tmp', b'tmpfs', 0, None)",
        "called('umount2', b'/tmp', 2)",
        "called('unshare', 0x10000000)",
        "called('unshare', 0x20000)",
        "called('setns', 0, 0)",
        "called('ptrace', 16, os.getppid(), 0, 0)",
        "called('syscall', 250, 0, -3, 0, 0, 0)" if X86 else "'EPERM'",
        "called('syscall', 248, b'user', b'a', b'b', 1, -3)" if X86 else "'EPERM'",
        "called('syscall', 321, 0, 0, 0)" if X86 else "'EPERM'",
        "called('reboot', 0x01234567)",
        "tried(socket.socket, socket.AF_PACKET, socket.SOCK_RAW)",
        "tried(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1)",
        "tried(socket.socket, 40, socket.SOCK_STREAM)",
    ],
)
def test_it_is_kept_in(api: Api, probe: int, hostile: Server, deed: str) -> None:
    assert hostile.process is not None
    names = f"SERVER, DATA, CREDENTIALS = {hostile.process.pid}, {str(hostile.data)!r}, {str(hostile.data / 'client.json')!r}"
    answer = told(api, probe, f"{names}\nresult = {deed}")
    assert answer in {"EPERM", "EACCES", "ENOENT", "ESRCH", "EROFS", "EINVAL", "ENOTDIR"}
    assert hostile.process.poll() is None


@needs_walls
def test_a_file_with_the_setuid_bit_gives_nothing(api: Api, probe: int) -> None:
    code = """
        subprocess.run(["/bin/cp", "/usr/bin/id", "/tmp/id"], check=True)
        os.chmod("/tmp/id", 0o4755)
        result = subprocess.check_output(["/tmp/id", "-u"], text=True).strip(), open("/proc/self/status").read()
    """
    uid, status = told(api, probe, code)
    assert uid != "0"
    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status


@needs_walls
def test_it_sees_no_environment_secrets_or_processes_but_its_own(api: Api, probe: int, hostile: Server) -> None:
    other = api.ready(
        "def handle(data): return 1", secrets={"theirs": "hidden-word"}, envVars={"THEIRS": "hidden-word"}
    )
    api.call(other)
    code = """
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        texts = []
        for pid in pids:
            for name in ("environ", "cmdline"):
                try: texts.append(open(f"/proc/{pid}/{name}").read())
                except OSError: pass
        result = len(pids), "hidden-word" in "".join(texts), sorted(os.listdir("/kvern")), os.listdir("/kvern/code")
    """
    count, found, shown, files = told(api, probe, code)
    assert count <= 8
    assert not found
    assert shown == ["code", "environment", "runner", "work"]
    assert "handler.py" in files


@needs_walls
def test_one_that_fills_its_disk_harms_nobody(api: Api, probe: int) -> None:
    call = ended(
        api,
        probe,
        """
        with open("/tmp/filler", "wb") as file:
            while True: file.write(b"x" * 1_000_000)
        """,
    )
    assert call["status"] == "Failed"
    assert "memory" in call["error"]["message"] or "No space left" in call["error"]["message"]


@needs_walls
def test_one_that_makes_files_without_end_harms_nobody(api: Api, probe: int) -> None:
    code = "n = 0\nwhile True:\n    open(f'/tmp/{n}', 'w').close(); n += 1"
    call = ended(api, probe, code)
    assert call["status"] in ("Failed", "Timeout")
    assert call["error"]["message"]


def test_one_that_leaks_descriptors_is_told(api: Api, probe: int) -> None:
    call = ended(api, probe, "import os\nkept = []\nwhile True: kept.append(os.open('/dev/null', 0))")
    assert call["status"] == "Failed"
    assert "Too many open files" in call["error"]["message"]


@pytest.mark.parametrize(
    "sent",
    [
        "b'\\x05' + b'\\0' * 16",
        "b'garbage' * 10",
        "b'\\xff' * 100_000_000",
        "b'\\x05\\0\\x03\\0\\0' + b'\\0' * 12 + b'[' * 0x30000",
        "b'\\x05\\0\\0\\0\\0\\0\\0\\0\\x02' + (1).to_bytes(8, 'big') + b'{}'",
    ],
    ids=["empty", "garbage", "a hundred megabytes", "nested without end", "for another call"],
)
def test_one_that_answers_on_the_service_s_own_socket_is_a_crash(api: Api, probe: int, sent: str) -> None:
    code = f"""
        import os, stat, time
        for number in range(3, 64):
            try:
                if stat.S_ISSOCK(os.fstat(number).st_mode): os.write(number, {sent})
            except OSError: pass
        time.sleep(60)
    """
    call = ended(api, probe, code)
    assert call["status"] == "Failed"
    assert "no answer" in call["error"]["message"]


def test_one_that_ends_its_own_connection_is_a_crash(api: Api, probe: int) -> None:
    code = """
        import os, socket, stat, time
        for number in range(3, 64):
            try:
                if stat.S_ISSOCK(os.fstat(number).st_mode): socket.socket(fileno=number).shutdown(socket.SHUT_RDWR)
            except OSError: pass
        time.sleep(60)
    """
    call = ended(api, probe, code)
    assert call["status"] == "Failed"
    assert "lost its connection" in call["error"]["message"]


def test_one_that_speaks_after_its_answer_harms_no_later_call(api: Api, probe: int) -> None:
    code = """
        import os, stat, threading, time
        def speak():
            for _ in range(20):
                time.sleep(0.01)
                for number in range(3, 64):
                    try:
                        if stat.S_ISSOCK(os.fstat(number).st_mode): os.write(number, b"garbage" * 9)
                    except OSError: pass
        threading.Thread(target=speak, daemon=True).start()
    """
    call = ended(api, probe, code)
    # The thread may have spoken before the answer, while the worker looked for what the call left.
    assert call["status"] == "Completed" or "no answer" in call["error"]["message"], call
    until(lambda: ended(api, probe, "")["status"] == "Completed", 10, "a worker without that thread")


@needs_walls
def test_one_that_signals_all_that_it_can_reaches_no_other_function(api: Api, probe: int, hostile: Server) -> None:
    call = ended(api, probe, "import os, signal\nos.kill(-1, signal.SIGKILL)\nresult = 'alone'")
    assert call["status"] == ("Completed" if scopes_signals() else "Failed")
    assert hostile.process is not None
    assert hostile.process.poll() is None


NEIGHBOUR = """
    import os, socket, time
    KEPT = "hidden-word"
    def handle(data):
        for folder in ("/tmp", "/dev/shm"):
            with open(f"{folder}/hidden", "w") as file: file.write(KEPT)
        try: os.unlink("/tmp/hidden.socket")
        except OSError: pass
        listeners = []
        for name in ("/tmp/hidden.socket", "\\0hidden-socket"):
            listeners.append(socket.socket(socket.AF_UNIX)); listeners[-1].bind(name); listeners[-1].listen()
        print("begun")
        time.sleep(60)
"""


@needs_walls
def test_it_reads_nothing_of_a_function_that_runs_beside_it(api: Api, probe: int) -> None:
    other = api.ready(NEIGHBOUR)
    code = """
        result = []
        word = "-".join(["hidden", "word"]).encode()
        for pid in [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]:
            try:
                with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
                    for line in maps:
                        if " rw-p " not in line: continue
                        start, end = (int(word, 16) for word in line.split()[0].split("-"))
                        memory.seek(start)
                        if word in memory.read(end - start): result.append(pid)
            except (OSError, OverflowError): pass
        result += [path for path in ("/tmp/hidden", "/dev/shm/hidden", "/tmp/hidden.socket") if os.path.exists(path)]
        if SCOPED:
            for name in ("/tmp/hidden.socket", "\\0hidden-socket"):
                with socket.socket(socket.AF_UNIX) as knocking:
                    if tried(knocking.connect, name) == "done": result.append(name)
    """

    def looked() -> bool:
        """Whether the neighbour's call ran all the while."""
        call = api.post(f"/functions/{other}/call", {}).json()
        place = f"/functions/{other}/calls/{call['id']}"
        until(lambda: api.logs(call) == ["begun"], 10, "the neighbour's call has begun")
        assert told(api, probe, f"SCOPED = {scopes_signals()}\n{textwrap.dedent(code)}") == []
        return api.get(place).json()["status"] == "Running"

    until(looked, 60, "the neighbour's call ran while it was looked for")


@needs_walls
def test_nothing_that_the_next_function_loads_can_be_written(api: Api, probe: int) -> None:
    code = """
        import sys
        tops = {"/kvern", sys.base_prefix + "/bin", sys.base_prefix + "/lib"}
        places = (os.path.join(at, name) for top in tops for at, folders, files in os.walk(top) for name in files + ["."])
        writable = [place for place in places if os.access(place, os.W_OK)]
        # The working folders of this revision's workers can be written to, and nothing is loaded from them.
        work, own = "/kvern/work/", os.getcwd() + "/"
        loaded = [*sys.path, *(getattr(each, "__file__", None) or "" for each in list(sys.modules.values()))]
        result = {
            "elsewhere": [place for place in writable if not place.startswith(work)],
            "own is there": own.startswith(work),
            "loaded from it": [place for place in loaded if place and os.path.realpath(place).startswith(work[:-1])],
            "relative": [place for place in sys.path if not os.path.isabs(place)],
        }
    """
    found = told(api, probe, code)
    assert found["elsewhere"] == found["loaded from it"] == found["relative"] == []
    assert found["own is there"]


def sleepers(figure: str) -> list[str]:
    """Processes of this machine with `figure` among their words."""
    from pathlib import Path

    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if figure.encode() in words:
            found.append(entry.name)
    return found
