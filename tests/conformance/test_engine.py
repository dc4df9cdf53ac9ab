"""What every engine guarantees, whatever the handler does: run against each sandbox that this machine can have."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import venv
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from kvern.build.interpreters import Interpreters
from kvern.build.revision import Environment, Interpreter, Revision
from kvern.engine import Access, Engine, HandlerError, LogLine, Order, Outcome, Verdict
from kvern.engine.local import LocalEngine
from kvern.host import cgroups, processes
from kvern.host.box import MARK
from kvern.host.limits import Allowance
from kvern.host.terms import Terms
from kvern.sandbox import Sandbox
from kvern.sandbox.detect import choose
from kvern.sandbox.plain import Plain

MEGA = 1_000_000

INTERPRETERS = Interpreters()

STUB_SDK = """
class Token:
    def __init__(self, token): self.token = token

class ClientConfig:
    def __init__(self, client_name, project, base_url, credentials):
        self.client_name, self.project, self.base_url, self.credentials = client_name, project, base_url, credentials

class CogniteClient:
    def __init__(self, config): self.config = config

class global_config:
    disable_pypi_version_check = False
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    path = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(path, symlinks=True)
    package = next(path.glob("lib/python*/site-packages")) / "cognite" / "client"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(STUB_SDK)
    (package / "credentials.py").write_text("from cognite.client import Token\n")
    return Environment("key", path, interpreter_of(path), "")


def interpreter_of(environment: Path) -> Interpreter:
    script = "import sys; print(sys.base_prefix, '%d.%d.%d' % sys.version_info[:3])"
    prefix, version = subprocess.check_output([environment / "bin/python", "-c", script], text=True).split()
    return Interpreter("py311", version, (environment / "bin/python").resolve(), Path(prefix))


@dataclass
class Result:
    """An outcome with the lines that came before it."""

    outcome: Outcome
    lines: list[str]
    stamps: list[int]

    @property
    def verdict(self) -> Verdict:
        return self.outcome.verdict

    @property
    def value(self) -> Any:
        assert self.outcome.verdict is Verdict.RETURNED, self
        assert self.outcome.response is not None
        return json.loads(self.outcome.response)

    @property
    def log(self) -> str:
        return "\n".join(self.lines)


@dataclass
class Bench:
    """An engine, and functions made from source for it."""

    engine: Engine
    environment: Environment
    folder: Path
    sandbox: Sandbox
    numbers: count[int] = field(default_factory=lambda: count(1))

    def function(
        self, source: str = "", handler: str = "handler.py", files: dict[str, str] | None = None, **settings: Any
    ) -> Revision:
        number = next(self.numbers)
        code = self.folder / f"code{number}"
        for name, text in {handler: source, **(files or {})}.items():
            path = code / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return Revision(f"r{number}", number, code, handler, settings.pop("environment", self.environment), **settings)

    async def call(self, function: Revision | str, data: Any = None, **settings: Any) -> Result:
        if isinstance(function, str):
            function = self.function(function)
        lines: list[LogLine] = []
        outcome = await self.engine.run(function, self.order(data, lines, **settings))
        before = len(lines)
        await asyncio.sleep(0)
        assert len(lines) == before, "a log line came after the outcome"
        return Result(outcome, [line.message for line in lines], [line.timestamp for line in lines])

    def order(self, data: Any = None, lines: list[LogLine] | None = None, **settings: Any) -> Order:
        values: dict[str, Any] = {
            "call_id": next(self.numbers),
            "data": json.dumps({} if data is None else data).encode(),
            "timeout": 20.0,
            "response_limit": MEGA,
            "log_limit": MEGA,
            "on_log": [].extend if lines is None else lines.extend,
            "access": lambda: Access("http://localhost:1", "project", "token"),
        }
        return Order(**{**values, **settings})

    async def goes_on(self, function: Revision | None = None) -> None:
        """The service still runs calls: of a new function, and of the one that misbehaved."""
        assert (await self.call("def handle(data): return data", {"well": True})).value == {"well": True}
        if function is not None:
            assert (await self.call(function, {"behave": True})).value == "well"


def sandboxes() -> list[Any]:
    chosen, why = choose("auto")
    mark = pytest.mark.skipif(not chosen.is_boundary, reason=why)
    return [pytest.param(chosen, id="bubblewrap", marks=mark), pytest.param(Plain(), id="plain")]


@pytest.fixture(params=sandboxes())
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    return request.param


@pytest.fixture
async def bench(sandbox: Sandbox, environment: Environment, tmp_path: Path) -> AsyncIterator[Bench]:
    engine = LocalEngine(sandbox, tmp_path / "run", Terms(max_workers=4, load_timeout=10))
    await engine.start()
    yield Bench(engine, environment, tmp_path, sandbox)
    await engine.stop()
    assert processes_with(str(tmp_path)) == []
    assert not list((tmp_path / "run").iterdir())
    hierarchy = cgroups.find()
    if hierarchy is not None:
        for folder in hierarchy.folders.values():
            assert not list(folder.glob(f"{cgroups.server_name()}*"))


