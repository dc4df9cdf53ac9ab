"""Bundles that run elsewhere, by the official SDK, by `python handler.py`, on another function service, run here."""

from __future__ import annotations

import io
import textwrap
import zipfile

import pytest

from tests.acceptance.api import Api

WORK = """
def work(x):
    return x + 1
"""

WAYS = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
{work}
def handle(data: Unknown):
    way = data["way"]
    if way == "file":
        return [__name__, __file__, handle.__code__.co_filename]
    context = multiprocessing.get_context(way)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return list(pool.map(work, [1, 2]))
"""

ENTRIES = [
    "handler.py",
    "src/handler.py",
    "my-handler.py",
    "my-fn/handler.py",
    "my.fn/v1.2.py",
    "test/handler.py",
    "platform.py",
    "json/handler.py",
]


def packed(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, textwrap.dedent(content))
    return buffer.getvalue()


def deployed(api: Api, files: dict[str, str], **fields: object) -> int:
    function = api.deployed(packed(files), **fields)
    assert function["status"] == "Ready", function["error"]
    return int(function["id"])


@pytest.mark.parametrize("entry", ENTRIES)
def test_functions_of_the_entry_file_run_in_other_processes(api: Api, entry: str) -> None:
    function_id = deployed(api, {entry: WAYS.format(work=WORK)}, functionPath=entry)
    name, file, code = api.response(api.call(function_id, {"way": "file"}))
    assert file == code
    assert file.endswith("/" + entry)
    assert name != "__main__"
    for way in ("spawn", "forkserver", "fork"):
        call = api.call(function_id, {"way": way})
        assert api.response(call) == [2, 3], (way, call, api.logs(call))
    api.delete(function_id)


@pytest.mark.parametrize("runtime", ["py310", "py312", "py313", "py314"])
def test_functions_run_in_other_processes_under_every_python(api: Api, runtime: str) -> None:
    if runtime not in api.get("/functions/limits").json()["runtimes"]:
        pytest.skip(f"{runtime} is not on this machine")
    files = {"my.fn/handler.py": WAYS.format(work="from .other import work"), "my.fn/other.py": WORK}
    function_id = deployed(api, files, functionPath="my.fn/handler.py", runtime=runtime)
    for way in ("spawn", "forkserver"):
        assert api.response(api.call(function_id, {"way": way})) == [2, 3]
    api.delete(function_id)


LAYOUTS = {
    "the package imports the handler": (
        "fn/handler.py",
        {"fn/__init__.py": "from .handler import handle", "fn/handler.py": "from . import other\ndef handle(): return other.N"},
    ),
    "the package adds to sys.path": (
        "fn/handler.py",
        {
            "fn/__init__.py": "import os, sys\nsys.path.append(os.path.dirname(__file__) + '/lib')",
            "fn/lib/other.py": "",
            "fn/handler.py": "import other\ndef handle(): return other.N",
        },
    ),
    "parents are attributes": (
        "a/b/handler.py",
        {"a/__init__.py": "", "a/b/__init__.py": "", "a/b/handler.py": "import a.b\nimport a.b.other\ndef handle(): return a.b.other.N"},
    ),
    "a module beside the handler": ("src/handler.py", {"src/handler.py": "import other\ndef handle(): return other.N"}),
    "relative, in a folder that is no name": ("my-fn/handler.py", {"my-fn/handler.py": "from .other import N\ndef handle(): return N"}),
    "relative, in a folder with a taken name": ("json/handler.py", {"json/handler.py": "from .other import N\ndef handle(): return N"}),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_modules_are_imported_as_python_would(api: Api, layout: str) -> None:
    entry, files = LAYOUTS[layout]
    folder = entry.rpartition("/")[0]
    files = {
        f"{folder}/other.py": "N = 7",
        **files,
        **{name: "N = 7" for name in files if name.endswith("lib/other.py")},
    }
    function_id = deployed(api, files, functionPath=entry)
    assert api.response(api.call(function_id)) == 7
    api.delete(function_id)


def test_every_module_knows_its_real_path(api: Api) -> None:
    files = {
        "handler.py": "import lib.curve\ndef handle(): return [lib.curve.f(), lib.curve.__file__, lib.curve.f.__code__.co_filename]",
        "lib/curve.py": "import inspect\nfrom pathlib import Path\ndef f():\n    return [(Path(f.__code__.co_filename).parent / 'data.csv').read_text(), inspect.getsource(f)[:7]]",
        "lib/data.csv": "1,2",
    }  # fmt: skip
    function_id = deployed(api, files)
    found, file, code = api.response(api.call(function_id))
    assert found == ["1,2", "def f()"]
    assert file == code
    api.delete(function_id)


def test_an_async_client_of_the_module_serves_the_second_call(api: Api) -> None:
    handler = """
        import asyncio
        lock, loops = asyncio.Queue(), []
        async def handle():
            loops.append(asyncio.get_running_loop())
            task = asyncio.create_task(lock.get())
            await asyncio.sleep(0)
            lock.put_nowait(len(loops))
            return [await asyncio.wait_for(task, 5), loops[0] is loops[-1]]
    """
    function_id = deployed(api, {"handler.py": handler})
    assert [api.response(api.call(function_id)) for _ in range(2)] == [[1, True], [2, True]]
    api.delete(function_id)


LEFT = """
import _thread, asyncio, os, queue, threading, time
from concurrent.futures import ThreadPoolExecutor
kept, work = [], queue.Queue()
def talk():
    while True:
        time.sleep(0.005)
        print("from before", flush=True)
def serve():
    while True:
        work.get()()
