"""Locks, and the hashes that a `requirements.txt` demands itself."""

from __future__ import annotations

import pytest

from kvern.build.errors import InstallError
from kvern.build.lock import checked, chosen, entries, files, is_exact, with_chosen, with_demanded

LOCK = """\
six==1.17.0 \\
    --hash=sha256:bb \\
    --hash=sha256:aa
mine @ https://host.example/mine-1.0-py3-none-any.whl \\
    --hash=sha256:cc
"""


def test_what_a_lock_pins() -> None:
    assert entries("# a comment\n" + LOCK) == [
        ("six==1.17.0", ["sha256:aa", "sha256:bb"]),
        ("mine @ https://host.example/mine-1.0-py3-none-any.whl", ["sha256:cc"]),
    ]


def test_only_demanded_hashes_are_left() -> None:
    assert entries(with_demanded(LOCK, {"six": {"sha256:aa", "sha256:ff"}})) == [
        ("six==1.17.0", ["sha256:aa"]),
        ("mine @ https://host.example/mine-1.0-py3-none-any.whl", ["sha256:cc"]),
    ]


def test_nothing_demanded_nothing_changed() -> None:
    assert with_demanded(LOCK, {}) == LOCK


def test_a_demand_that_nothing_meets() -> None:
    with pytest.raises(InstallError, match=r"demands hashes for six==1\.17\.0 that no file of it has"):
        with_demanded(LOCK, {"six": {"sha256:ff"}})


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://u:s3cret@h/simple",
        "six==1.17.0",
        "six>=1 --hash=sha256:aa",
        "-e ./here --hash=sha256:aa",
        "six==1.17.0 --hash=sha256:aa --global-option=x",
        "mine @ git+https://h/x@main",
        "./six-1.17.0-py3-none-any.whl --hash=sha256:aa",
    ],
)
def test_a_line_that_is_no_pin_with_hashes_is_refused(line: str) -> None:
    with pytest.raises(InstallError, match="not a list of packages with hashes") as caught:
        checked(f"{LOCK}{line}\n")
    assert "s3cret" not in caught.value.message


def test_pins_with_hashes_or_a_commit_are_a_lock() -> None:
    text = f"# a comment\n{LOCK}torch==2.5.1+cpu --hash=sha256:aa  # torch.whl\nx @ git+https://h/x@{'a' * 40}\n"
    assert checked(text) == text


def test_the_chosen_file_alone_stays_in_a_lock() -> None:
    line = "DEBUG Selecting: Six==1.17.0 [compatible] (six-1.17.0-py3-none-any.whl)"
    choice = dict([chosen(line) or ("", "")])
    pylock = (
        '[[packages]]\nname = "six"\nversion = "1.17.0"\n'
        'sdist = { url = "https://h/six-1.17.0.tar.gz", hashes = { sha256 = "aa" } }\n'
        'wheels = [{ url = "https://h/six-1.17.0-py3-none-any.whl", hashes = { sha256 = "bb" } }]\n'
    )
    exact = with_chosen(LOCK, choice, pylock)
    assert entries(exact)[0] == ("six==1.17.0", ["sha256:bb"])
    assert files(exact) == ["six-1.17.0-py3-none-any.whl"]
    assert is_exact(exact)
    assert not is_exact(with_chosen(LOCK, {}, pylock))
    assert not is_exact(with_chosen(LOCK, choice, "no TOML"))
    assert checked(exact) == exact
    assert chosen("DEBUG Tried 1 versions: six 1") is None