def processes_with(word: str) -> list[int]:
    """The live processes of this machine that have `word` in their command line or environment."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                if word.encode() in text:
                    found.append(int(entry.name))
    return found


def processes_of(function: Revision) -> list[int]:
    """Those of boxes that this process made for `function`; another test process has revisions of the same name."""
    return processes_with(f"{os.getpid()}-{processes.started(os.getpid())}-{function.id}-")


def keeps_workers_apart(bench: Bench) -> bool:
    """Whether a worker can be kept from signalling others in its box: in a boundary, from Linux 6.12 on."""
    return bench.sandbox.is_boundary and ctypes.CDLL(None).syscall(444, None, 0, 1) >= 6


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not come"
        await asyncio.sleep(0.01)


# What handle is given


async def test_handle_gets_by_keyword_what_it_takes_and_nothing_else(bench: Bench) -> None:
    function = bench.function("def handle(secrets, data): return [data, secrets]", secrets={"key": "s3cret"})
    assert (await bench.call(function, {"a": [1, None, "ø"]})).value == [{"a": [1, None, "ø"]}, {"key": "s3cret"}]


async def test_data_may_be_any_json_value(bench: Bench) -> None:
    function = bench.function("def handle(data): return data")
    for value in (None, 0, "x", [1], {"deep": {"er": 1e9}}, True):
        assert (await bench.call(function, value)).value == ({} if value is None else value)
    assert (await bench.call(function, data=None)).value == {}


async def test_nine_megabytes_of_data_arrive(bench: Bench) -> None:
    function = bench.function("def handle(data): return len(data['x'])")
    assert (await bench.call(function, {"x": "y" * 9 * MEGA})).value == 9 * MEGA


async def test_function_call_info_holds_integers_and_the_schedule_only_when_there_is_one(bench: Bench) -> None:
    function = bench.function("def handle(function_call_info): return function_call_info")
    manual = await bench.call(function, call_id=2**53 - 1)
    assert manual.value == {"function_id": function.function_id, "call_id": 2**53 - 1}
    scheduled = await bench.call(function, call_id=77, schedule_id=5, scheduled_time=1_795_290_060_000)
    assert scheduled.value == {
        "function_id": function.function_id,
        "call_id": 77,
        "schedule_id": 5,
        "scheduled_time": 1_795_290_060_000,
    }


async def test_a_call_that_is_traced_finds_its_run_in_the_environment_and_the_next_does_not(bench: Bench) -> None:
    source = "import os\ndef handle(function_call_info): return os.environ.get('TRACEPARENT'), len(function_call_info)"
    function = bench.function(source)
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert (await bench.call(function, traceparent=parent)).value == [parent, 2]
    assert (await bench.call(function)).value == [None, 2]


async def test_secrets_are_a_fresh_dict_for_each_call(bench: Bench) -> None:
    function = bench.function("def handle(secrets): secrets['n'] = secrets.get('n', 0) + 1; return secrets")
    assert (await bench.call(function)).value == {"n": 1}
    assert (await bench.call(function)).value == {"n": 1}


async def test_secrets_are_in_no_command_line_and_no_environment(bench: Bench) -> None:
    source = """
        import os, time
        def handle(secrets):
            print("begun")
            time.sleep(0.3)
            return [secrets["k"], "very-secret" in str(os.environ)]
    """
    lines: list[LogLine] = []
    secret = f"very-secret-{os.urandom(6).hex()}"
    function = bench.function(source, secrets={"k": secret})
    running = asyncio.create_task(bench.engine.run(function, bench.order(lines=lines)))
    await until(lambda: bool(lines))
    assert processes_with(secret) == []
    assert (await running).response == f'["{secret}",false]'.encode()


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("def handle(): return 'none'", "none"),
        ("async def handle(data): return ['async', data]", ["async", {}]),
        ("import asyncio\nasync def handle(data): await asyncio.sleep(0); return 1", 1),
        ("def handle(**kwargs): return sorted(kwargs)", ["client", "data", "function_call_info", "secrets"]),
        ("def handle(data, *, secrets): return 'keyword only'", "keyword only"),
        ("def handle(data, extra=3): return extra", 3),
        ("handle = lambda data: 'lambda'", "lambda"),
        ("class App:\n    __name__ = 'handle'\n    def __call__(self, data, secrets): return 'object'\nhandle = App()", "object"),
        ("class App:\n    async def __call__(self, data): return 'async object'\nhandle = App()", "async object"),
        ("import functools\ndef f(n, data): return n\nhandle = functools.partial(f, 4)", 4),
        (
            "import functools\ndef twice(f):\n    @functools.wraps(f)\n    def g(*a, **k): return [f(*a, **k)] * 2\n    return g\n"
            "@twice\ndef handle(data): return 'd'",
            ["d", "d"],
        ),
    ],
)  # fmt: skip
async def test_handle_may_be_any_callable(bench: Bench, source: str, value: Any) -> None:
    assert (await bench.call(source)).value == value


async def test_annotations_of_handle_may_name_what_is_not_imported(bench: Bench) -> None:
    source = """
        def handle(client: CogniteClient, data: dict[str, pd.DataFrame] = None, *, secrets: "x y" = 1) -> Result:
            return [handle.__annotations__["client"], handle.__code__.co_firstlineno]
    """
    assert (await bench.call(source)).value == ["CogniteClient", 2]


async def test_other_annotations_are_left_alone(bench: Bench) -> None:
    result = await bench.call("def other(x: Missing): ...\ndef handle(data): return 1")
    if sys.version_info < (3, 14):
        assert result.verdict is Verdict.NOT_LOADED
        assert result.outcome.message == "NameError: name 'Missing' is not defined"
    kept = "def other(x: int): ...\ndef handle(data): return other.__annotations__['x'] is int"
    assert (await bench.call(kept)).value is True


async def test_modules_of_the_bundle_are_imported_from_its_root(bench: Bench) -> None:
    function = bench.function(
        "import shared.tools, top\ndef handle(data): return [shared.tools.N, top.N, __name__, __file__[-14:]]",
        "test/handler.py",
        {"shared/__init__.py": "", "shared/tools.py": "N = 1", "top.py": "N = 2"},
    )
    assert (await bench.call(function)).value == [1, 2, "kvern_test.handler", "test/handler.py"[-14:]]


async def test_no_file_of_the_bundle_can_take_the_runners_place(bench: Bench) -> None:
    broken = "raise RuntimeError('shadowed')"
    names = (
        "worker",
        "frames",
        "call",
        "zygote",
        "output",
        "asyncio",
        "traceback",
        "json",
        "_kvern_runner",
        "sitecustomize",
    )
    files = {f"{name}.py": broken for name in names}
    function = bench.function("async def handle(data): return 'well'", files=files)
    assert (await bench.call(function)).value == "well"
    own = bench.function("import worker\ndef handle(data): return worker.N", files={"worker.py": "N = 9"})
    assert (await bench.call(own)).value == 9


async def test_the_handlers_module_can_be_imported_by_others_and_is_loaded_once(bench: Bench) -> None:
    source = "N = []\nN.append(1)\nimport other\ndef handle(data): return [len(N), other.same(handle)]"
    files = {"other.py": "def same(handle):\n    import handler\n    return handler.handle is handle"}
    function = bench.function(source, files=files)
    assert (await bench.call(function)).value == [1, True]
    assert (await bench.call(function)).value == [1, True]


async def test_environment_variables_of_the_function_are_there_at_import(bench: Bench) -> None:
    source = "import os\nAT_IMPORT = os.environ['MODE']\ndef handle(data): return [AT_IMPORT, os.environ['MODE']]"
    function = bench.function(source, env_vars={"MODE": "fast", "LD_PRELOAD": "/nowhere.so"})
    assert (await bench.call(function)).value == ["fast", "fast"]


async def test_the_servers_environment_is_not_there(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KVERN_TEST_SECRET", "of the server")
    names = (await bench.call("import os\ndef handle(data): return sorted(os.environ)")).value
    assert "KVERN_TEST_SECRET" not in names
    assert {"PATH", "HOME", "TMPDIR"} <= set(names)


async def test_what_a_call_does_to_environment_and_folder_is_undone(bench: Bench) -> None:
    source = """
        import os
        def handle(data):
            was = [os.getcwd(), os.environ.get("LEFT"), os.environ["PATH"] == ""]
            os.chdir("/usr"); os.environ["LEFT"] = "x"; os.environ["PATH"] = ""
            return was
    """
    function = bench.function(source)
    first = (await bench.call(function)).value
    assert first[1:] == [None, False]
    assert (await bench.call(function)).value == first


async def test_temporary_files_can_be_written(bench: Bench) -> None:
    source = "import tempfile\ndef handle(data):\n    with tempfile.TemporaryFile() as f: return f.write(b'abc')"
    assert (await bench.call(source)).value == 3


# The client


async def test_the_client_acts_with_the_calls_own_access(bench: Bench) -> None:
    source = """
        clients = []
        def handle(client):
            clients.append(client)  # kept: an earlier call's client must not turn into this one's
            return [[c.config.project, c.config.base_url, c.config.credentials.token] for c in clients]
    """
    function = bench.function(source)
    one = await bench.call(function, access=lambda: Access("http://localhost:8", "plant", "one"))
    assert one.value == [["plant", "http://localhost:8", "one"]]
    two = await bench.call(function, access=lambda: Access("http://localhost:8", "plant", "two"))
    assert two.value[0][2] == "one"
    assert two.value[1][2] == "two"


async def test_access_is_asked_for_only_when_handle_takes_client(bench: Bench) -> None:
    def refuse() -> Access:
        raise PermissionError("the session was revoked")

    assert (await bench.call("def handle(data): return 1", access=refuse)).value == 1
    function = bench.function("def handle(client): return 1")
    begun: list[int] = []

    async def begin() -> None:
        begun.append(1)

    with pytest.raises(PermissionError, match="revoked"):
        await bench.call(function, access=refuse, on_begin=begin)
    assert begun == []
    assert (await bench.call(function)).value == 1


async def test_a_missing_sdk_is_told_when_handle_takes_client(bench: Bench, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", symlinks=True)
    bare = Environment("bare", tmp_path / "bare", bench.environment.interpreter, "")
    result = await bench.call(bench.function("def handle(client): return 1", environment=bare))
    assert result.verdict is Verdict.NOT_LOADED
    assert result.outcome.message == "ModuleNotFoundError: No module named 'cognite'"
    assert (await bench.call(bench.function("def handle(data): return 1", environment=bare))).value == 1


# The response


async def test_none_is_the_response_null(bench: Bench) -> None:
    assert (await bench.call("def handle(data): pass")).outcome.response == b"null"


async def test_the_response_is_compact_utf_8(bench: Bench) -> None:
    result = await bench.call("def handle(data): return {'ø': [1, 2.5, '\\ud800'], 'b': {}}")
    assert result.value == {"ø": [1, 2.5, "\ud800"], "b": {}}
    assert (await bench.call("def handle(data): return {'ø': [1, 2]}")).outcome.response == '{"ø":[1,2]}'.encode()


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("{1, 2}", "'set'"),
        ("__import__('datetime').date(2020, 1, 1)", "'datetime.date'"),
        ("[{'deep': b'x'}]", "type bytes"),
        ("float('nan')", "not JSON compliant"),
        ("(lambda l: l.append(l) or l)([])", "Circular reference"),
        ("(lambda f: f(f, 100000))(lambda f, n: __import__('functools').reduce(lambda a, _: [a], range(n), []))", "Recursion"),
    ],
)  # fmt: skip
async def test_a_response_that_is_not_json_is_unusable_and_says_why(bench: Bench, expression: str, words: str) -> None:
    function = bench.function(f"def handle(data):\n    if data.get('behave'): return 'well'\n    return {expression}")
    result = await bench.call(function)
    assert result.verdict is Verdict.UNUSABLE
    assert "JSON" in result.outcome.message
    assert words in result.outcome.message
    assert result.outcome.message in result.log
    await bench.goes_on(function)


async def test_a_response_up_to_the_limit_passes_and_one_byte_more_does_not(bench: Bench) -> None:
    function = bench.function("def handle(data): return 'x' * data")
    assert len((await bench.call(function, 998, response_limit=1000)).value) == 998
    result = await bench.call(function, 999, response_limit=1000)
    assert result.verdict is Verdict.UNUSABLE
    assert "1001 bytes" in result.outcome.message
    assert "1000" in result.outcome.message


# Output


async def test_each_line_of_output_is_a_log_line_in_order(bench: Bench) -> None:
    source = r"""
        import ctypes, logging, os, subprocess, sys, warnings
        def handle(data):
            print("one"); print("to stderr", file=sys.stderr)
            os.write(1, b"raw\r\n")
            subprocess.run(["/bin/echo", "from a child"])
            libc = ctypes.CDLL(None); libc.puts(b"from C"); libc.fflush(None)
            logging.info("info of %s", "root"); logging.getLogger("mine").warning("warned"); logging.debug("never")
            warnings.warn("be warned")
            print("ø \x00", end="\n\n")
            os.write(2, b"\xff bad\n")
            print("no newline", end="")
    """
    before = time.time() * 1000
    result = await bench.call(source)
    warned = [line for line in result.lines if "be warned" in line]
    assert result.lines[:7] == [
        "one", "to stderr", "raw", "from a child", "from C", "INFO:root:info of root", "WARNING:mine:warned",
    ]  # fmt: skip
    assert len(warned) >= 1
    assert result.lines[-4:] == ["ø \ufffd", "", "\ufffd bad", "no newline"]
    assert all(before - 1 <= stamp <= time.time() * 1000 for stamp in result.stamps)


async def test_a_handler_may_set_up_logging_itself(bench: Bench) -> None:
    source = """
        import logging, sys
        logging.basicConfig(level=logging.DEBUG, format="<%(levelname)s> %(message)s", stream=sys.stdout)
        def handle(data): logging.debug("fine"); sys.stdout.close()
    """
    function = bench.function(source)
    assert (await bench.call(function)).lines == ["<DEBUG> fine"]


async def test_lines_come_while_the_call_runs(bench: Bench) -> None:
    lines: list[LogLine] = []
    function = bench.function("import time\ndef handle(data):\n    print('begun'); time.sleep(60)")
    order = bench.order(lines=lines)
    running = asyncio.create_task(bench.engine.run(function, order))
    await until(lambda: bool(lines))
    assert not running.done()
    assert await bench.engine.cancel(order.call_id)
    assert (await running).verdict is Verdict.CANCELLED


async def test_what_is_printed_at_import_comes_with_the_first_call(bench: Bench) -> None:
    function = bench.function("print('importing')\ndef handle(data): print('called')")
    await bench.engine.prepare(function)
    assert (await bench.call(function)).lines == ["importing", "called"]
    assert (await bench.call(function)).lines == ["called"]


async def test_a_hundred_megabytes_of_output_are_drained_and_cut(bench: Bench) -> None:
    source = """
        def handle(data):
            if data.get("behave"): return "well"
            for _ in range(100): print(("x" * 99 + "\\n") * 10_000, end="")
            return "printed"
    """
    function = bench.function(source)
    result = await bench.call(function, log_limit=100_000)
    assert result.value == "printed"
    assert result.lines[:-1] == ["x" * 99] * 1000
    assert "99900000 more bytes" in result.lines[-1]
    assert "100000" in result.lines[-1]
    await bench.goes_on(function)


async def test_output_without_end_and_newline_is_cut_into_lines(bench: Bench) -> None:
    result = await bench.call("def handle(data): print('ø' * 20_000, end='')")
    assert "".join(result.lines) == "ø" * 20_000
    assert 2 < len(result.lines) < 10


@pytest.mark.parametrize(
    "deed",
    [
        "sys.stdout.close(); sys.stderr.close()",
        "os.close(1); os.close(2)",
        "sys.stdout = sys.stderr = None",
        "sys.stdout = io.StringIO(); print('into the void')",
        "sys.__stdout__.close(); sys.stdout = object()",
        "os.dup2(os.open('/dev/null', os.O_WRONLY), 1)",
    ],
)
async def test_stdout_works_again_after_a_call_that_closed_or_replaced_it(bench: Bench, deed: str) -> None:
    source = f"import os, sys, io\ndef handle(data):\n    print('here')\n    if data: {deed}\n    return 'well'"
    function = bench.function(source)
    first = await bench.call(function, {"x": 1})
    assert (first.value, first.lines[:1]) == ("well", ["here"])
    second = await bench.call(function)
    assert (second.value, second.lines) == ("well", ["here"])
    await bench.goes_on(function)


# Failures of handle


async def test_an_exception_gives_message_trace_and_log(bench: Bench) -> None:
    result = await bench.call("def inner(): return 1 / 0\ndef handle(data):\n    print('before')\n    return inner()")
    assert result.verdict is Verdict.RAISED
    assert result.outcome.message == "ZeroDivisionError: division by zero"
    assert result.outcome.trace.startswith("Traceback (most recent call last):\n")
    assert result.outcome.trace.count("File ") == 2
    assert "in inner" in result.outcome.trace
    assert "return 1 / 0" in result.outcome.trace
    assert result.lines == ["before", *result.outcome.trace.splitlines()]


async def test_an_async_handles_trace_is_free_of_the_event_loop(bench: Bench) -> None:
    result = await bench.call("async def handle(data): raise KeyError('no')")
    assert (result.verdict, result.outcome.message) == (Verdict.RAISED, "KeyError: 'no'")
    assert result.outcome.trace.count("File ") == 1


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("raise ValueError('first\\nsecond')", "ValueError: first"),
        ("__import__('sys').exit(3)", "SystemExit: 3"),
        ("__import__('sys').exit('bad luck')", "SystemExit: bad luck"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("(lambda f: f(f))(lambda f: f(f))", "RecursionError: maximum recursion depth exceeded"),
        ("raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})", "handler.Odd: <exception str() failed>"),
        ("raise Exception('\\ud800')", "Exception: ?"),
        ("raise Exception('x' * 1_000_000)", "Exception: xxx"),
        ("__import__('subprocess').run('exit 3', shell=True, check=True)", "subprocess.CalledProcessError: Command"),
        ("exec('def broken(:')", "SyntaxError: "),
        ("raise None", "TypeError: exceptions must derive from BaseException"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
async def test_whatever_is_raised_is_told_and_the_worker_goes_on(bench: Bench, statement: str, message: str) -> None:
    source = f"import os\ndef handle(data):\n    if data.get('pid'): return os.getpid()\n    if data.get('behave'): return 'well'\n    {statement}"
    function = bench.function(source)
    pid = (await bench.call(function, {"pid": 1})).value
    result = await bench.call(function)
    assert result.verdict is Verdict.RAISED
    assert result.outcome.message.startswith(message)
    assert "\n" not in result.outcome.message
    assert len(result.outcome.message) < 5000
    assert (await bench.call(function, {"pid": 1})).value == pid
    await bench.goes_on(function)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("os._exit(3)", "os._exit(3)"),
        ("os._exit(0)", "os._exit(0)"),
        ("ctypes.string_at(0)", "signal 11 (SIGSEGV)"),
        ("os.abort()", "signal 6 (SIGABRT)"),
        ("os.kill(os.getpid(), 9)", "signal 9 (SIGKILL)"),
        ("os.kill(os.getpid(), 15)", "signal 15 (SIGTERM)"),
        ("os.closerange(3, 4096)", "lost its connection"),
    ],
)
async def test_a_worker_that_dies_is_a_crash_told_in_words(bench: Bench, statement: str, words: str) -> None:
    source = f"import os, ctypes\ndef handle(data):\n    if data.get('behave'): return 'well'\n    print('last words')\n    os.write(1, b'torn')\n    {statement}"
    function = bench.function(source)
    result = await bench.call(function)
    assert result.verdict is Verdict.CRASHED
    assert words in result.outcome.message
    assert result.lines[0] == "last words"
    assert result.lines[1].startswith("torn")
    if "SIGSEGV" in words:
        assert any("in handle" in line for line in result.lines), "where it happened is in the log"
    await bench.goes_on(function)


async def test_garbage_on_the_control_socket_ends_that_worker_only(bench: Bench) -> None:
    source = """
        import os, socket, stat, time
        def handle(data):
            if data.get("behave"): return "well"
            for fd in range(3, 100):
                try:
                    if stat.S_ISSOCK(os.fstat(fd).st_mode): os.write(fd, bytes.fromhex(data["send"]) * data["times"])
                except OSError: pass
            time.sleep(60)
    """
    function = bench.function(source)
    other = bench.function("import time\ndef handle(data): time.sleep(0.5); return 'neighbour'")
    neighbour = asyncio.create_task(bench.call(other))
    for send, times in (("00", 100), ("05" + "00" * 16, 1), ("05ffffffffffffffff" + "00" * 8, 1), ("ff", 3 * MEGA)):
        result = await bench.call(function, {"send": send, "times": times}, timeout=10)
        assert result.verdict is Verdict.CRASHED
        assert "no answer" in result.outcome.message
    assert (await neighbour).value == "neighbour"
    await bench.goes_on(function)


async def test_a_call_that_kills_its_parent_harms_no_call_that_waits(bench: Bench) -> None:
    source = """
        import os, signal, time
        def handle(data):
            if data.get("behave"): return "well"
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
    """
    function = bench.function(source)
    if keeps_workers_apart(bench):
        result = await bench.call(function)
        assert result.verdict is Verdict.RAISED
        assert "PermissionError" in result.outcome.message
        return
    bad = [asyncio.create_task(bench.call(function)) for _ in range(2)]
    good = [asyncio.create_task(bench.call(function, {"behave": True})) for _ in range(6)]
    for task in bad:
        result = await task
        assert result.verdict is Verdict.CRASHED
        assert "died" in result.outcome.message
    for task in good:  # one that had begun when the box died is a crash; none is lost or run twice
        assert (await task).verdict in {Verdict.RETURNED, Verdict.CRASHED}
    await bench.goes_on(function)


async def test_a_stopped_zygote_holds_nothing_up_for_long(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvern.host.worker.DEATH_TIMEOUT", 0.3)
    source = """
        import os, signal, time
        def handle(data):
            if data.get("behave"): return "well"
            os.kill(os.getppid(), signal.SIGSTOP)
            time.sleep(60)
    """
    function = bench.function(source)
    expected = Verdict.RAISED if keeps_workers_apart(bench) else Verdict.TIMED_OUT
    assert (await bench.call(function, timeout=0.3)).verdict is expected
    await bench.goes_on(function)


# Loading


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def handel(data): ...", "handler.py defines no 'handle'"),
        ("handle = 3", "'handle' in handler.py must be callable"),
        ("def handle(data, foo): ...", "'handle' takes the argument 'foo'"),
        ("def handle(data, /): ...", "by position only"),
        ("def handle(data:\n    pass", "SyntaxError: "),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise ValueError('at import')", "ValueError: at import"),
        ("import sys; sys.exit(4)", "SystemExit: 4"),
        ("import os; os._exit(5)", "os._exit(5), while the handler was loaded"),
        ("import ctypes; ctypes.string_at(0)", "signal 11 (SIGSEGV), while the handler was loaded"),
        ("from . import sibling", "ImportError: "),
    ],
)
async def test_a_handler_that_cannot_be_loaded_says_why(bench: Bench, source: str, message: str) -> None:
    function = bench.function("print('importing')\n" + source)
    with pytest.raises(HandlerError) as failure:
        await bench.engine.prepare(function)
    assert message in failure.value.message
    assert "\n" not in failure.value.message
    assert "_kvern_runner" not in failure.value.trace
    assert "/runner/" not in failure.value.trace or "Segmentation fault" in failure.value.trace
    assert processes_of(function) == [], "no process is left"
    result = await bench.call(function)
    assert result.verdict is Verdict.NOT_LOADED
    assert message in result.outcome.message
    assert result.lines[:1] == (["importing"] if "SyntaxError" not in message else result.lines[:1])
    await bench.goes_on()


async def test_a_missing_entry_file_is_told(bench: Bench) -> None:
    function = bench.function("x = 1", "other.py")
    missing = Revision("m", 99, function.code, "handler.py", bench.environment)
    with pytest.raises(HandlerError, match=r"no Python module was found at 'handler\.py'"):
        await bench.engine.prepare(missing)


async def test_the_trace_of_a_failed_import_shows_the_users_frames_only(bench: Bench) -> None:
    function = bench.function("import other\ndef handle(data): ...", files={"other.py": "1 / 0"})
    with pytest.raises(HandlerError) as failure:
        await bench.engine.prepare(function)
    assert failure.value.trace.count("File ") == 2


async def test_loading_for_ever_is_stopped(sandbox: Sandbox, environment: Environment, tmp_path: Path) -> None:
    engine = LocalEngine(sandbox, tmp_path / "run", Terms(load_timeout=0.5))
    await engine.start()
    bench = Bench(engine, environment, tmp_path, sandbox)
    with pytest.raises(HandlerError, match=r"not loaded within 0\.5 s"):
        await engine.prepare(bench.function("while True: pass"))
    await bench.goes_on()
    await engine.stop()


# What the zygote loads


@pytest.fixture
def packages(bench: Bench, tmp_path: Path) -> Callable[..., Environment]:
    """Makes an environment of its own with modules of these names and sources."""

    def make(**modules: str) -> Environment:
        path = tmp_path / "own"
        venv.create(path, symlinks=True)
        site = next(path.glob("lib/python*/site-packages"))
        for name, text in modules.items():
            (site / f"{name}.py").write_text(textwrap.dedent(text))
        return Environment("own", path, bench.environment.interpreter, "")

    return make


async def pids_of(bench: Bench, function: Revision) -> list[list[Any]]:
    return [result.value for result in await asyncio.gather(*(bench.call(function) for _ in range(3)))]


ASK = """
    import os, time
    import third
    def handle(data):
        import inner
        time.sleep(0.2)
        return [os.getpid(), third.PID, inner.PID]
