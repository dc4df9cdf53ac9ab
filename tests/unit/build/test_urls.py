"""Credentials in URLs, and keeping them out of sight."""

from __future__ import annotations

import base64

import pytest

from kvern.build.urls import Login, Scrubber, one_url, without_login


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
    assert scrub("see https://user:s3cret%21@host.example/simple") == "see https://host.example/…"
    assert scrub("s3cret%21 and s3cret!") == "**** and ****"
    assert scrub("Basic " + base64.b64encode(b"user:s3cret!").decode()) == "Basic ****"


def test_a_user_name_stays_when_there_is_a_password() -> None:
    assert Scrubber(["https://martin:s3cret@h/s"])("martin was here") == "martin was here"


def test_a_token_in_place_of_a_user_goes() -> None:
    assert Scrubber(["https://tok3n@h/s"])("it was tok3n") == "it was ****"


def test_login_of_other_urls_goes_too() -> None:
    assert Scrubber()("from git+https://x:y@h/r and http://z@h") == "from git+https://h/… and http://h/…"


def test_words_and_the_longest_first() -> None:
    assert Scrubber(words=["abcd", "abcdefgh", ""])("abcdefgh abcd") == "**** ****"


def test_text_without_secrets_stays() -> None:
    text = "Resolved 20 packages in 1.2s: a@b.example, x == 1; see https://other/s@v1"
    assert Scrubber(["https://u:p@h/s"])(text) == text


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://user:pa/ss-w0rd@host.example/simple", "in https://user:pa/ss-w0rd@host.example/simple/six/, and"),
        ("https://to/ken-w0rd@host.example/simple", "in https://to/ken-w0rd@host.example/simple/six/, and"),
        ("https://us\\ken-w0rd@host.example/simple", "in https://us/ken-w0rd@host.example/simple/six/, and"),
        ("https://a@b:pass-w0rd@host.example/simple", "in https://a@b:pass-w0rd@host.example/simple/six/, and"),
        ("https://host.example/t-w0rd-en/simple", "in https://host.example/t-w0rd-en/simple/six/, and"),
        ("https://host.example/simple?key=t-w0rd-en", "in https://host.example/simple?key=t-w0rd-en, and"),
        ("https://host.example/letters/simple", "in https://host.example/letters/simple/six/, and"),
    ],
)
def test_a_url_is_masked_as_a_whole(url: str, text: str) -> None:
    assert Scrubber([url])(text) == "in https://host.example/…, and"


def test_what_follows_the_query_of_any_url_goes() -> None:
    assert Scrubber()("at https://h/x.whl?signature=abc.") == "at https://h/x.whl?…."


@pytest.mark.parametrize("login", [Login("h", "u", "p\nmachine x"), Login("h", "u v", "p"), Login("h\tx", "u", "p")])
def test_a_login_that_would_be_several_words_gets_no_line(login: Login) -> None:
    with pytest.raises(ValueError, match="a blank, a line break"):
        _ = login.netrc


def test_a_login_without_a_password_has_no_word_for_it() -> None:
    assert Login("h", "token", "").netrc == "machine h login token\n"


@pytest.mark.parametrize(
    "url",
    ["https://a b", "https://a\\@b/s", "https://u:pa/ss@h/s", "https://[/", "https://h:99999/", "https://u:p%0A@h/s"],
)
def test_what_is_not_one_url(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(it|its) "):
        one_url(url)
