"""Requirements in the docstring of a function (PEP 508)."""

from __future__ import annotations

import pytest

from kvern.client.requirements import docstring_requirements


def docstring(*lines: str) -> str:
    return "\n".join(["Does something.", "", "[requirements]", *lines, "[/requirements]", "", "And more."])


@pytest.mark.parametrize(
    "line",
    [
        "numpy",
        "numpy==1.26.4",
        "numpy >= 1.26, < 3",
        "requests[socks,security]~=2.31",
        "package-with.dots_and-dashes!=1.0.*",
        "torch===2.1+local",
        "own @ https://host/own-1.0.zip",
        "pywin32>=300; sys_platform == 'win32'",
        "numpy (>=1.26)",
        "git+https://host/repo.git@main#egg=own",
    ],
)
def test_requirements_that_pip_takes(line: str) -> None:
    assert docstring_requirements(docstring(line)) == [line]


@pytest.mark.parametrize("line", ["not a requirement", "numpy=1.0", "-r other.txt", "numpy>=", "!", "[x]", "a b c"])
def test_other_lines_are_refused(line: str) -> None:
    with pytest.raises(ValueError, match="Invalid requirement"):
        docstring_requirements(docstring(line))


def test_comments_and_empty_lines_do_not_count() -> None:
    assert docstring_requirements(docstring("# first", "", "numpy  # second", "    requests")) == ["numpy", "requests"]


@pytest.mark.parametrize(
    "text", ["", "[requirements]\nnumpy", "numpy\n[/requirements]", "[requirements]\n[/requirements]"]
)
def test_without_a_list_there_are_none(text: str) -> None:
    assert docstring_requirements(text) == []