"""


async def test_third_party_modules_are_loaded_once_and_shared_by_workers(bench: Bench, packages: Any) -> None:
    environment = packages(third="import os\nPID = os.getpid()", inner="import os\nPID = os.getpid()")
    function = bench.function(ASK, environment=environment)
    answers = await pids_of(bench, function)
    assert len({own for own, _, _ in answers}) == 3
    zygote = {pid for _, *loaded in answers for pid in loaded}
    assert len(zygote) == 1
    assert zygote.isdisjoint(own for own, _, _ in answers)


async def test_the_bundles_own_modules_are_loaded_by_each_worker(bench: Bench, packages: Any) -> None:
    function = bench.function(
        ASK, environment=packages(inner="PID = 0"), files={"third.py": "import os\nPID = os.getpid()"}
    )
    for own, loaded, _ in await pids_of(bench, function):
        assert own == loaded


MISBEHAVIOUR = {
    "threads": ("import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "threads"),
    "socket": ("import socket\nS = socket.socket()", "opens socket:"),
    "pipe": ("import os\nos.pipe()", "opens pipe:"),
    "file": ("F = open(__file__)", "bad.py"),
    "child": ("import subprocess\nP = subprocess.Popen(['/bin/sleep', '60'])", "processes"),
    "raises": ("import sys\nif 'handler' not in sys.modules: raise ValueError('not here')", "ValueError: not here"),
    "leaves": ("import os, sys\nif 'handler' not in sys.modules: os._exit(3)", "left with status"),
    "crashes": ("import ctypes, sys\nif 'handler' not in sys.modules: ctypes.string_at(0)", "while it was loaded"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MISBEHAVIOUR)
async def test_a_package_that_no_zygote_can_have_is_left_to_the_workers(
    bench: Bench, packages: Any, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    text, why = MISBEHAVIOUR[kind]
    environment = packages(third="import os\nPID = os.getpid()", bad=f"{text}\nimport os\nPID = os.getpid()")
    source = "import os, third, bad\ndef handle(data): return [os.getpid(), third.PID, bad.PID]"
    function = bench.function(source, environment=environment)
    with caplog.at_level("INFO", logger="kvern"):
        own, good, bad = (await bench.call(function)).value
    assert own == bad
    assert own != good, "the others are loaded in the zygote all the same"
    [line] = [record.getMessage() for record in caplog.records if "left to the workers" in record.getMessage()]
    assert "bad is left" in line
    assert why in line
    await bench.engine.stop()
    caplog.clear()
    await bench.engine.start()
    with caplog.at_level("INFO", logger="kvern"):
        assert (await bench.call(function)).verdict is Verdict.RETURNED
    assert not any("left to the workers" in record.getMessage() for record in caplog.records), "it is remembered"


SPEAKER = """
import os, socket, stat
for number in range(3, 64):
    try:
        if not stat.S_ISSOCK(os.fstat(number).st_mode): continue
        with socket.socket(fileno=os.dup(number)) as found:
            if found.type == socket.SOCK_SEQPACKET:
                for said in {said}: found.send(said)
    except OSError: pass
