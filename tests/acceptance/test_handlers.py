"""What `handle` may look like, what it is given, and where its output goes (contract 11.3)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import pytest

from tests.acceptance.api import Api, bundle


@pytest.fixture(scope="module")
def probe(api: Api) -> Iterator[int]:
    """A function that runs the code it is given, so that many tests share one deployment."""
    handler = """
        def handle(data, client=None, secrets=None, function_call_info=None):
            scope = {"client": client, "secrets": secrets, "info": function_call_info, "result": None}
            exec(compile(data["code"], "<given>", "exec"), scope)
            return scope["result"]
    """
    function_id = api.ready(handler, secrets={"password": "hunter2"}, envVars={"PLANT": "7"}, memory=0.3)
    yield function_id
    api.delete(function_id)


def run(api: Api, probe: int, code: str) -> object:
    call = api.call(probe, {"code": textwrap.dedent(code)})
    assert call["status"] == "Completed", call
    return api.response(call)


@pytest.mark.parametrize(
    "handler",
    [
        "def handle(data): return data['x'] + 1",
        "def handle(*, data=None, **rest): return data['x'] + 1",
        "async def handle(data):\n    import asyncio\n    await asyncio.sleep(0)\n    return data['x'] + 1",
        "class App:\n    __name__ = 'handle'\n    def __call__(self, *, data, client=None): return data['x'] + 1\nhandle = App()",
        "from functools import partial\ndef work(step, data): return data['x'] + step\nhandle = partial(work, 1)",
        "handle = lambda data: data['x'] + 1",
        "def handle(data: Frame, client: CogniteClient = None) -> Result: return data['x'] + 1",
    ],
    ids=["plain", "rest", "async", "object", "partial", "lambda", "unknown annotations"],
)
def test_handle_may_be_any_callable(api: Api, handler: str) -> None:
    function_id = api.ready(handler)
    assert api.response(api.call(function_id, {"x": 41})) == 42
    api.delete(function_id)


def test_modules_of_the_bundle_are_imported_from_its_root(api: Api) -> None:
    content = bundle(
        lib____init__="",
        lib__core="def f(): return 'core'",
        test__handler="from lib.core import f\ndef handle(): return f()",
    )
    function = api.deployed(content, functionPath="./test/handler.py")
    assert function["status"] == "Ready", function
    assert function["functionPath"] == "./test/handler.py"
    assert api.response(api.call(function["id"])) == "core"
    api.delete(function["id"])


@pytest.mark.parametrize("runtime", ["py310", "py311", "py312", "py313", "py314"])
def test_every_runtime_that_the_machine_has_runs(api: Api, runtime: str) -> None:
    there = api.get("/functions/limits").json()["runtimes"]
    handler = "import sys\ndef handle(): return list(sys.version_info[:2])"
    file_id = api.upload(bundle(handler=handler))
    if runtime not in there:
        answer = api.post("/functions", {"items": [{"name": "x", "fileId": file_id, "runtime": runtime}]})
        assert answer.status_code == 400
        assert there[0] in answer.json()["error"]["message"]
        return
    function = api.deployed(bundle(handler=handler), runtime=runtime)
    assert function["runtimeVersion"].startswith(f"Python 3.{runtime[3:]}")
    assert api.response(api.call(function["id"])) == [3, int(runtime[3:])]
    api.delete(function["id"])


@pytest.mark.parametrize(
    "data", [{}, {"a": None}, [1, 2.5, "æ\u2028"], "text", 0, True, {"deep": [[[{"Snake_Key": 1}]]]}]
)
def test_data_arrives_as_it_was_sent(api: Api, probe: int, data: object) -> None:
    function_id = api.ready("def handle(data): return [data]")
    assert api.response(api.call(function_id, data)) == [data]
    api.delete(function_id)


def test_no_data_is_an_empty_object_and_none_is_null(api: Api) -> None:
    function_id = api.ready("def handle(data): return None if data == {} else data")
    call = api.call(function_id)
    answer = api.get(f"/functions/{function_id}/calls/{call['id']}/response").json()
    assert answer == {"functionId": function_id, "callId": call["id"], "response": None}
    api.delete(function_id)


def test_secrets_and_environment_variables_reach_the_handler_and_nobody_else(api: Api, probe: int) -> None:
    code = "import os; result = [secrets, os.environ['PLANT'], 'hunter2' in str(os.environ), 'hunter2' in open('/proc/self/cmdline').read()]"
    assert run(api, probe, code) == [{"password": "hunter2"}, "7", False, False]


def test_the_client_acts_for_the_session_of_the_call(api: Api, probe: int) -> None:
    who = run(api, probe, "result = client.iam.token.inspect().subject")
    assert who == api.env["IDP_CLIENT_ID"]


def test_a_handler_calls_another_function_through_its_client(api: Api, probe: int) -> None:
    other = api.ready("def handle(data): return {'twice': 2 * data['n']}", externalId="twice")
    code = "result = client.functions.call(external_id='twice', data={'n': 21}).get_response()"
    assert run(api, probe, code) == {"twice": 42}
    api.delete(other)


def test_the_token_of_a_call_is_dead_when_the_call_has_ended(api: Api, probe: int) -> None:
    header = run(api, probe, "result = client.config.credentials.authorization_header()[1]")
    answer = api.http.get(f"{api.base}/functions", headers={"authorization": str(header)})
    assert answer.status_code == 401


def test_function_call_info_tells_who_is_called(api: Api, probe: int) -> None:
    call = api.call(probe, {"code": "result = info"})
    assert api.response(call) == {"function_id": probe, "call_id": call["id"]}


def test_all_output_becomes_log_lines_in_order(api: Api, probe: int) -> None:
    code = """
        import ctypes, logging, os, subprocess, sys, warnings
        print("out")
        print("err", file=sys.stderr)
        logging.getLogger("mill").warning("logged")
        warnings.warn("warned", stacklevel=1)
        os.write(1, b"raw\\n")
        libc = ctypes.CDLL(None)
        libc.puts(b"from C")
        libc.fflush(None)
        subprocess.run(["/bin/echo", "from a child"])
        print("a\\nb\\r\\nc")
        print("no newline", end="")
    """
    call = api.call(probe, {"code": textwrap.dedent(code)})
    lines = api.logs(call)
    assert [line for line in lines if line in ("out", "err", "raw", "from C", "from a child", "a", "b", "c", "no newline")] == [
        "out", "err", "raw", "from C", "from a child", "a", "b", "c", "no newline",
    ]  # fmt: skip
    assert any("logged" in line for line in lines)
    assert any("warned" in line for line in lines)
    entries = api.get(f"/functions/{probe}/calls/{call['id']}/logs").json()["items"]
    assert all(call["startTime"] <= entry["timestamp"] <= call["endTime"] for entry in entries)


def test_the_log_of_a_running_call_can_be_followed(api: Api, probe: int) -> None:
    code = "import time\nprint('one', flush=True)\ntime.sleep(1.0)\nprint('two')"
    body = {"data": {"code": code}}
    call = api.post(f"/functions/{probe}/call", body).json()
    assert call["status"] == "Running"
    path = f"/functions/{probe}/calls/{call['id']}/logs"
    first = api.get(path, params={"after": 0}, headers={"prefer": "wait=10"})
    assert [entry["message"] for entry in first.json()["items"]] == ["one"]
    assert first.headers["preference-applied"] == "wait=10"
    second = api.get(path, params={"after": 1}, headers={"prefer": "wait=10"})
    assert [entry["message"] for entry in second.json()["items"]] == ["two"]
    api.ended(call)
    assert api.logs(call) == ["one", "two"]
    third = api.get(path, params={"after": 1})
    assert [entry["message"] for entry in third.json()["items"]] == ["two"]


def test_a_worker_stays_warm_and_keeps_what_modules_keep(api: Api) -> None:
    function_id = api.ready("seen = []\ndef handle(data):\n    seen.append(1)\n    return len(seen)")
    assert [api.response(api.call(function_id)) for _ in range(3)] == [1, 2, 3]
    api.delete(function_id)


class TestWhatAFunctionCannotSee:
    """The walls; they stand wherever the machine allows a sandbox."""

    def test_the_data_folder(self, api: Api, probe: int, server: object) -> None:
        data = str(getattr(server, "data"))  # noqa: B009
        code = f"""
            import os
            result = [os.path.exists({data!r}), os.path.exists({data + "/kvern.db"!r})]
        """
        assert run(api, probe, code) == [False, False]

    def test_the_server_and_its_environment(self, api: Api, probe: int) -> None:
        code = """
            import os
            pids = [p for p in os.listdir("/proc") if p.isdigit()]
            words = b" ".join(open(f"/proc/{p}/cmdline", "rb").read() for p in pids)
            result = [len(pids) < 10, b"kvern serve" in words, "SERVER_ONLY" in os.environ, "PYTEST_CURRENT_TEST" in os.environ]
        """
        assert run(api, probe, code) == [True, False, False, False]

    def test_anything_to_write_but_a_private_tmp(self, api: Api, probe: int) -> None:
        code = """
            import os, tempfile
            refused = []
            for folder in ["/", "/usr", "/etc", os.path.dirname(os.__file__), os.path.dirname(os.path.abspath(__import__("handler").__file__))]:
                try:
                    open(folder + "/kvern-was-here", "w")
                except OSError:
                    refused.append(folder)
            with tempfile.NamedTemporaryFile("w") as file:
                file.write("x")
            result = [len(refused), os.getuid() != 0]
        """
        assert run(api, probe, code) == [5, True]

    def test_what_another_function_left_in_tmp(self, api: Api, probe: int) -> None:
        run(api, probe, "open('/tmp/mine', 'w').write('x')")
        other = api.ready("import os\ndef handle(): return os.path.exists('/tmp/mine')")
        assert api.response(api.call(other)) is False
        api.delete(other)
