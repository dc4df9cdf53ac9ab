"""The whole Functions surface, driven by an official SDK as a user would; the same for every version of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.driver import Driver

WAIT = """
import time
def wait(function):
    while function.status not in ("Ready", "Failed"):
        time.sleep(0.02)
        function.update()
    return function
"""


ECHO = (
    WAIT
    + """
def handle(data):
    print("given", data)
    return data

function = wait(client.functions.create(name="echo", external_id="echo", function_handle=handle, metadata={"team": "a"}))
assert function.status == "Ready", function.error
"""
)

TICKER = """
def handle(data, function_call_info):
    return [data, function_call_info]

function = client.functions.create(name="ticker", external_id=NAME, function_handle=handle)
client.functions.schedules.create(name="every minute", cron_expression="* * * * *", function_id=function.id, data={"tick": True})
"""
"""Does not wait for the function to be Ready: what is scheduled must not depend on it."""


class Scenarios:
    """What a user does with the SDK; a class for each version says which one.

    `sdk` is a `Driver` of that version, and `ticker` the external id of a function with a schedule that it made when
    the first scenario began.
    """

    client: str

    @pytest.fixture(scope="class")
    @classmethod
    def ticker(cls, tickers: dict[str, str]) -> str:
        return tickers[cls.client]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def echo(cls, ticker: str, sdk: Driver) -> Iterator[None]:
        sdk.run(ECHO)
        yield
        sdk.run('client.functions.delete(external_id="echo")')

    def test_the_service_is_active_and_tells_its_limits(self, sdk: Driver) -> None:
        result = sdk.run(
            """
        limits = client.functions.limits()
        result = [client.functions.status().status, client.functions.activate().status, limits.timeout_minutes,
                  limits.runtimes, limits.response_size_mb, sorted(limits.cpu_cores)]
        """
        )
        assert result[:3] == ["activated", "activated", 10]
        assert result[3]
        assert set(result[3]) <= {"py310", "py311", "py312", "py313", "py314"}
        assert result[4:] == [1, ["default", "max", "min"]]

    def test_a_handle_in_a_script_is_deployed_called_and_answers(self, sdk: Driver) -> None:
        result = sdk.run(
            """
        call = client.functions.call(external_id="echo", data={"a": [1, None, "æ"]})
        logs = call.get_logs()
        result = [call.status, call.get_response(), logs.to_text(), call.end_time >= call.start_time]
        """
        )
        assert result == ["Completed", {"a": [1, None, "æ"]}, "given {'a': [1, None, 'æ']}", True]

    def test_a_folder_with_requirements_is_deployed(
        self, sdk: Driver, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        folder = tmp_path_factory.mktemp("folder")
        (folder / "requirements.txt").write_text("inflection==0.5.1\n")
        (folder / "words.py").write_text(
            "import inflection\n\ndef many(word):\n    return inflection.pluralize(word)\n"
        )
        (folder / "handler.py").write_text(
            "from words import many\n\ndef handle(data):\n    return many(data['word'])\n"
        )
        result = sdk.run(
            WAIT
            + f"""
function = wait(client.functions.create(name="words", folder={str(folder)!r}, skip_folder_validation=True))
result = [function.status, function.error, function.runtime_version, function.call({{"word": "mill"}}).get_response()]
client.functions.delete(id=function.id)
"""
        )
        assert result[:2] == ["Ready", None]
        assert result[2].startswith("Python 3.")
        assert result[3] == "mills"

    def test_a_zip_is_deployed_by_file_id_and_works_without_its_file(self, sdk: Driver) -> None:
        result = sdk.run(
            WAIT
            + """
import io, zipfile
buffer = io.BytesIO()
with zipfile.ZipFile(buffer, "w") as archive:
    archive.writestr("src/handler.py", "def handle(secrets, function_call_info): return [secrets, function_call_info]")
file = client.files.upload_bytes(buffer.getvalue(), name="b.zip", external_id="b", mime_type="application/zip")
function = wait(client.functions.create(
    name="by file", file_id=file.id, function_path="./src/handler.py", secrets={"api-key": "s3cret"}, env_vars={"A": "1"},
    description="d", owner="o", cpu=0.5, memory=0.5,
))
client.files.delete(id=file.id)
answer = function.call().get_response()
shown = client.functions.retrieve(id=function.id)
result = [function.status, answer[0], sorted(answer[1]), shown.function_path, shown.secrets, shown.env_vars,
          shown.description, shown.owner, shown.cpu, shown.memory, answer[1]["function_id"] == function.id]