"""


@pytest.mark.parametrize(
    "said",
    [
        [b"\xff" * 100],
        [b"[" * 4000],
        [b'{"exited":1,"status":0,"cpu":0,"peak":0}'],
        [b'{"loading":"x"}'] * 2000,
    ],
    ids=["garbage", "nested", "exited", "a flood"],
)
async def test_a_package_that_speaks_for_the_zygote_is_left_to_the_workers(
    bench: Bench, packages: Any, caplog: pytest.LogCaptureFixture, said: list[bytes]
) -> None:
    caplog.set_level("INFO", "kvern.host.zygote")
    made = packages(speaker=SPEAKER.format(said=said if len(said) < 5 else f"[{said[0]!r}] * {len(said)}"))
    function = bench.function("import speaker\ndef handle(data): return 'well'", environment=made)
    assert (await bench.call(function)).value == "well"
    assert "said what it should not" in caplog.text
    assert [record for record in caplog.records if record.name == "asyncio"] == []
    await bench.goes_on(function)


async def test_a_package_that_says_the_zygote_is_ready_ends_it(bench: Bench, packages: Any) -> None:
    made = packages(speaker=SPEAKER.format(said=[b'{"ready":true}', b'{"unforked":9,"message":"x"}']))
    function = bench.function("import speaker\ndef handle(data): return 'well'", environment=made)
    result = await bench.call(function)
    assert result.verdict is Verdict.CRASHED
    assert "said what it should not" in result.outcome.message
    await bench.goes_on()


async def test_a_package_that_takes_too_long_is_left_to_the_workers(
    sandbox: Sandbox, environment: Environment, tmp_path: Path
) -> None:
    engine = LocalEngine(sandbox, tmp_path / "run", Terms(load_timeout=1.0))
    await engine.start()
    bench = Bench(engine, environment, tmp_path, sandbox)
    path = next(environment.path.glob("lib/python*/site-packages")) / "kvern_slow.py"
    path.write_text("import sys, time\nif 'handler' not in sys.modules: time.sleep(60)")
    assert (await bench.call("import kvern_slow\ndef handle(data): return 1")).value == 1
    await engine.stop()


async def test_many_bad_packages_end_in_a_zygote_that_loads_none(bench: Bench, packages: Any) -> None:
    bad = {f"bad{n}": "import os; os.pipe(); PID = os.getpid()" for n in range(6)}
    source = f"import os, {', '.join(bad)}\ndef handle(data): return os.getpid() == bad5.PID"
    assert (await bench.call(bench.function(source, environment=packages(**bad)))).value is True


async def test_a_package_of_the_same_name_as_a_module_of_the_bundle_does_not_take_its_place(
    bench: Bench, packages: Any
) -> None:
    environment = packages(third="import same", same="N = 'of the environment'")
    source = "import third, same\ndef handle(data): return same.N"
    function = bench.function(source, environment=environment, files={"same.py": "N = 'of the bundle'"})
    assert (await bench.call(function)).value == "of the bundle"


async def test_a_missing_package_that_the_handler_can_do_without(bench: Bench) -> None:
    source = "try:\n    import no_such_thing\nexcept ImportError:\n    no_such_thing = 'none'\ndef handle(data): return no_such_thing"
    assert (await bench.call(source)).value == "none"


async def test_what_packages_print_when_they_are_loaded_comes_with_each_workers_first_call(
    bench: Bench, packages: Any
) -> None:
    environment = packages(third="import logging, sys\nprint('third loads'); H = logging.StreamHandler()")
    source = """
        import third, time
        print("handler loads")
        def handle(data):
            time.sleep(0.2)
            print("called", file=third.H.stream)
    """
    function = bench.function(source, environment=environment)
    await bench.engine.prepare(function)
    whole = ["third loads", "handler loads", "called"]
    results = await asyncio.gather(bench.call(function), bench.call(function))
    assert [result.lines for result in results] == [whole, whole]
    assert (await bench.call(function)).lines == ["called"]


async def test_environment_variables_of_the_function_are_there_when_packages_are_loaded(
    bench: Bench, packages: Any
) -> None:
    environment = packages(third="import os\nMODE = os.environ['MODE']")
    source = "import third\ndef handle(data): return third.MODE"
    assert (
        await bench.call(bench.function(source, environment=environment, env_vars={"MODE": "fast"}))
    ).value == "fast"


async def test_workers_draw_random_numbers_of_their_own(bench: Bench) -> None:
    source = """
        import random, secrets, tempfile, time, uuid
        def handle(data):
            time.sleep(0.2)
            return [random.random(), uuid.uuid4().hex, secrets.token_hex(), next(tempfile._get_candidate_names())]
    """
    function = bench.function(source)
    answers = [result.value for result in await asyncio.gather(*(bench.call(function) for _ in range(3)))]
    for drawn in zip(*answers, strict=True):
        assert len(set(drawn)) == 3


async def test_the_zygote_is_held_to_the_functions_memory(bench: Bench, packages: Any) -> None:
    if cgroups.find() is None:
        pytest.skip("the watchdog's looks are too far apart for this")
    environment = packages(
        fat="import sys\nif 'handler' not in sys.modules: x = [bytearray(8_000_000) for _ in range(100)]"
    )
    function = bench.function("import fat\ndef handle(data): return 1", environment=environment, memory=200 * MEGA)
    assert (await bench.call(function)).value == 1


async def test_modules_of_the_bundle_show_their_lines_in_a_trace(bench: Bench) -> None:
    function = bench.function(
        "import deep\ndef handle(data): deep.fail()", files={"deep.py": "def fail():\n    1 / 0  # here"}
    )
    result = await bench.call(function)
    assert "1 / 0  # here" in result.outcome.trace
    assert 'deep.py", line 2, in fail' in result.outcome.trace


# Time, and ends from outside


async def test_a_call_past_its_timeout_is_killed_with_all_that_it_started(bench: Bench) -> None:
    source = """
        import os, subprocess, sys, time
        def handle(data):
            if data.get("behave"): return "well"
            print("begun", flush=True)
            run = [sys.executable, "-c", "import time; time.sleep(300)", data["word"]]
            subprocess.Popen(run)
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0: os.execv(run[0], run)
                os._exit(0)
            print("no newline", end="", flush=True)
            time.sleep(60)
    """
    word = f"word-{os.urandom(6).hex()}"
    function = bench.function(source)
    result = await bench.call(function, {"word": word}, timeout=1.0)
    assert result.verdict is Verdict.TIMED_OUT
    assert "1 s" in result.outcome.message
    assert result.lines == ["begun", "no newline"]
    await until(lambda: processes_with(word) == [], 3)
    await bench.goes_on(function)


async def test_the_time_to_load_does_not_count(bench: Bench) -> None:
    source = "import time\ntime.sleep(0.6)\ndef handle(data): return 'well'"
    assert (await bench.call(source, timeout=0.5)).value == "well"


async def test_what_a_call_leaves_behind_is_killed_and_its_worker_not_used_again(bench: Bench) -> None:
    source = """
        import os, subprocess, sys, threading, time
        def handle(data):
            if data.get("behave"): return "well"
            if data["leave"] == "child":
                subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)", data["word"]])
            elif data["leave"] == "daemon":
                if os.fork() == 0:
                    os.setsid()
                    if os.fork() == 0:
                        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(300)", data["word"]])
                    os._exit(0)
                os.wait()
            elif data["leave"] == "thread":
                threading.Thread(target=time.sleep, args=(300,)).start()
            elif data["leave"] == "zombie":
                subprocess.Popen(["/bin/true"]); time.sleep(0.3)
            return os.getpid()
    """
    word = f"word-{os.urandom(6).hex()}"
    function = bench.function(source)
    for leave in ("child", "daemon", "thread"):
        before = (await bench.call(function, {"leave": "nothing"})).value
        assert (await bench.call(function, {"leave": leave, "word": word})).value == before
        assert (await bench.call(function, {"leave": "nothing"})).value != before
        await until(lambda: processes_with(word) == [], 3)
    before = (await bench.call(function, {"leave": "nothing"})).value
    assert (await bench.call(function, {"leave": "zombie"})).value == before
    assert (await bench.call(function, {"leave": "nothing"})).value == before, "a dead child is nothing left behind"


async def test_an_idle_thread_pool_is_nothing_left_behind(bench: Bench) -> None:
    source = """
        import os
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(2)
        def handle(data): return [os.getpid(), pool.submit(lambda: 1).result()]
    """
    function = bench.function(source)
    first = (await bench.call(function)).value
    assert (await bench.call(function)).value == first


async def test_processes_and_pools_that_a_call_ends_itself_cost_no_worker(bench: Bench) -> None:
    source = """
        import multiprocessing, os, subprocess
        from concurrent.futures import ProcessPoolExecutor
        def square(x): return x * x
        def handle(data):
            with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
                squares = list(pool.map(square, range(4)))
            with multiprocessing.get_context("fork").Pool(2) as pool:
                squares += pool.map(square, [5])
            return [os.getpid(), squares, subprocess.check_output(["echo", "x"], text=True)]
    """
    function = bench.function(source)
    first = (await bench.call(function)).value
    assert first[1:] == [[0, 1, 4, 9, 25], "x\n"]
    assert (await bench.call(function)).value == first


async def test_a_child_that_eats_the_memory_is_named_as_the_cause(bench: Bench) -> None:
    if cgroups.find() is None:
        pytest.skip("only control groups tell of a child's death")
    source = """
        import subprocess, sys
        def handle(data):
            if data.get("behave"): return "well"
            subprocess.run([sys.executable, "-c", "x = [bytearray(8_000_000) for _ in range(10_000)]"], check=True)
    """
    function = bench.function(source, memory=200 * MEGA)
    result = await bench.call(function)
    assert result.verdict is Verdict.OUT_OF_MEMORY
    assert "the limit is 200 MB" in result.outcome.message
    await bench.goes_on(function)


async def test_a_call_may_remove_its_own_folder(bench: Bench) -> None:
    source = """
        import os, shutil, tempfile
        def handle(data):
            if data.get("behave"): return "well"
            shutil.rmtree(tempfile.gettempdir(), ignore_errors=True)
            os.close(0)
    """
    function = bench.function(source)
    assert (await bench.call(function)).value is None
    await bench.goes_on(function)


async def test_a_child_that_returns_from_handle_answers_nothing(bench: Bench) -> None:
    source = "import os\ndef handle(data):\n    pid = os.fork()\n    if pid: os.waitpid(pid, 0)\n    return pid > 0"
    function = bench.function(source)
    for _ in range(3):
        assert (await bench.call(function)).value is True
    raises = "import os\ndef handle(data):\n    pid = os.fork()\n    if not pid: raise ValueError\n    os.waitpid(pid, 0)\n    return 'parent'"
    assert (await bench.call(raises)).value == "parent"


async def test_output_of_something_left_running_goes_into_no_other_call(bench: Bench) -> None:
    source = """
        import threading, time, itertools
        def noise():
            for n in itertools.count(): print("noise", n); time.sleep(0.005)
        def handle(data):
            if data.get("start"):
                threading.Thread(target=noise, daemon=True).start(); time.sleep(0.05)
            return "well"
    """
    function = bench.function(source)
    await bench.call(function, {"start": 1})
    await asyncio.sleep(0.1)
    assert len((await bench.call(function)).lines) < 5


async def test_a_call_can_be_cancelled_while_it_runs_or_waits(bench: Bench) -> None:
    function = bench.function("import time\ndef handle(data): print('begun'); time.sleep(60)")
    lines: list[LogLine] = []
    orders = [bench.order(lines=lines) for _ in range(6)]
    calls = [asyncio.create_task(bench.engine.run(function, order)) for order in orders]
    await until(lambda: len(lines) == 4)  # as many as there may be workers; two wait
    for order in orders:
        assert await bench.engine.cancel(order.call_id)
    for call in calls:
        assert (await call).verdict is Verdict.CANCELLED
    assert not await bench.engine.cancel(orders[0].call_id)
    await bench.goes_on()


async def test_whoever_stops_waiting_for_run_stops_the_call(bench: Bench) -> None:
    function = bench.function(
        "import time\ndef handle(data):\n    if data: return 'well'\n    print('begun'); time.sleep(60)"
    )
    lines: list[LogLine] = []
    task = asyncio.create_task(bench.engine.run(function, bench.order(lines=lines)))
    await until(lambda: bool(lines))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await bench.call(function, {"x": 1})).value == "well"


async def test_retire_ends_a_functions_calls_and_leaves_no_process(bench: Bench) -> None:
    function = bench.function("import time\ndef handle(data): print('begun'); time.sleep(60)")
    lines: list[LogLine] = []
    call = asyncio.create_task(bench.engine.run(function, bench.order(lines=lines)))
    await until(lambda: bool(lines))
    await bench.engine.retire(function.function_id)
    assert (await call).verdict is Verdict.CANCELLED
    assert processes_of(function) == []
    await bench.engine.retire(function.function_id)
    await bench.goes_on()


async def test_stop_interrupts_calls_and_leaves_no_process(bench: Bench) -> None:
    function = bench.function("import time\ndef handle(data): print('begun'); time.sleep(60)")
    lines: list[LogLine] = []
    calls = [asyncio.create_task(bench.engine.run(function, bench.order(lines=lines))) for _ in range(6)]
    await until(lambda: len(lines) == 4)
    await bench.engine.stop()
    for call in calls:
        assert (await call).verdict is Verdict.INTERRUPTED
    assert processes_with(str(bench.folder)) == []
    await bench.engine.stop()
    assert (await bench.call(function)).verdict is Verdict.INTERRUPTED


# The beginning of a call


async def test_on_begin_is_awaited_once_before_the_call_begins(bench: Bench) -> None:
    begun: list[int] = []

    async def begin() -> None:
        await asyncio.sleep(0)
        begun.append(1)

    assert (await bench.call("def handle(data): return 1", on_begin=begin)).value == 1
    assert begun == [1]


async def test_when_on_begin_raises_the_call_is_not_run(bench: Bench) -> None:
    function = bench.function("calls = []\ndef handle(data): calls.append(1); return len(calls)")

    async def refuse() -> None:
        raise LookupError("deleted meanwhile")

    with pytest.raises(LookupError, match="deleted"):
        await bench.call(function, on_begin=refuse)
    assert (await bench.call(function)).value == 1


async def test_a_call_cancelled_while_its_beginning_is_written_down_does_not_run(bench: Bench) -> None:
    function = bench.function("calls = []\ndef handle(data): calls.append(1); return len(calls)")
    order_id = 4711

    async def begin() -> None:
        assert await bench.engine.cancel(order_id)

    assert (await bench.call(function, call_id=order_id, on_begin=begin)).verdict is Verdict.CANCELLED
    assert (await bench.call(function)).value == 1


# The pool


async def test_a_prepared_function_has_a_warm_worker(bench: Bench) -> None:
    function = bench.function("import os\nPID = os.getpid()\ndef handle(data): return PID")
    assert not bench.engine.has_room(function)
    await bench.engine.prepare(function)
    assert bench.engine.has_room(function)
    assert not bench.engine.has_room(function, besides=1)
    pid = (await bench.call(function)).value
    for _ in range(5):
        assert (await bench.call(function)).value == pid


async def test_a_started_box_waits_for_the_next_revision_of_the_environment(bench: Bench, tmp_path: Path) -> None:
    engine = LocalEngine(bench.sandbox, tmp_path / "spares", Terms(max_workers=2), spare_box=60)
    await engine.start()
    other = Bench(engine, bench.environment, tmp_path, bench.sandbox, count(500))
    source = (
        "import os, near.by\ndef handle(data): return [near.by.WORD, sorted(os.listdir(os.path.dirname(__file__)))]"
    )
    functions = [other.function(source, files={"near/by.py": f"WORD = {n}", f"{n}.txt": ""}) for n in range(3)]
    for number, function in enumerate(functions):
        await engine.prepare(function)
        if bench.sandbox.is_boundary:  # those that have become hosts, and the one that waits
            await until(lambda n=number: len(list((tmp_path / "spares").glob("spare-*"))) == n + 1)
        word, names = (await other.call(function)).value
        assert (word, [name for name in names if "__" not in name]) == (number, [f"{number}.txt", "handler.py", "near"])
    first = functions[0].function_id
    await engine.retire(first)
    assert (await other.call(functions[2])).value[0] == 2
    await engine.stop()
    assert not list((tmp_path / "spares").iterdir())


async def test_calls_at_once_get_workers_of_their_own_up_to_the_limit(bench: Bench) -> None:
    function = bench.function("import os, time\ndef handle(data): time.sleep(0.2); return os.getpid()")
    results = await asyncio.gather(*(bench.call(function) for _ in range(8)))
    assert len({result.value for result in results}) == 4
    assert bench.engine.has_room(function)


async def test_calls_that_wait_are_served_in_order(bench: Bench) -> None:
    function = bench.function("def handle(data): return data")
    begun: list[int] = []

    async def call(number: int) -> None:
        async def begin() -> None:
            begun.append(number)

        await bench.call(function, on_begin=begin)

    await asyncio.gather(*(call(number) for number in range(40)))
    assert begun == list(range(40))


async def test_idle_workers_and_hosts_are_stopped_and_made_anew(
    sandbox: Sandbox, environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kvern.engine.local.TRIM_INTERVAL", 0.05)
    engine = LocalEngine(sandbox, tmp_path / "run", Terms(max_workers=3, idle_worker=0.1, idle_host=1.0))
    await engine.start()
    bench = Bench(engine, environment, tmp_path, sandbox)
    function = bench.function("import os, time\ndef handle(data): time.sleep(0.1); return os.getpid()")
    await asyncio.gather(*(bench.call(function) for _ in range(3)))
    await until(lambda: len(processes_of(function)) <= 4)
    assert (await bench.call(function)).verdict is Verdict.RETURNED
    await until(lambda: processes_of(function) == [])
    assert not engine.has_room(function)
    assert (await bench.call(function)).verdict is Verdict.RETURNED
    await engine.stop()


async def test_a_worker_is_replaced_after_so_many_calls(
    sandbox: Sandbox, environment: Environment, tmp_path: Path
) -> None:
    engine = LocalEngine(sandbox, tmp_path / "run", Terms(worker_calls=3))
    await engine.start()
    bench = Bench(engine, environment, tmp_path, sandbox)
    function = bench.function("import os\ndef handle(data): return os.getpid()")
    pids = [(await bench.call(function)).value for _ in range(7)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]
    await engine.stop()


async def test_a_worker_whose_memory_has_grown_is_replaced_and_one_that_gave_it_back_is_not(
    sandbox: Sandbox, environment: Environment, tmp_path: Path
) -> None:
    engine = LocalEngine(sandbox, tmp_path / "run", Terms(worker_growth=50 * MEGA))
    await engine.start()
    bench = Bench(engine, environment, tmp_path, sandbox)
    source = """
        import os
        kept = []
        def handle(data):
            block = b"x" * 60_000_000
            if data.get("leak"): kept.append(block)
            return os.getpid()
    """
    function = bench.function(source)
    first = (await bench.call(function)).value
    assert (await bench.call(function, {"leak": 1})).value == first
    assert (await bench.call(function)).value != first
    await engine.stop()


async def test_when_all_turns_are_taken_functions_take_turns(
    sandbox: Sandbox, environment: Environment, tmp_path: Path
) -> None:
    engine = LocalEngine(sandbox, tmp_path / "run", Terms(max_workers=2, running=1))
    await engine.start()
    bench = Bench(engine, environment, tmp_path, sandbox)
    flood, other = (bench.function("def handle(data): return data") for _ in range(2))
    await engine.prepare(flood)
    await engine.prepare(other)
    ended: list[str] = []

    async def call(name: str, function: Revision) -> None:
        await bench.call(function)
        ended.append(name)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(30):
            tasks.create_task(call("flood", flood))
        await asyncio.sleep(0)
        assert not engine.has_room(other)
        tasks.create_task(call("other", other))
    assert ended.index("other") <= 3, "it waited for what ran, and not for what waited"
    await engine.stop()


async def test_a_call_that_waits_for_its_turn_can_be_cancelled(
    sandbox: Sandbox, environment: Environment, tmp_path: Path
) -> None:
    engine = LocalEngine(sandbox, tmp_path / "run", Terms(running=1))
    await engine.start()
    bench = Bench(engine, environment, tmp_path, sandbox)
    slow = bench.function("import time\ndef handle(data):\n    print('begun'); time.sleep(60)")
    other = bench.function("def handle(data): return 'well'")
    await engine.prepare(other)
    lines: list[LogLine] = []
    first, second = bench.order(lines=lines), bench.order()
    running = asyncio.create_task(engine.run(slow, first))
    await until(lambda: bool(lines))
    waiting = asyncio.create_task(engine.run(other, second))
    third = asyncio.create_task(engine.run(other, bench.order()))
    await asyncio.sleep(0)
    assert await engine.cancel(second.call_id)
    assert (await waiting).verdict is Verdict.CANCELLED
    assert await engine.cancel(first.call_id)
    assert (await running).verdict is Verdict.CANCELLED
    assert (await third).response == b'"well"'
    await engine.stop()


async def test_hosts_that_hold_too_much_memory_are_stopped_by_worth(
    sandbox: Sandbox, environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kvern.engine.local.TRIM_INTERVAL", 0.1)
    engine = LocalEngine(sandbox, tmp_path / "run", Terms(idle_memory=120 * MEGA))
    await engine.start()
    bench = Bench(engine, environment, tmp_path, sandbox)
    source = "kept = b'x' * 50_000_000\ndef handle(data): return 1"
    often, seldom, busy = (bench.function(source) for _ in range(3))
    for function in (seldom, *[often] * 5, busy):
        await bench.call(function)
    await until(lambda: not engine.has_room(seldom) or not engine.has_room(busy))
    assert engine.has_room(often)
    assert (await bench.call(seldom)).value == 1
    await engine.stop()


# Figures


async def test_an_outcome_tells_what_the_call_used(bench: Bench) -> None:
    source = """
        import time
        def handle(data):
            end = time.process_time() + data.get("cpu", 0)
            while time.process_time() < end: pass
            time.sleep(data.get("sleep", 0))
            block = b"x" * data.get("memory", 0)
    """
    function = bench.function(source)
    first = (await bench.call(function, {"sleep": 0.2})).outcome
    assert first.cold
    assert first.queue_seconds > 0
    assert 0.2 <= first.run_seconds < 5
    assert first.cpu_seconds is not None
    assert first.cpu_seconds < 0.15
    second = (await bench.call(function, {"cpu": 0.2, "memory": 100 * MEGA})).outcome
    assert not second.cold
    assert second.cpu_seconds is not None
    assert 0.2 <= second.cpu_seconds < 1
    assert second.peak_memory is not None
    assert 100 * MEGA < second.peak_memory < 400 * MEGA
    third = (await bench.call(function)).outcome
    assert third.cpu_seconds is not None
    assert third.cpu_seconds < 0.15, "each call has its own figures"


async def test_a_prepared_functions_first_call_is_not_cold(bench: Bench) -> None:
    function = bench.function("def handle(data): return 1")
    await bench.engine.prepare(function)
    assert not (await bench.call(function)).outcome.cold


async def test_a_call_that_was_stopped_tells_what_it_used(bench: Bench) -> None:
    source = "def handle(data):\n    block = b'x' * 80_000_000\n    while True: pass"
    outcome = (await bench.call(source, timeout=0.5)).outcome
    assert outcome.verdict is Verdict.TIMED_OUT
    assert outcome.cpu_seconds is not None
    assert outcome.cpu_seconds > 0.1
    assert outcome.peak_memory is not None
    assert outcome.peak_memory > 80 * MEGA
    assert f"CPU time {outcome.cpu_seconds:.2f} s, peak memory {outcome.peak_memory / 1e6:.0f} MB" in outcome.message


async def test_an_outcome_names_the_worker_that_ran_the_call(bench: Bench) -> None:
    source = """
        import os
        def handle(data):
            if data: os._exit(1)
    """
    function, other = bench.function(source), bench.function(source)
    first, second, died = [(await bench.call(function, data)).outcome for data in ({}, {}, {"die": True})]
    assert first.verdict is second.verdict is Verdict.RETURNED
    assert died.verdict is Verdict.CRASHED
    assert died.cpu_seconds is not None
    host, _, number = first.worker.partition("/")
    assert (len(host), number) == (8, "1")
    assert first.worker == second.worker == died.worker
    assert (await bench.call(function)).outcome.worker == f"{host}/2", "a name is used for one process only"
    assert not (await bench.call(other)).outcome.worker.startswith(host)


async def test_a_call_that_did_not_begin_has_no_worker_and_tells_how_long_it_waited(bench: Bench) -> None:
    function = bench.function("import time\ndef handle(data): time.sleep(30)")
    orders = [bench.order() for _ in range(5)]
    calls = [asyncio.create_task(bench.engine.run(function, order)) for order in orders]
    assert (await bench.call("def handle(data): return 1")).value == 1  # and meanwhile four of them begin
    assert await bench.engine.cancel(orders[4].call_id)
    waited = await calls[4]
    assert (waited.verdict, waited.worker, waited.run_seconds) == (Verdict.CANCELLED, "", 0)
    assert (waited.cpu_seconds, waited.peak_memory) == (None, None)
    assert waited.queue_seconds > 0
    for order in orders[:4]:
        assert await bench.engine.cancel(order.call_id)
    assert {(await call).verdict for call in calls[:4]} == {Verdict.CANCELLED}


async def test_a_call_that_waited_tells_how_long(bench: Bench) -> None:
    function = bench.function("import time\ndef handle(data): time.sleep(0.2)")
    outcomes = [result.outcome for result in await asyncio.gather(*(bench.call(function) for _ in range(8)))]
    waited = [outcome for outcome in outcomes if not outcome.cold]
    assert len(waited) == 4
    assert all(outcome.queue_seconds > 0.15 for outcome in waited)


# Limits


GLUTTON = """
    import time
    def handle(data):
        if data.get("behave"): return "well"
        kept = []
        while True:
            kept.append(bytearray(8_000_000))
            time.sleep(data.get("pace", 0))
