"""Locks, and the hashes that a `requirements.txt` demands itself."""

from __future__ import annotations

import pytest

from kvern.build.errors import InstallError
from kvern.build.lock import entries, with_demanded

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
