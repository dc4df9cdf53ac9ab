"""Names, times, identifiers, JSON and YAML."""

from __future__ import annotations

import math
import sys
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvern.client.casing import to_camel_case, to_snake_case
from kvern.client.documents import dump_json, dump_yaml, load_mapping, load_sequence
from kvern.client.exceptions import CogniteImportError
from kvern.client.identifiers import Identifiers, InstanceId, NodeId, one_of
from kvern.client.redaction import redacted, redacted_body, redacted_headers
from kvern.client.times import ms_to_datetime, shown_with_dates, timestamp_to_ms


@pytest.mark.parametrize(
    ("snake", "camel"),
    [("id", "id"), ("external_id", "externalId"), ("extra_index_urls", "extraIndexUrls")],
)
def test_names_in_both_spellings(snake: str, camel: str) -> None:
    assert (to_camel_case(snake), to_snake_case(camel)) == (camel, snake)


def test_times_in_all_forms() -> None:
    moment = datetime(2021, 1, 7, 12, tzinfo=timezone.utc)
    assert (
        timestamp_to_ms(moment) == timestamp_to_ms(1610020800000) == timestamp_to_ms(1610020800000.9) == 1610020800000
    )
    assert ms_to_datetime(1610020800000) == moment
    now = timestamp_to_ms("now")
    for shift, ms in {
        "30s-ago": -30_000,
        "2m-ago": -120_000,
        "1h-ahead": 3_600_000,
        "1d-ago": -86_400_000,
        "2w-ahead": 1_209_600_000,
    }.items():
        assert abs(timestamp_to_ms(shift) - now - ms) < 2_000
    for wrong in ("yesterday", "1y-ago", "1d", ""):
        with pytest.raises(ValueError, match="3d-ago"):
            timestamp_to_ms(wrong)
    with pytest.raises(TypeError, match="list"):
        timestamp_to_ms([1])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1900"):
        timestamp_to_ms(-(10**13))
    with pytest.raises(ValueError, match="milliseconds"):
        ms_to_datetime(10**15)


def test_only_valid_times_are_shown_as_dates() -> None:
    shown = shown_with_dates(
        {"created_time": 0, "end_time": "soon", "start_time": {"min": 1}, "lastCalled": 10**15, "id": 5}
    )
    assert shown == {
        "created_time": "1970-01-01 00:00:00.000+00:00",
        "end_time": "soon",
        "start_time": {"min": 1},
        "lastCalled": 10**15,
        "id": 5,
    }


def test_identifiers_keep_their_order() -> None:
    assert Identifiers([2, 1], ["b", "a"]).dicts() == [{"id": 2}, {"id": 1}, {"externalId": "b"}, {"externalId": "a"}]
    assert [len(chunk) for chunk in Identifiers(range(25)).chunks(10)] == [10, 10, 5]
    assert Identifiers(external_ids="").single() == ""
    assert one_of(5, None) == 5 and one_of(None, "x") == "x"
    for arguments in ((None, None), (1, "x"), ([1], None)):
        with pytest.raises(ValueError, match="xactly one"):
            Identifiers(*arguments).single()
    with pytest.raises(ValueError, match="function_id and function_external_id"):
        one_of(None, None)
    for wrong in ("1", 1.5, object()):
        with pytest.raises(TypeError, match="Expected id"):
            Identifiers(wrong)  # type: ignore[arg-type]


def test_instance_ids_in_all_forms() -> None:
    same = [NodeId("s", "x"), ("s", "x"), {"space": "s", "externalId": "x"}, {"space": "s", "external_id": "x"}]
    assert {NodeId.load(one) for one in same} == {NodeId("s", "x")}  # type: ignore[arg-type]
    assert Identifiers(instance_ids=[("s", "x"), InstanceId("s", "y")]).dicts()[1] == {
        "instanceId": {"space": "s", "externalId": "y"}
    }
    assert Identifiers(instance_ids=("s", "x")).is_single
    for wrong in ({"space": "s"}, ("s",), "sx"):
        with pytest.raises((KeyError, ValueError, TypeError)):
            Identifiers(instance_ids=wrong)


def test_json_understands_numbers_of_all_kinds() -> None:
    assert dump_json({"a": Decimal("1.5"), "b": [1, None, True]}) == '{"a":1.5,"b":[1,null,true]}'
    for wrong in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match="NaN or infinity"):
            dump_json({"x": wrong})
    with pytest.raises(TypeError, match="set"):
        dump_json({"x": {1}})


def test_what_can_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_mapping('{"a": 1}') == load_mapping({"a": 1}) == {"a": 1}
    assert load_sequence('[{"a": 1}]') == [{"a": 1}]
    with pytest.raises(TypeError, match="got list"):
        load_mapping("[1]")
    with pytest.raises(TypeError, match="got dict"):
        load_sequence('{"a": 1}')
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(CogniteImportError, match="pyyaml"):
        load_mapping("a: 1")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), PLAIN))
def test_yaml_has_one_line_a_value(value: dict[str, Any]) -> None:
    lines = dump_yaml(value).split("\n")
    assert lines[-1] == "" and all(line == line.rstrip() for line in lines)
    assert not any(character in "\r\x85\u2028\u2029\0" for line in lines for character in line)


def test_yaml_as_people_write_it() -> None:
    value = {
        "name": "a b",
        "on": "yes",
        "empty": [],
        "none": None,
        "list": [1, {"a": 1.0, "b": ["x"]}, []],
        "map": {"k": "1"},
    }
    assert dump_yaml(value) == (
        'name: a b\n"on": "yes"\nempty: []\n"none": null\nlist:\n- 1\n- a: 1.0\n  b:\n  - x\n- []\nmap:\n  k: "1"\n'
    )
    assert (dump_yaml([]), dump_yaml({}), dump_yaml([{}])) == ("[]\n", "{}\n", "- {}\n")


def test_secrets_are_hidden_wherever_they_stand() -> None:
    value = {
        "items": [
            {"clientSecret": "s", "nonce": "n", "data": {"password": ["p"], "name": "shown"}, "secrets": {"k": "v"}}
        ]
    }
    assert redacted(value) == {
        "items": [
            {
                "clientSecret": "***",
                "nonce": "***",
                "data": {"password": ["***"], "name": "shown"},
                "secrets": {"k": "***"},
            }
        ]
    }
    assert redacted_headers({"Authorization": "Bearer x", "X-Api-Key": "k", "Cookie": "c", "Accept": "a"}) == {
        "Authorization": "***",
        "X-Api-Key": "***",
        "Cookie": "***",
        "Accept": "a",
    }
    assert redacted_body('{"nonce": "n"}') == '{"nonce": "***"}'
    assert redacted_body("x" * 2000) == "x" * 997 + "..."