client.functions.delete(id=function.id)
"""
        )
        assert result == [
            "Ready", {"api-key": "s3cret"}, ["call_id", "function_id"], "./src/handler.py", {"api-key": "***"}, {"A": "1"},
            "d", "o", 0.5, 0.5, True,
        ]  # fmt: skip

    def test_functions_are_found_listed_and_deleted(self, sdk: Driver) -> None:
        result = sdk.run(
            """
        from cognite.client.exceptions import CogniteAPIError, CogniteNotFoundError
        found = client.functions.retrieve(external_id="echo")
        listed = client.functions.list(limit=None)
        by_prefix = client.functions.list(external_id_prefix="ec", metadata={"team": "a"}, status="Ready")
        nothing = client.functions.list(name="nobody")
        unknown = client.functions.retrieve(id=9007199254740991)
        some = client.functions.retrieve_multiple(external_ids=["echo", "nobody"], ignore_unknown_ids=True)
        try:
            client.functions.retrieve_multiple(external_ids=["echo", "nobody"])
        except CogniteNotFoundError as error:
            missing = error.not_found
        try:
            client.functions.create(name="x", file_id=found.file_id, external_id="echo")
        except CogniteAPIError as error:
            taken = [error.code, error.duplicated]
        iterated = [f.external_id for f in client.functions()]
        result = [found.name, "echo" in [one.external_id for one in listed], by_prefix.as_external_ids(), len(nothing), unknown,
                  [f.external_id for f in some], missing[0]["externalId"], taken, "echo" in iterated]
        """
        )
        assert result == ["echo", True, ["echo"], 0, None, ["echo"], "nobody", [409, [{"externalId": "echo"}]], True]

    def test_calls_are_listed_filtered_and_retrieved(self, sdk: Driver) -> None:
        result = sdk.run(
            """
        import time
        function = client.functions.retrieve(external_id="echo")
        before = int(time.time() * 1000) - 1
        made = [function.call({"i": i}) for i in range(5)]
        newest = function.list_calls(limit=2)
        since = client.functions.calls.list(function_external_id="echo", status="Completed", start_time={"min": before}, limit=None)
        failed = client.functions.calls.list(function_id=function.id, status="Failed")
        one = client.functions.calls.retrieve(call_id=made[0].id, function_id=function.id)
        unknown = client.functions.calls.retrieve(call_id=9007199254740991, function_id=function.id)
        response = client.functions.calls.get_response(call_id=made[1].id, function_external_id="echo")
        logs = client.functions.calls.get_logs(call_id=made[1].id, function_id=function.id)
        result = [[c.id for c in newest] == [made[4].id, made[3].id], len(since), len(failed), one.status, unknown, response,
                  [entry.message for entry in logs], function.retrieve_call(made[2].id).status]
        """
        )
        assert result == [True, 5, 0, "Completed", None, {"i": 1}, ["given {'i': 1}"], "Completed"]

    def test_a_call_that_is_not_waited_for_is_running_and_then_updates(self, sdk: Driver) -> None:
        result = sdk.run(
            WAIT
            + """
def handle(data):
    import time
    time.sleep(data["seconds"])
    print("done", flush=True)
    return "slept"

function = wait(client.functions.create(name="sleeper", function_handle=handle, skip_folder_validation=True))
call = function.call({"seconds": 0.6}, wait=False)
first, early = call.status, call.get_response()
call.wait()
call.update()
result = [first, early, call.status, call.get_response(), call.get_logs().to_text()]
client.functions.delete(id=function.id)
"""
        )
        assert result == ["Running", None, "Completed", "slept", "done"]

    def test_a_handler_that_raises_fails_with_its_traceback(self, sdk: Driver) -> None:
        result = sdk.run(
            WAIT
            + """
def handle(data):
    print("before")
    return 1 / data["zero"]

