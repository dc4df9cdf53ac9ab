"""Comments name sections of `docs/contract.md`: each of them is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("src", "tests", "benchmarks", "examples", "docs")

_NAMED = re.compile(r"\bcontract (\d+(?:\.\d+)?(?:(?:,| and) \d+(?:\.\d+)?\b)*)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def sections() -> set[str]:
    """The numbers of all headings and of the rows of the last chapter."""
    text = (ROOT / "docs" / "contract.md").read_text()
    return set(re.findall(r"^#+ (\d+(?:\.\d+)?)\.? ", text, re.M)) | set(re.findall(r"^\| (13\.\d+) \|", text, re.M))


def references() -> list[tuple[str, str]]:
    """Each file that names sections, and the number that it names."""
    found: set[tuple[str, str]] = set()
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".md") and path != Path(__file__):
                for named in _NAMED.findall(path.read_text()):
                    found.update((str(path.relative_to(ROOT)), number) for number in _NUMBER.findall(named))
    return sorted(found)


def test_the_code_names_sections_of_the_contract() -> None:
    assert len(references()) > 100


@pytest.mark.parametrize("number", sorted({number for _, number in references()}))
def test_a_section_that_is_named_is_there(number: str) -> None:
    files = [file for file, named in references() if named == number]
    assert number in sections(), f"no section {number} in docs/contract.md; named in {files}"
