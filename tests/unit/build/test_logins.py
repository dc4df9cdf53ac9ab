from __future__ import annotations

from pathlib import Path

import pytest

from kvern.build.logins import hosts_in, logins_for
from kvern.build.urls import Login


def test_hosts_of_indexes_links_and_requirements_are_found() -> None:
    texts = [
        "mine=https://user:pw@One.example:8443/simple",
        "x @ git+https://two.example/x.git@main",
        "y @ https://three.example/y.whl#sha256=00",
        'url = "https://four.example/simple"',
        "file:///srv/simple",
        "six==1.17.0",
    ]
    assert hosts_in(texts) == {"one.example", "two.example", "three.example", "four.example"}


def test_only_what_is_asked_is_taken_and_the_default_for_the_operators_own_hosts_alone(tmp_path: Path) -> None:
    file = tmp_path / "netrc"
    file.write_text(
        "machine a.example login a password 1\nmachine b.example login b password 2\ndefault login d password 3\n"
    )
    found = logins_for(file, {"a.example", "own.example", "theirs.example"}, {"own.example"})
    assert found == [Login("a.example", "a", "1"), Login("own.example", "d", "3")]


def test_a_file_that_cannot_be_read_has_nothing_and_shows_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine a.example login a hunter2\n")
    assert logins_for(file, {"a.example"}, set()) == []
    assert "is left out of builds" in caplog.text
