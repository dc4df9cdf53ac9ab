"""What a user types."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from kvern.cli import inputs
from kvern.cli.complaint import Complaint


def test_pairs_split_at_the_first_equals_sign() -> None:
    assert inputs.pairs(["key=a=b", "empty="], "--secret") == {"key": "a=b", "empty": ""}


@pytest.mark.parametrize("word", ["hunter2", "=hunter2"])
def test_a_wrong_secret_is_not_shown_in_the_error(word: str) -> None:
    with pytest.raises(Complaint) as complaint:
        inputs.pairs([word], "--secret")
    assert "hunter2" not in str(complaint.value)
    assert "--secret takes KEY=VALUE" in str(complaint.value)


def test_secrets_come_from_lines_or_from_json(tmp_path: Path) -> None:
    lines, document = tmp_path / "a.env", tmp_path / "a.json"
    lines.write_text("# plant\n\napi-key=x\nb=c=d\n")
    document.write_text('{"api-key": "x", "b": "c=d"}')

    assert inputs.secret_file(lines) == inputs.secret_file(document) == {"api-key": "x", "b": "c=d"}


@pytest.mark.parametrize("text", ['{"a": 1}', '{"a": "hunter2"', "hunter2"])
def test_a_wrong_secret_file_is_named_and_not_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wrong"
    path.write_text(text)

    with pytest.raises(Complaint) as complaint:
        inputs.secret_file(path)
    assert str(path) in str(complaint.value)
    assert "hunter2" not in str(complaint.value)


def test_data_is_given_as_text_file_or_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "input.json"
    path.write_text('{"a": [1]}')
    monkeypatch.setattr("sys.stdin", io.StringIO('{"a": [1]}'))

    assert inputs.data('{"a": [1]}') == inputs.data(f"@{path}") == inputs.data("-") == {"a": [1]}
    assert inputs.data(None) == {}


def test_any_json_value_is_data() -> None:
    assert [inputs.data(word) for word in ("[1]", '"x"', "null", "1.5")] == [[1], "x", None, 1.5]


def test_what_is_not_json_is_refused_with_the_place() -> None:
    with pytest.raises(Complaint, match=r"--data is not JSON: .*line 1 column 2"):
        inputs.data("{a: 1}")
    with pytest.raises(Complaint, match="NaN is no JSON"):
        inputs.data("[NaN]")
