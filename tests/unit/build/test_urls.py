"""Credentials in URLs, and keeping them out of sight."""

from __future__ import annotations

import base64

import pytest

from kvern.build.urls import Login, Scrubber, without_login


@pytest.mark.parametrize(
    ("url", "bare", "login"),
    [
        ("https://host.example/simple", "https://host.example/simple", None),
        ("https://u:p@host.example:81/s?q#f", "https://host.example:81/s?q#f", Login("host.example", "u", "p")),
        ("https://token@host.example/s", "https://host.example/s", Login("host.example", "token", "")),
        ("https://a%40b:c%3Ad@h/s", "https://h/s", Login("h", "a@b", "c:d")),
    ],
)
def test_taking_a_url_apart(url: str, bare: str, login: Login | None) -> None:
    assert without_login(url) == (bare, login)


def test_a_password_goes_wherever_it_stands() -> None:
    scrub = Scrubber(["https://user:s3cret%21@host.example/simple"])
    assert scrub("see https://user:s3cret%21@host.example/simple") == "see https://****@host.example/simple"
    assert scrub("s3cret%21 and s3cret!") == "**** and ****"
    assert scrub("Basic " + base64.b64encode(b"user:s3cret!").decode()) == "Basic ****"


def test_a_user_name_stays_when_there_is_a_password() -> None:
    assert Scrubber(["https://martin:s3cret@h/s"])("martin was here") == "martin was here"


def test_a_token_in_place_of_a_user_goes() -> None:
    assert Scrubber(["https://tok3n@h/s"])("it was tok3n") == "it was ****"


def test_login_of_other_urls_goes_too() -> None:
    assert Scrubber()("from git+https://x:y@h/r and http://z@h") == "from git+https://****@h/r and http://****@h"


def test_words_and_the_longest_first() -> None:
    assert Scrubber(words=["abcd", "abcdefgh", ""])("abcdefgh abcd") == "**** ****"


def test_text_without_secrets_stays() -> None:
    text = "Resolved 20 packages in 1.2s: a@b.example, x == 1; see https://h/s@v1"
    assert Scrubber(["https://u:p@h/s"])(text) == text
