"""What the data classes do beyond, or better than, the official SDK's; the rest is in tests/parity."""

from __future__ import annotations

import copy
import sys
from typing import Any

import pytest

from kvern.client import AsyncCogniteClient, CogniteClient
from kvern.client.data_classes import TimestampRange
from kvern.client.data_classes.capabilities import Capability, FunctionsAcl, ProjectCapabilityList, UnknownAcl
from kvern.client.data_classes.files import FileMetadata
from kvern.client.data_classes.functions import (
    Function,
    FunctionCall,
    FunctionCallLog,
    FunctionFilter,
    FunctionList,
    FunctionSchedulesList,
    FunctionsStatus,
    FunctionWrite,
)
from kvern.client.exceptions import CogniteAPIError, CogniteImportError, CogniteMissingClientError, CogniteNotFoundError
from tests.unit.client.stub import Stub

SAMPLE: dict[str, Any] = {"id": 1, "createdTime": 1700000000000, "name": "<b>", "status": "Ready", "fileId": 2}


def test_a_short_form_says_which_one_it_is() -> None:
    assert (
        repr(Function.load({**SAMPLE, "externalId": "x"}))
        == "<Function id=1, external_id='x', name='<b>', status='Ready'>"
    )
    assert repr(FunctionList.load([SAMPLE])) == "[<Function id=1, name='<b>', status='Ready'>]"
    assert repr(FunctionCallLog.load([{"message": "m"}])) == "[<FunctionCallLogEntry>]"


def test_a_printed_object_hides_secrets() -> None:
    made = FunctionWrite(
        "n", 1, secrets={"key": "plain"}, index_url="https://me:plain@host", extra_index_urls=["plain"]
    )
    assert "plain" not in str(made) and '"key": "***"' in str(made)
    assert made.dump()["secrets"] == {"key": "plain"}


def test_a_notebook_shows_a_table_without_pandas() -> None:
    table = Function.load({**SAMPLE, "secrets": {"k": "plain"}})._repr_html_()
    assert "<td>&lt;b&gt;</td>" in table and "2023-11-14" in table and "plain" not in table
    many = FunctionList.load([{**SAMPLE, "id": number, "owner": "x" * 300} for number in range(1, 71)])._repr_html_()
    assert many.count("<tr>") == 61 and "and 10 more" in many and "x" * 250 not in many


def test_without_pandas_data_frames_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(CogniteImportError, match="pip install pandas"):
        FunctionList.load([SAMPLE]).to_pandas()
    with pytest.raises(CogniteImportError, match="pip install pandas"):
        FunctionsStatus("activated").to_pandas()


def test_a_field_that_is_needed_and_missing_is_told() -> None:
    with pytest.raises(KeyError, match="createdTime"):
        Function.load({"id": 1})


def test_a_range_is_dumped_with_its_filter() -> None:
    made = FunctionFilter(created_time=TimestampRange(min=5))
    assert made.dump() == {"createdTime": {"min": 5}}
    assert made.dump(camel_case=False) == {"created_time": {"min": 5}}


def test_either_kind_of_client_can_be_given(
    client: CogniteClient, async_client: AsyncCogniteClient, stub: Stub
) -> None:
    stub.on("POST /functions/byids", {"items": [{**SAMPLE, "status": "Failed"}]})
    for one in (client, async_client):
        made = Function.load(SAMPLE).set_client_ref(one)
        made.update()
        assert made.status == "Failed"
    with pytest.raises(CogniteMissingClientError, match="set_client_ref"):
        Function.load(SAMPLE).update()
    with pytest.raises(TypeError, match="got str"):
        Function.load(SAMPLE).set_client_ref("client")  # type: ignore[arg-type]


def test_a_function_that_is_gone_stays_as_it_was(client: CogniteClient, stub: Stub) -> None:
    stub.on("POST /functions/byids", {"items": []})
    made = Function.load(SAMPLE).set_client_ref(client)
    made.update()
    assert made == Function.load(SAMPLE)


def test_a_call_that_is_gone_is_told(client: CogniteClient, stub: Stub) -> None:
    stub.on("POST /functions/1/calls/byids", {"items": []})
    made = FunctionCall(id=5, start_time=1, status="Running", function_id=1).set_client_ref(client)
    with pytest.raises(RuntimeError, match="Call 5 of function 1 does not exist any more"):
        made.update()


def test_copies_are_equal_and_apart() -> None:
    one = FunctionList.load([SAMPLE])
    other = copy.deepcopy(one)
    other[0].name = "changed"
    assert one != other and one[0].name == "<b>"


def test_schedules_of_a_list_know_their_client(client: CogniteClient, stub: Stub) -> None:
    item = {
        "id": 3,
        "name": "s",
        "createdTime": 1,
        "cronExpression": "* * * * *",
        "sessionId": 1,
        "when": "w",
        "functionId": 1,
    }
    stub.on("POST /functions/schedules/list", {"items": [item]})
    stub.on("GET /functions/schedules/3/input_data", {"id": 3, "data": {"a": 1}})
    listed = client.functions.schedules.list()
    assert isinstance(listed, FunctionSchedulesList)
    assert listed.as_write()[0].data == {"a": 1}


def test_a_file_of_data_modelling_is_not_created_again() -> None:
    made = FileMetadata.load(
        {
            "id": 1,
            "name": "n",
            "uploaded": True,
            "createdTime": 1,
            "lastUpdatedTime": 1,
            "instanceId": {"space": "s", "externalId": "x"},
        }
    )
    with pytest.raises(ValueError, match="data modelling"):
        made.as_write()


def test_capabilities_are_read() -> None:
    answer = [
        {"functionsAcl": {"actions": ["READ", "RUN"], "scope": {"all": {}}}, "projectScope": {"projects": ["p"]}},
        {"newAcl": {"actions": ["FLY"], "scope": {"moonScope": {"ids": [1]}}}, "projectScope": {"allProjects": {}}},
        {
            "filesAcl": {"actions": ["FLY"], "scope": {"datasetScope": {"ids": [1]}}},
            "projectScope": {"allProjects": {}},
        },
    ]
    known, new, newer = ProjectCapabilityList.load(answer)
    assert known.capability.actions == [FunctionsAcl.Action.Read, FunctionsAcl.Action.Run]
    assert isinstance(new.capability, UnknownAcl) and new.capability.capability_name == "newAcl"
    assert isinstance(newer.capability, UnknownAcl)
    assert [one.dump() for one in (known, new, newer)] == answer
    with pytest.raises(ValueError, match="newAcl"):
        Capability.load({"newAcl": answer[1]["newAcl"]})


def test_errors_can_be_handed_to_another_process() -> None:
    import pickle

    error = CogniteNotFoundError("m", 400, [{"id": 1}], x_request_id="r", failed=[1])
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, CogniteAPIError) and vars(again) == vars(error) and str(again) == str(error)