"""


async def test_a_call_that_eats_memory_is_stopped_and_told_its_limit_and_peak(bench: Bench) -> None:
    function = bench.function(GLUTTON, memory=200 * MEGA)
    result = await bench.call(function)
    assert result.verdict is Verdict.OUT_OF_MEMORY
    assert "the limit is 200 MB" in result.outcome.message
    await bench.goes_on(function)


async def test_without_control_groups_a_watchdog_holds_memory_and_processes(
    sandbox: Sandbox, environment: Environment, tmp_path: Path
) -> None:
    engine = LocalEngine(sandbox, tmp_path / "run", allowance=Allowance(pids=50), control_groups=False)
    await engine.start()
    bench = Bench(engine, environment, tmp_path, sandbox)
    glutton = bench.function(GLUTTON, memory=200 * MEGA)
    result = await bench.call(glutton, {"pace": 0.01})
    assert result.verdict is Verdict.OUT_OF_MEMORY
    assert "the limit is 200 MB, the peak was" in result.outcome.message
    await bench.goes_on(glutton)
    source = """
        import os, time
        def handle(data):
            if data.get("behave"): return "well"
            for _ in range(200):
                if os.fork() == 0: time.sleep(60); os._exit(0)
            time.sleep(60)
    """
    crowd = bench.function(source)
    result = await bench.call(crowd)
    assert result.verdict in {Verdict.CRASHED, Verdict.RAISED}
    assert "50 processes" in result.outcome.message or "Resource temporarily unavailable" in result.outcome.message
    await bench.goes_on(crowd)
    await engine.stop()
    assert processes_with(str(tmp_path)) == []


async def test_an_absurd_wish_for_memory_is_out_of_memory_too(bench: Bench) -> None:
    function = bench.function("def handle(data):\n    if data: return 'well'\n    bytearray(10**15)")
    result = await bench.call(function)
    assert result.verdict is Verdict.OUT_OF_MEMORY
    assert result.outcome.message.startswith("MemoryError: the limit is 1500 MB")
    await bench.goes_on(function)


@pytest.mark.skipif(cgroups.find() is None, reason="a fork bomb is let loose only where a control group holds it")
async def test_a_fork_bomb_is_contained(bench: Bench) -> None:
    source = """
        import os
        def handle(data):
            if data.get("behave"): return "well"
            while True:
                try: os.fork()
                except OSError:
                    if data.get("raise"): raise
    """
    function = bench.function(source)
    started = time.monotonic()
    result = await bench.call(function, timeout=1.0)
    assert time.monotonic() - started < 15
    assert result.verdict is Verdict.TIMED_OUT
    await bench.goes_on(function)
    result = await bench.call(function, {"raise": True})
    assert result.verdict is Verdict.RAISED
    assert "limit of 512 processes" in result.outcome.message
    await bench.goes_on(function)


@pytest.mark.skipif(cgroups.find() is None, reason="shares of the CPU are held by control groups")
async def test_one_with_many_busy_workers_takes_nothing_from_one_with_a_single_one(bench: Bench) -> None:
    source = """
        import os, time
        def handle(data):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            while time.time() < data["from"]: time.sleep(0.01)
            before = time.process_time()
            while time.time() < data["to"]: pass
            return time.process_time() - before
    """
    greedy, modest = bench.function(source), bench.function(source)
    for function in (greedy, modest):
        await bench.engine.prepare(function)
    begin = time.time() + 1.5
    window = {"from": begin, "to": begin + 1.5}
    *taken, left = await asyncio.gather(*(bench.call(function, window) for function in (*[greedy] * 4, modest)))
    # All on one core: without shares the one would get a fifth.
    assert left.value > 0.35 * (left.value + sum(one.value for one in taken))


async def test_open_files_core_and_file_size_are_limited(bench: Bench) -> None:
    source = """
        import resource as r
        def handle(data): return [r.getrlimit(getattr(r, "RLIMIT_" + n))[1] for n in ("CORE", "NOFILE", "FSIZE")]
    """
    core, files, size = (await bench.call(source)).value
    assert core == 0
    assert 0 < files <= 4096
    assert 0 < size <= 2**31


async def test_what_limits_are_in_force_is_told(bench: Bench) -> None:
    assert isinstance(bench.engine, LocalEngine)
    told = bench.engine.capabilities()
    assert told["sandbox"].startswith(bench.sandbox.name)
    assert {"memory", "processes", "cpu", "open files", "file size"} <= set(told)


# Walls


@pytest.fixture
def boxed(bench: Bench) -> Bench:
    if not bench.sandbox.is_boundary:
        pytest.skip("no boundary")
    return bench


RUN = """
    import ctypes, errno, os, signal, socket, subprocess, sys, time
    def tried(deed):
        try: return deed() or "done"
        except OSError as error: return errno.errorcode[error.errno]
    def handle(data):
        if data.get("behave"): return "well"
        scope = dict(globals())
        exec(data["code"], scope)
        return scope["result"]
