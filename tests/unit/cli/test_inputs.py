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


PLAIN = {"api-key": "x", "b": "y"}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"\xef\xbb\xbfapi-key=x\r\nb=y\r\n", PLAIN),
        ("api-key=x\nb=y\n".encode("utf-16"), PLAIN),
        ("\ufeffapi-key=x\nb=y\n".encode("utf-16-be"), PLAIN),
        ('{"api-key": "x", "b": "y"}'.encode("utf-16"), PLAIN),
        (b'\xef\xbb\xbf{"api-key": "x", "b": "y"}', PLAIN),
        (b"export api-key=x\n  export\tb = y  \n", PLAIN),
        (b"api-key=\"x\"\nb='y' # why\n", PLAIN),
        (b"export=x", {"export": "x"}),
        (b'a="x # y\\n\\"z\\" \\\\ \\q"', {"a": 'x # y\n"z" \\ \\q'}),
        (b"a='x\\n'", {"a": "x\\n"}),
        (b"a=x # y", {"a": "x # y"}),
        (b"a=\"\"\nb=''\nc=", {"a": "", "b": "", "c": ""}),
        (b'a="-----BEGIN\nline\n-----END"\nb=y', {"a": "-----BEGIN\nline\n-----END", "b": "y"}),
        (b'a={"x": "y"}', {"a": '{"x": "y"}'}),
    ],
)
def test_secret_files_as_people_have_them(tmp_path: Path, content: bytes, found: dict[str, str]) -> None:
    (tmp_path / "secrets").write_bytes(content)
    assert inputs.secret_file(tmp_path / "secrets") == found


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"# first\nhunter2", "line 2 is not"),
        (b'a="hunter2', "the quote that line 1 begins is never closed"),
        (b'\na="hunter" 2', "line 2 goes on behind the quote"),
        (b'{"a": "hunter2",}', "line 1 column"),
        (b"[" * 10 + b'{"hunter2', "line 1 is not"),
        (b'{"a":' * 100_000, "begins like JSON and is not"),
        (b"a=\xffhunter2", "byte 3 is wrong"),
        ("a=hunter2".encode("utf-16-le"), "nor in UTF-16 with a byte order mark"),
        (b"\xff\xfea", "byte"),
        (b"\x7fELF\0\0hunter2", "is not text"),
    ],
)
def test_what_is_wrong_in_a_secret_file_is_told_by_its_place(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "secrets").write_bytes(content)
    with pytest.raises(Complaint) as complaint:
        inputs.secret_file(tmp_path / "secrets")
    assert told in str(complaint.value)
    assert "hunter" not in str(complaint.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_data_files_with_and_without_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "data").write_bytes('{"å": 1}'.encode(encoding))
    assert inputs.data(f"@{tmp_path / 'data'}") == {"å": 1}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "line 1 column 1"),
        (b"{\n  1}", "line 2 column 3"),
        (b"[1e400]", "1e400 is beyond"),
        (b"[" * 100_000, "nested too deep"),
        (b"\xff", "byte 1 is wrong"),
        (bytes(20), "is not text"),
    ],
)
def test_data_that_is_no_json_is_told_by_its_place(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "data").write_bytes(content)
    with pytest.raises(Complaint, match=told):
        inputs.data(f"@{tmp_path / 'data'}")
