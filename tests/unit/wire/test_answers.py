"""What is answered: camelCase, absent keys in place of null, user data untouched, and the error envelope."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from kvern.wire import base, calls, errors, files, functions, schedules, sessions


def written(answer: Any) -> Any:
    return json.loads(base.encode(answer))


def test_a_function_with_the_least_and_with_everything() -> None:
    least = functions.Function(
        id=1,
        created_time=2,
        name="f",
        status="Queued",
        file_id=3,
        function_path="handler.py",
        cpu=1.0,
        memory=1.5,
        runtime="py313",
    )
    assert written(least) == {
        "id": 1,
        "createdTime": 2,
        "name": "f",
        "status": "Queued",
        "fileId": 3,
        "functionPath": "handler.py",
        "cpu": 1.0,
        "memory": 1.5,
        "runtime": "py313",
    }
    whole = msgspec.structs.replace(
        least,
        status="Failed",
        external_id="X_y",
        owner="me",
        description="d",
        metadata={"Some_Key": "v", "some key": ""},
        secrets={"a-b": "***"},
        env_vars={"A_B": "1"},
        runtime_version="Python 3.13.1",
        error=functions.FunctionError(message="", trace=""),
        last_called=0,
    )
    more = written(whole)
    assert more["error"] == {"message": "", "trace": ""}  # both always, as strings (contract 3.1)
    assert more["lastCalled"] == 0
    assert more["metadata"] == {"Some_Key": "v", "some key": ""}
    assert (more["envVars"], more["secrets"], more["runtimeVersion"]) == ({"A_B": "1"}, {"a-b": "***"}, "Python 3.13.1")


def test_a_call_while_it_runs_and_after() -> None:
    running = calls.Call(id=1, function_id=2, status="Running", start_time=3)
    assert written(running) == {"id": 1, "functionId": 2, "status": "Running", "startTime": 3}
    failed = calls.Call(
        id=1,
        function_id=2,
        status="Failed",
        start_time=3,
        end_time=3,
        schedule_id=4,
        scheduled_time=0,
        error=calls.CallError(message="m", trace=""),
    )
    assert written(failed) == {
        **written(running),
        "status": "Failed",
        "endTime": 3,
        "scheduleId": 4,
        "scheduledTime": 0,
        "error": {"message": "m", "trace": ""},
    }
    assert written(calls.Call(id=1, function_id=2, status="Failed", start_time=3, error="m"))["error"] == "m"


@pytest.mark.parametrize("response", [b"null", b"0", b'""', b'{"A_b": 1.50, "a": null}', b"[]"])
def test_a_response_is_absent_or_any_json_to_the_letter(response: bytes) -> None:
    assert written(calls.CallResponse(function_id=1, call_id=2)) == {"functionId": 1, "callId": 2}
    answer = calls.CallResponse(function_id=1, call_id=2, response=msgspec.Raw(response))
    assert base.encode(answer) == b'{"functionId":1,"callId":2,"response":' + response + b"}"


def test_a_log_entry_has_both_its_keys() -> None:
    assert written(calls.LogEntry(timestamp=0, message="")) == {"timestamp": 0, "message": ""}


def test_a_schedule_shows_neither_data_nor_nonce() -> None:
    shown = schedules.Schedule(
        id=1, name="s", created_time=2, cron_expression="* * * * *", when="Every minute", function_id=3, session_id=4
    )
    assert set(written(shown)) == {"id", "name", "createdTime", "cronExpression", "when", "functionId", "sessionId"}
    assert isinstance(written(shown)["sessionId"], int)


def test_input_data_is_absent_or_to_the_letter() -> None:
    assert written(schedules.InputData(id=1)) == {"id": 1}
    assert base.encode(schedules.InputData(id=1, data=msgspec.Raw(b'{"B": 1.0}'))) == b'{"id":1,"data":{"B": 1.0}}'


def test_a_new_session_shows_its_nonce_a_listed_one_does_not() -> None:
    made = sessions.CreatedSession(id=1, type="TOKEN_EXCHANGE", status="READY", nonce="n")
    assert written(made) == {"id": 1, "type": "TOKEN_EXCHANGE", "status": "READY", "nonce": "n"}
    assert "nonce" not in {field.name for field in msgspec.structs.fields(sessions.Session)}


def test_a_file_that_was_not_uploaded_says_so() -> None:
    assert written(files.File(id=1, name="a", uploaded=False, created_time=2, last_updated_time=3)) == {
        "id": 1,
        "name": "a",
        "uploaded": False,
        "createdTime": 2,
        "lastUpdatedTime": 3,
    }


def test_lists_name_the_next_page_only_when_there_is_one() -> None:
    assert written(base.list_body([])) == {"items": []}
    assert written(base.list_body([1], "c")) == {"items": [1], "nextCursor": "c"}
    assert written(base.Empty()) == {}


def test_an_unknown_function_is_named_in_both_spellings() -> None:
    assert functions.missing_function(base.ByIdOrExternalId(id=1)) == {"id": 1}
    assert functions.missing_function(base.ByIdOrExternalId(external_id="x")) == {"externalId": "x", "external_id": "x"}


# Errors


ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ApiError)]


@pytest.mark.parametrize("kind", ERRORS)
def test_an_envelope_holds_the_key_error_alone(kind: type[errors.ApiError]) -> None:
    envelope = json.loads(kind("what was wrong").envelope())
    assert envelope == {"error": {"code": kind.code, "message": "what was wrong"}}
    assert 400 <= kind.code < 600
    assert kind.__doc__


def test_an_envelope_names_what_is_missing_or_taken() -> None:
    missing = errors.UnknownItemsError("no", missing=[{"id": 7}, {"externalId": "x"}])
    assert json.loads(missing.envelope())["error"]["missing"] == [{"id": 7}, {"externalId": "x"}]
    taken = errors.TakenError("no", duplicated=[{"externalId": "x"}])
    assert json.loads(taken.envelope())["error"]["duplicated"] == [{"externalId": "x"}]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.InvalidError, 400),
        (errors.UnknownItemsError, 400),
        (errors.UnauthenticatedError, 401),
        (errors.ForbiddenError, 403),
        (errors.NotFoundError, 404),
        (errors.TakenError, 409),
        (errors.TooLargeError, 413),
        (errors.MediaTypeError, 415),
        (errors.BusyError, 429),
        (errors.FaultError, 500),
    ],
)
def test_the_codes_are_those_of_the_contract(kind: type[errors.ApiError], code: int) -> None:
    assert kind.code == code