"""


async def probe(bench: Bench, code: str, **settings: Any) -> Any:
    return (await bench.call(bench.function(RUN, **settings), {"code": textwrap.dedent(code)})).value


async def test_a_sibling_and_the_zygote_can_be_neither_signalled_nor_looked_into(boxed: Bench) -> None:
    if not keeps_workers_apart(boxed):
        pytest.skip("this kernel has no scopes for signals")
    function = boxed.function(RUN, secrets={"key": "sibling-secret"})
    lines: list[LogLine] = []
    order = boxed.order({"code": "print(os.getpid()); time.sleep(60)"}, lines)
    sibling = asyncio.create_task(boxed.engine.run(function, order))
    await until(lambda: bool(lines))
    code = f"""
result = []
for pid in ({lines[0].message}, os.getppid()):
    told = []
    for number in (0, 9, 19): told.append(tried(lambda: os.kill(pid, number)))
    for name in ("mem", "environ"): told.append(tried(lambda: open(f"/proc/{{pid}}/{{name}}", "rb").read(10)))
    told.append(tried(lambda: os.readlink(f"/proc/{{pid}}/fd/0")))
    result.append(told)
"""
    told = await boxed.call(function, {"code": code})
    assert told.value == [["EPERM", "EPERM", "EPERM", "EACCES", "EACCES", "EACCES"]] * 2
    assert await boxed.engine.cancel(order.call_id)
    assert (await sibling).verdict is Verdict.CANCELLED


async def test_each_host_is_a_user_of_its_own_who_owns_nothing_of_the_machine(boxed: Bench) -> None:
    if not boxed.sandbox.users:
        pytest.skip("the service is no root, or may not become another user")
    code = """
        import getpass
        status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
        open("/dev/shm/own", "w").close()
        result = {"ids": [*status["Uid"].split(), *status["Gid"].split()], "groups": os.getgroups(),
            "capabilities": {status[name].strip() for name in status if name.startswith("Cap")} - {"0" * 16},
            "name": getpass.getuser(), "shadow": tried(lambda: open("/proc/1/environ")),
            "kill": tried(lambda: os.kill(1, 9)), "sysctl": tried(lambda: open("/proc/sys/kernel/core_pattern", "r+"))}
        result["capabilities"] = sorted(result["capabilities"])
    """
    first, second = await probe(boxed, code), await probe(boxed, code)
    for told in (first, second):
        (user,) = set(told.pop("ids"))
        assert int(user) in boxed.sandbox.users
        assert user not in told.values()
        told["user"] = user
    assert first.pop("user") != second.pop("user")
    assert (
        first
        == second
        == {
            "groups": [],
            "capabilities": [],
            "name": "kvern",
            "shadow": "EACCES",
            "kill": "EPERM",
            "sysctl": "EACCES",
        }
    )


async def test_without_control_groups_a_user_of_its_own_holds_a_fork_bomb(
    boxed: Bench, environment: Environment, tmp_path: Path
) -> None:
    if not boxed.sandbox.users:
        pytest.skip("the kernel holds root to no number of processes")
    allowance = Allowance(pids=30)
    engine = LocalEngine(boxed.sandbox, tmp_path / "bombs", allowance=allowance, control_groups=False)
    await engine.start()
    bench = Bench(engine, environment, tmp_path, boxed.sandbox, count(1000))
    source = """
        import os, time
        def handle(data):
            if data.get("behave"): return "well"
            for made in range(2000):
                if os.fork() == 0:
                    time.sleep(60)
    """
    function = bench.function(source)
    result = await bench.call(function)
    assert result.verdict in {Verdict.RAISED, Verdict.CRASHED}  # the kernel was first, or the watchdog
    assert "BlockingIOError" in result.outcome.message or "processes" in result.outcome.message
    await bench.goes_on(function)
    await engine.stop()


async def test_a_worker_may_still_signal_what_it_started(boxed: Bench) -> None:
    code = "p = subprocess.Popen(['/bin/sleep', '60']); p.terminate(); result = p.wait()"
    assert await probe(boxed, code) == -15


async def test_no_function_sees_anothers_files_or_processes(boxed: Bench) -> None:
    other = boxed.function("import time\ndef handle(data): print(1); time.sleep(60)", files={"plan.txt": "x"})
    lines: list[LogLine] = []
    order = boxed.order({}, lines)
    running = asyncio.create_task(boxed.engine.run(other, order))
    await until(lambda: bool(lines))
    code = f"""
        paths = ["/etc/shadow", {str(other.code / "plan.txt")!r}, {str(boxed.folder)!r}, "/proc/{os.getpid()}/environ"]
        result = [os.path.exists(path) for path in paths] + [len([n for n in os.listdir("/proc") if n.isdigit()]) < 6]
    """
    assert await probe(boxed, code) == [False, False, False, False, True]
    await boxed.engine.cancel(order.call_id)
    await running


async def test_nothing_that_functions_share_can_be_changed(boxed: Bench) -> None:
    code = """
        site = next(path for path in sys.path if "site-packages" in path)
        result = [tried(lambda: os.chmod(site, 0o777))]
        for path in (site + "/json.py", "/kvern/code/handler.py", "/kvern/runner/worker.py", os.path.realpath(sys.executable)):
            result.append(tried(lambda: open(path, "w")))
    """
    assert set(await probe(boxed, code)) <= {"EROFS", "ETXTBSY", "EACCES", "EPERM"}


async def test_a_worker_has_no_descriptors_but_its_own(boxed: Bench) -> None:
    code = """
        result = []
        for name in os.listdir("/proc/self/fd"):
            try: result.append(os.readlink(f"/proc/self/fd/{name}").partition(":")[0])
            except OSError: pass
    """
    kinds = await probe(boxed, code)
    assert set(kinds) <= {"/dev/null", "pipe", "socket"}
    assert kinds.count("socket") == 1


async def test_tmp_is_emptied_when_the_last_worker_has_gone(bench: Bench) -> None:
    source = """
        import os, tempfile, pathlib
        def handle(data):
            if data.get("behave"): return "well"
            folder = pathlib.Path(tempfile.gettempdir())
            found = sorted(path.name for path in folder.iterdir())
            (folder / "deep" / "er").mkdir(parents=True); (folder / "deep" / "file").write_text("x")
            (folder / "link").symlink_to("/usr")
            for n in range(data.get("many", 0)): (folder / str(n)).touch()
            os._exit(found != [])
    """
    function = bench.function(source)
    for many in (0, 3000, 0):
        result = await bench.call(function, {"many": many})
        assert "os._exit(0)" in result.outcome.message, "it was empty"
    await bench.goes_on(function)


async def test_tmp_has_a_size_and_filling_it_harms_nobody(boxed: Bench) -> None:
    code = """
        def fill():
            with open("/tmp/file", "wb") as file:
                for _ in range(1000): file.write(b"x" * 1_000_000)
        result = [tried(fill), os.unlink("/tmp/file")]
    """
    engine = LocalEngine(boxed.sandbox, boxed.folder / "small", allowance=Allowance(tmp_size=20 * MEGA))
    await engine.start()
    bench = Bench(engine, boxed.environment, boxed.folder, boxed.sandbox, boxed.numbers)
    assert (await probe(bench, code))[0] == "ENOSPC"
    await engine.stop()


async def test_one_that_makes_files_without_end_is_contained(boxed: Bench) -> None:
    code = """
        n = 0
        while True:
            open(f"/tmp/{n}", "w").close(); n += 1
    """
    function = boxed.function(RUN, memory=100 * MEGA)
    result = await boxed.call(function, {"code": textwrap.dedent(code)}, timeout=3)
    assert result.verdict in {Verdict.OUT_OF_MEMORY, Verdict.TIMED_OUT, Verdict.RAISED}
    assert "MB" in result.outcome.message or "No space" in result.outcome.message
    await boxed.goes_on(function)


async def test_one_that_leaks_descriptors_is_told_its_limit(bench: Bench) -> None:
    source = """
        import os
        kept = []
        def handle(data):
            if data.get("behave"): return "well"
            while True: kept.append(os.open("/dev/null", os.O_RDONLY))
    """
    result = await bench.call(source)
    assert result.verdict is Verdict.RAISED
    assert "Too many open files" in result.outcome.message
    await bench.goes_on()


async def test_without_network_there_is_a_loopback_and_nothing_else(boxed: Bench) -> None:
    engine = LocalEngine(boxed.sandbox, boxed.folder / "none", network="none")
    await engine.start()
    bench = Bench(engine, boxed.environment, boxed.folder, boxed.sandbox, boxed.numbers)
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = f"""
            own = socket.create_server(("127.0.0.1", 0))
            result = [
                tried(lambda: socket.create_connection(("127.0.0.1", {server.getsockname()[1]}), 5)),
                tried(lambda: socket.create_connection(("192.0.2.1", 80), 5)),
                socket.create_connection(own.getsockname(), 5).getpeername()[0],
                [name for _, name in socket.if_nameindex()],
            ]
        """
        assert await probe(bench, code) == ["ECONNREFUSED", "ENETUNREACH", "127.0.0.1", ["lo"]]
    await engine.stop()


REACH = """
    import os, socket, urllib.error, urllib.request
    def asked(url):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer: return [answer.status, answer.read().decode()]
        except urllib.error.HTTPError as error: return [error.code, error.read().decode()]
        except OSError as error: return str(error)
    def joined(greeting, host="127.0.0.1", port=3128):
        with socket.create_connection((host, port), 5) as sock:
            answers = []
            for message in greeting:
                sock.sendall(message)
                answers.append(sock.recv(100))
            return [answer.decode("latin-1") for answer in answers]
    def handle(data):
        scope = dict(globals(), **data)
        exec(data["code"], scope)
        return scope["result"]