def handle(data):
    way = data["way"]
    if way == "daemon": threading.Thread(target=talk, daemon=True).start()
    if way == "raw": _thread.start_new_thread(talk, ())
    if way == "timer": threading.Timer(0.2, print, ["from before"]).start()
    if way == "loop": threading.Thread(target=asyncio.new_event_loop().run_forever, daemon=True).start()
    if way == "pool":
        kept.append(ThreadPoolExecutor(2))
        list(kept[-1].map(abs, [1]))
    if way == "queue":
        threading.Thread(target=serve, daemon=True).start()
        time.sleep(0.02)
    return os.getpid()
"""

TIMERS = """
import ctypes, faulthandler, os, signal, time
def handle(data):
    way = data["way"]
    for number in (signal.SIGVTALRM, signal.SIGPROF, signal.SIGUSR1):
        if way: signal.signal(number, lambda *_: print("from before", flush=True))
    if way == "virtual": signal.setitimer(signal.ITIMER_VIRTUAL, 0.02, 0.02)
    if way == "prof": signal.setitimer(signal.ITIMER_PROF, 0.02, 0.02)
    if way == "traceback": faulthandler.dump_traceback_later(0.05, repeat=True, file=2)
    if way == "posix":
        event = (ctypes.c_int * 16)(0, 0, signal.SIGUSR1)
        number, libc = ctypes.c_void_p(), ctypes.CDLL(None)
        assert libc.timer_create(1, event, ctypes.byref(number)) == 0
        libc.timer_settime(number, 0, (ctypes.c_long * 4)(0, 20_000_000, 0, 20_000_000), None)
    end = time.monotonic() + 0.15
    while not way and time.monotonic() < end:
        pass
    return os.getpid()
"""


@pytest.mark.parametrize(
    ("way", "stays"),
    [("daemon", False), ("raw", False), ("timer", False), ("loop", False), ("pool", True), ("queue", True)],
)
def test_a_worker_in_which_a_call_left_something_is_not_used_again(api: Api, way: str, stays: bool) -> None:
    function_id = deployed(api, {"handler.py": LEFT})
    first = api.response(api.call(function_id, {"way": way}))
    second = api.call(function_id, {"way": ""})
    assert (api.response(second) == first) is stays
    assert api.logs(second) == []
    api.delete(function_id)


PROXY = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("variables", "code", "expected"),
    [
        ({"PYTHONPATH": "lib"}, "import extra; found = extra.x", 7),
        ({"PYTHONPATH": "/nowhere:lib"}, "import sys; found = '/nowhere' in sys.path", True),
        ({"PYTHONWARNINGS": "error"}, "found = tried(UserWarning)", "raised"),
        ({"PYTHONWARNINGS": "ignore,error::DeprecationWarning"}, "found = tried(DeprecationWarning)", "raised"),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "a.example"}, "import os; found = os.environ['no_proxy'][:9]", "a.example"),
        ({"http_proxy": PROXY, "all_proxy": PROXY}, "found = 1", 1),
    ],
)
def test_variables_act_as_in_a_process_started_with_them(
    api: Api, variables: dict[str, str], code: str, expected: object
) -> None:
    source = """
        import warnings
        def tried(kind):
            try:
                warnings.warn("old", kind)
            except kind:
                return "raised"
        def handle(data, client):
            client.iam.token.inspect()
            scope = {"tried": tried}
            exec(data["code"], scope)
            return scope["found"]
    """
    function_id = deployed(api, {"handler.py": source, "lib/extra.py": "x = 7"}, envVars=variables)
    for _ in range(2):
        call = api.call(function_id, {"code": code})
        assert api.response(call) == expected, (call, api.logs(call))


@pytest.mark.parametrize(("way", "stays"), [("virtual", True), ("prof", True), ("traceback", True), ("posix", False)])
def test_no_timer_of_a_call_runs_out_in_the_next(api: Api, way: str, stays: bool) -> None:
    function_id = deployed(api, {"handler.py": TIMERS})
    first = api.response(api.call(function_id, {"way": way}))
    second = api.call(function_id, {"way": ""})
    assert (api.response(second) == first) is stays
    assert api.logs(second) == []


FILES = {
    "config.json": '{"n": 1}',
    "models/deep/model.bin": "weights",
    "large.csv": "x" * 400_000,
    "src/handler.py": """
        import os, pathlib
        def handle(data):
            exec(data["code"])
            return [
                open("config.json").read(), pathlib.Path("models/deep/model.bin").read_text(), len(open("large.csv").read()),
                sorted(os.listdir(".")),
            ]
    """,
}
PLAIN = ['{"n": 1}', "weights", 400_000, ["config.json", "large.csv", "models", "src"]]


def test_files_of_the_bundle_open_by_relative_path_and_what_is_written_does_not_stay(api: Api) -> None:
    function_id = deployed(api, FILES, functionPath="src/handler.py")
    writes = [
        ("pathlib.Path('out.csv').write_text('1')", lambda found: "out.csv" in found[3]),
        ("pathlib.Path('config.json').write_text('2')", lambda found: found[0] == "2"),
        ("pathlib.Path('models/deep/model.bin').write_text('3')", lambda found: found[1] == "3"),
        ("os.makedirs('a/b'); pathlib.Path('a/b/c').write_text('4')", lambda found: "a" in found[3]),
        ("os.unlink('large.csv'); pathlib.Path('large.csv').write_text('5')", lambda found: found[2] == 1),
        ("os.rename('src', 'other')", lambda found: "other" in found[3]),
        ("import shutil; shutil.rmtree(os.getcwd()); raise SystemExit", None),
    ]  # fmt: skip
    for code, holds in writes:
        call = api.call(function_id, {"code": code})
        assert holds is None or call["status"] == "Completed", (code, api.logs(call))
        assert holds is None or holds(api.response(call)), (code, call)
        assert api.response(api.call(function_id, {"code": ""})) == PLAIN, code
    api.delete(function_id)
