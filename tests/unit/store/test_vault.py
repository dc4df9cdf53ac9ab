"""The vault: what is sealed opens with the master key and with nothing else; the key changes without a gap."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from cryptography.fernet import Fernet

from kvern.store.vault import FunctionSecrets, Vault, write_private

CONTENT = FunctionSecrets({"key": "hush", "æ": "\u2028"}, "https://u:p@host", ["https://more"])


class Other(msgspec.Struct):
    word: str


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "master.key"


def fresh() -> str:
    return Fernet.generate_key().decode()


def test_what_is_sealed_opens_again(path: Path) -> None:
    vault = Vault(path)
    assert vault.open(*vault.seal(CONTENT)) == CONTENT
    assert vault.open(*vault.seal(FunctionSecrets())) == FunctionSecrets()
    assert vault.open_as(Other, *vault.seal(Other("w"))) == Other("w")


def test_it_opens_after_a_restart(path: Path) -> None:
    sealed = Vault(path).seal(CONTENT)
    assert Vault(path).open(*sealed) == CONTENT


def test_nothing_of_it_is_in_plain(path: Path) -> None:
    sealed, wrapped = Vault(path).seal(CONTENT)
    for secret in (b"hush", b"u:p", b"more"):
        assert secret not in sealed + wrapped


def test_each_has_a_key_of_its_own(path: Path) -> None:
    vault = Vault(path)
    one, two = vault.seal(CONTENT), vault.seal(CONTENT)
    with pytest.raises(ValueError, match="master key"):
        vault.open(one[0], two[1])


def test_the_key_file_is_for_its_owner_only(path: Path) -> None:
    os.umask(os.umask(0))
    Vault(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_with_another_master_key_nothing_opens(path: Path, tmp_path: Path) -> None:
    sealed = Vault(path).seal(CONTENT)
    for other in (Vault(tmp_path / "other.key"), Vault(tmp_path / "none.key", fresh())):
        with pytest.raises(ValueError, match="the master key is not the one"):
            other.open(*sealed)


def test_what_was_changed_does_not_open(path: Path) -> None:
    vault = Vault(path)
    sealed, wrapped = vault.seal(CONTENT)
    for broken in ((sealed[:-1], wrapped), (sealed, wrapped[:-1]), (b"", b""), (wrapped, sealed)):
        with pytest.raises(ValueError, match="cannot be read"):
            vault.open(*broken)


def test_a_given_key_needs_no_file(path: Path) -> None:
    key = fresh()
    sealed = Vault(path, key).seal(CONTENT)
    assert not path.exists()
    assert Vault(path, f" {key}\n").open(*sealed) == CONTENT


@pytest.mark.parametrize("key", ["", "x", "é", "a" * 44, "A" * 43, "AAAA"])
def test_a_master_key_that_is_not_good_is_refused_and_not_shown(path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="expected 32 bytes of url-safe base64") as caught:
        Vault(path, key)
    assert len(key) < 40 or key not in str(caught.value)
    assert not path.exists()


def test_a_key_in_the_file_that_is_not_good_is_refused(path: Path) -> None:
    path.write_text("not a key")
    with pytest.raises(ValueError, match="32 bytes"):
        Vault(path)


# Changing the key


def test_after_a_change_the_old_key_opens_nothing_and_the_new_one_everything(path: Path) -> None:
    vault = Vault(path)
    old = path.read_text()
    sealed, wrapped = vault.seal(CONTENT)
    vault.begin_rotation()
    between = vault.seal(CONTENT)
    rewrapped = vault.rewrap(wrapped)
    vault.end_rotation()
    assert path.read_text() != old
    assert vault.open(sealed, rewrapped) == CONTENT
    assert vault.open(*between) == CONTENT
    assert Vault(path).open(sealed, rewrapped) == CONTENT
    with pytest.raises(ValueError, match="not the one"):
        vault.open(sealed, wrapped)
    path.write_text(old)
    with pytest.raises(ValueError, match="not the one"):
        Vault(path).open(sealed, rewrapped)


def test_a_crash_in_the_middle_of_a_change_leaves_everything_open(path: Path) -> None:
    vault = Vault(path)
    before = vault.seal(CONTENT)
    vault.begin_rotation()
    after = vault.seal(CONTENT)
    again = Vault(path)
    assert again.is_between_keys
    assert again.open(*before) == again.open(*after) == CONTENT
    again.end_rotation()
    assert not Vault(path).is_between_keys


def test_given_keys_change_from_the_second_to_the_first(path: Path) -> None:
    old, new = fresh(), fresh()
    sealed, wrapped = Vault(path, old).seal(CONTENT)
    vault = Vault(path, f"{new},{old}")
    vault.begin_rotation()
    rewrapped = vault.rewrap(wrapped)
    vault.end_rotation()
    assert Vault(path, new).open(sealed, rewrapped) == CONTENT


def test_one_given_key_cannot_be_changed(path: Path) -> None:
    vault = Vault(path, fresh())
    with pytest.raises(ValueError, match="NEW,OLD"):
        vault.begin_rotation()


def test_the_change_from_the_file_to_a_given_key(path: Path) -> None:
    sealed, wrapped = Vault(path).seal(CONTENT)
    given = fresh()
    vault = Vault(path, given)
    assert vault.open(sealed, wrapped) == CONTENT
    vault.begin_rotation()
    rewrapped = vault.rewrap(wrapped)
    vault.end_rotation()
    assert not path.exists()
    assert Vault(path, given).open(sealed, rewrapped) == CONTENT


# Private files


def test_a_private_file_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    write_private(path, b"one")
    write_private(path, b"two")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o600)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_private(path, b"three")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]