"""


@pytest.fixture
async def there(boxed: Bench) -> AsyncIterator[int]:
    """The port of a small server of this machine, outside of any box."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + line.strip())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def egress(boxed: Bench, code: str, port: int, *listed: str, own: list[str] | None = None) -> Any:
    engine = LocalEngine(
        boxed.sandbox, boxed.folder / "egress", network="egress-list", egress=listed, service=("127.0.0.1", port)
    )
    await engine.start()
    bench = Bench(engine, boxed.environment, boxed.folder, boxed.sandbox, boxed.numbers)
    value = (await bench.call(bench.function(REACH, egress=own), {"code": textwrap.dedent(code), "port": port})).value
    await engine.stop()
    return value


async def test_with_a_list_the_service_is_reached_at_its_own_address_and_nothing_else(boxed: Bench, there: int) -> None:
    code = """
        result = [asked(f"http://127.0.0.1:{port}/me?a=b"), asked("http://192.0.2.1/"), asked("http://example.com/")]
        try: socket.create_connection(("192.0.2.1", 80), 2)
        except OSError as error: result.append(error.strerror)
        result.append([name for _, name in socket.if_nameindex()])
    """
    service, literal, name, direct, interfaces = await egress(boxed, code, there)
    assert service == [200, "GET /me?a=b HTTP/1.1"]
    assert literal == [403, "kvern: 192.0.2.1:80 is not on the list of what this function may reach\n"]
    assert name == [403, "kvern: example.com:80 is not on the list of what this function may reach\n"]
    assert (direct, interfaces) == ("Network is unreachable", ["lo"])


