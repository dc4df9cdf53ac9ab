"""What the documentation shows of the bodies that the API takes is what it takes."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from kvern.wire.functions import FunctionOptions, Retries

PAGE = Path(__file__).parents[3] / "docs" / "calls.md"


def test_retries_are_shown_as_they_are_when_only_the_attempts_are_given() -> None:
    shown = re.findall(r"^```json\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (retries,) = [text for text in shown if '"retries"' in text]
    assert msgspec.json.decode(retries, type=FunctionOptions).retries == Retries(attempts=5)