function = wait(client.functions.create(name="raises", function_handle=handle))
call = function.call({"zero": 0})
result = [call.status, call.error, call.get_response(), [e.message for e in call.get_logs()]]
client.functions.delete(id=function.id)
"""
        )
        status, error, response, lines = result
        assert [status, error["message"], response] == ["Failed", "ZeroDivisionError: division by zero", None]
        assert error["trace"].startswith("Traceback (most recent call last):")
        assert 'data["zero"]' in error["trace"]
        assert "runner" not in error["trace"]
        assert lines[0] == "before"
        assert lines[-1] == "ZeroDivisionError: division by zero"

    def test_schedules_are_made_found_and_deleted_with_their_data(self, sdk: Driver) -> None:
        result = sdk.run(
            """
        function = client.functions.retrieve(external_id="echo")
        made = client.functions.schedules.create(
            name="daily", cron_expression="0 8 * * *", function_id=function.id, data={"a": {"B_c": 1}}, description="d")
        listed = client.functions.schedules.list(function_id=function.id)
        one = client.functions.schedules.retrieve(id=made.id)
        data = client.functions.schedules.get_input_data(id=made.id)
        of_function = function.list_schedules()
        assert one.get_input_data() == data
        iterated = [s.id for s in client.functions.schedules()]
        session = client.iam.sessions.retrieve(made.session_id)
        client.functions.schedules.delete(id=made.id)
        ended = client.iam.sessions.retrieve(made.session_id)
        result = [made.when, made.cron_expression, made.description, len(listed), one.name, data, len(of_function),
                  made.id in iterated, client.functions.schedules.retrieve(id=made.id), session.status, ended.status]
        """
        )
        assert result == [
            "At 08:00",
            "0 8 * * *",
            "d",
            1,
            "daily",
            {"a": {"B_c": 1}},
            1,
            True,
            None,
            "ACTIVE",
            "CANCELLED",
        ]

    def test_sessions_are_made_listed_and_revoked(self, sdk: Driver) -> None:
        result = sdk.run(
            """
        function = client.functions.retrieve(external_id="echo")
        used, unused = client.iam.sessions.create(), client.iam.sessions.create()
        call = client.functions.call(id=function.id, data={"by": "nonce"}, nonce=used.nonce)
        ready = client.iam.sessions.list(status="READY", limit=None)
        revoked = client.iam.sessions.revoke(unused.id)
        seen = client.iam.sessions.retrieve(unused.id)
        result = [unused.status, call.get_response(), used.id in [s.id for s in ready], unused.id in [s.id for s in ready],
                  revoked.id == unused.id, seen.status, seen.type]
        """
        )
        assert result == ["READY", {"by": "nonce"}, False, True, True, "REVOKED", "CLIENT_CREDENTIALS"]

    def test_a_schedule_runs_with_the_credentials_that_it_is_given(self, sdk: Driver) -> None:
        result = sdk.run(
            """
        import os
        from cognite.client.data_classes import ClientCredentials
        function = client.functions.retrieve(external_id="echo")
        given = ClientCredentials(os.environ["IDP_CLIENT_ID"], os.environ["IDP_CLIENT_SECRET"])
        made = client.functions.schedules.create(
            name="weekly", cron_expression="0 8 * * 1", function_external_id="echo", client_credentials=given)
        session = client.iam.sessions.retrieve(made.session_id)
        client.functions.schedules.delete(id=made.id)
        result = [made.function_id == function.id, made.when, session.status, session.client_id == given.client_id]
        """
        )
        assert result == [True, "At 08:00, only on Monday", "ACTIVE", True]

    def test_files_go_up_and_come_down(self, sdk: Driver) -> None:
        result = sdk.run(
            """
        made = client.files.upload_bytes(b"\\x00mill", name="a/b.bin", external_id="bin", metadata={"Key_x": "v"}, directory="/d")
        again = client.files.upload_bytes(b"new", name="a/b.bin", external_id="bin", overwrite=True)
        down = client.files.download_bytes(external_id="bin")
        listed = client.files.list(name="a/b.bin")
        found = client.files.retrieve(external_id="bin")
        client.files.delete(external_id="bin")
        result = [made.id == again.id, down.decode(), len(listed), found.metadata, found.uploaded,
                  client.files.retrieve(external_id="bin")]
        """
        )
        assert result == [True, "new", 1, {"Key_x": "v"}, True, None]

    def test_who_one_is_can_be_inspected(self, sdk: Driver) -> None:
        result = sdk.run(
            """
        seen = client.iam.token.inspect()
        result = [seen.subject, seen.projects[0].url_name, len(seen.capabilities) > 3]
        """
        )
        assert result[0].startswith("kvern-")
        assert result[1:] == ["kvern", True]

    def test_a_schedule_fires_an_ordinary_call(self, sdk: Driver, ticker: str) -> None:
        """It was made before the other tests ran, so that most of its minute has passed by now."""
        result = sdk.run(
            f"name = {ticker!r}"
            + """
import time
function = client.functions.retrieve(external_id=name)
schedule = function.list_schedules()[0]
deadline = time.time() + 75
calls = []
while not calls and time.time() < deadline:
    time.sleep(0.1)
    calls = [c for c in client.functions.calls.list(function_id=function.id, schedule_id=schedule.id) if c.end_time]
call = calls[-1]
answer = call.get_response()
client.functions.delete(id=function.id)
result = [call.status, call.scheduled_time % 60000, call.start_time - call.scheduled_time < 5000, answer[0],
          answer[1]["schedule_id"] == schedule.id, answer[1]["scheduled_time"] == call.scheduled_time,
          client.functions.schedules.retrieve(id=schedule.id)]

"""
        )
        assert result == ["Completed", 0, True, {"tick": True}, True, True, None]