async def test_what_is_listed_is_reached_by_http_connect_and_socks(boxed: Bench, there: int) -> None:
    code = """
        def by(first, *rest): return joined([first, *rest, b"GET /x HTTP/1.0\\r\\n\\r\\n"])
        connect = f"CONNECT 127.0.0.2:{port} HTTP/1.1\\r\\n\\r\\n".encode()
        address = bytes([5, 1, 0, 1, 127, 0, 0, 1]) + port.to_bytes(2, "big")
        other = bytes([5, 1, 0, 1, 127, 0, 0, 9]) + port.to_bytes(2, "big")
        result = [joined([connect]), by(b"\\x05\\x01\\x00", address)[-1][-14:], joined([b"\\x05\\x01\\x00", other])[1][1],
            joined([b"nonsense\\r\\n\\r\\n"])[0][:12], asked(f"http://localhost.:{port}/")]
    """
    refused, reached, reply, nonsense, near = await egress(boxed, code, there, "127.0.0.1", "localhost")
    assert refused[0].startswith("HTTP/1.1 403")
    assert reached == "GET /x HTTP/1.0"[-14:]
    assert reply == "\x02"
    assert nonsense == "HTTP/1.1 400"
    assert near[0] in {200, 403}  # localhost leads to 127.0.0.1, which is listed, or on some machines to ::1 alone


async def test_a_function_can_only_narrow_what_the_service_allows(boxed: Bench, there: int) -> None:
    code = 'result = [joined([f"CONNECT {host}:9 HTTP/1.1\\r\\n\\r\\n".encode()])[0][9:12] for host in ("127.0.0.3", "127.0.0.4", "127.0.0.5")]'
    told = await egress(boxed, code, there, "127.0.0.3", "127.0.0.4:9", own=["127.0.0.4/31:9"])
    assert told == ["403", "502", "403"], "only the second is on both lists, and nothing listens there"


def test_no_boundary_can_keep_functions_off_the_network(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'plain' is no boundary"):
        LocalEngine(Plain(), tmp_path, network="none")


# A server that is killed


SERVER = """
import asyncio, sys
from pathlib import Path
from kvern.build.revision import *
from kvern.engine import *
from kvern.engine.local import LocalEngine
from kvern.sandbox.detect import choose

async def main(kind, folder, environment, code, word, loop):
    sandbox, _ = choose(kind)
    engine = LocalEngine(sandbox, Path(folder))
    await engine.start()
    prefix = Path(sys.base_prefix)
    made = Environment("k", Path(environment), Interpreter("py311", "3.11", prefix / "bin/python3", prefix), "")
    function = Revision("killed", 1, Path(code), "handler.py", made)
    order = Order(1, b'{"word": "%s"}' % word.encode(), 60, 1000, 1000, lambda l: print("begun", flush=True), lambda: None)
    await engine.run(function, order)

if sys.argv[-1] == "uvloop":
    import uvloop
    uvloop.run(main(*sys.argv[1:]))
else:
    asyncio.run(main(*sys.argv[1:]))
"""

LEAVER = """
    import os, subprocess, sys, time
    def handle(data):
        run = [sys.executable, "-c", "import time; time.sleep(300)", data["word"]]
        subprocess.Popen(run, start_new_session=True)
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0: os.execv(run[0], run)
            os._exit(0)
        print("begun"); sys.stdout.flush()
        time.sleep(60)
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_when_the_server_is_killed_all_in_the_boxes_dies(bench: Bench, tmp_path: Path, loop: str) -> None:
    word = f"word-{os.urandom(6).hex()}"
    function = bench.function(LEAVER)
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    arguments = [bench.sandbox.name, tmp_path / "other", bench.environment.path, function.code, word, loop]
    server = subprocess.Popen([sys.executable, script, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        assert await asyncio.to_thread(server.stdout.readline) == "begun\n"
        await until(lambda: len(processes_with(word)) >= 3)  # the server itself and two sleepers
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
        if server.stdout is not None:
            server.stdout.close()
    await until(lambda: processes_with(word) == [], 5)
    await until(lambda: processes_with(f"{MARK}={server.pid}-") == [], 5)
    engine = LocalEngine(bench.sandbox, tmp_path / "other")
    await engine.start()
    await engine.stop()
    assert not list((tmp_path / "other").iterdir())
    hierarchy = cgroups.find()
    for folder in hierarchy.folders.values() if hierarchy is not None else ():
        assert not list(folder.glob(f"kvern-{server.pid}-*"))


# Every Python that a function may ask for


@pytest.mark.parametrize("runtime", ["py310", "py311", "py312", "py313", "py314"])
async def test_the_runner_works_under_every_python(bench: Bench, runtime: str, tmp_path: Path) -> None:
    interpreter = INTERPRETERS.get(runtime)
    if interpreter is None:
        pytest.skip(f"this machine has no {runtime}")
    subprocess.run([interpreter.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    environment = Environment(runtime, tmp_path / "venv", interpreter, "")
    source = """
        import sys, logging
        async def handle(client_: Missing = 1, data: Missing = None, function_call_info=None) -> Missing:
            logging.info("well")
            if data.get("raise"): raise ValueError("no")
            return "py%d%d" % sys.version_info[:2]
    """
    function = bench.function(source, environment=environment)
    result = await bench.call(function)
    assert (result.value, result.lines) == (runtime, ["INFO:root:well"])
    assert (await bench.call(function, {"raise": 1})).outcome.message == "ValueError: no"
    crash = await bench.call(bench.function("import os\ndef handle(): os._exit(2)", environment=environment))
    assert crash.verdict is Verdict.CRASHED
