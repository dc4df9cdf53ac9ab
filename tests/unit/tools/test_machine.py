"""Of a machine's settings for pip and uv, those that say where packages are stay, and no other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests import isolation
from tools import machine as module
from tools.machine import Sources, home, plain, sources, without_proxy_here

PIP = ".config/pip/pip.conf"
UV = ".config/uv/uv.toml"


@pytest.fixture(autouse=True)
def no_files_of_the_real_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ETC", tmp_path / "nothing")
    monkeypatch.setattr(module, "ROOT", tmp_path / "nothing")
    monkeypatch.setattr(module.sys, "base_prefix", str(tmp_path / "nothing"))


def machine(folder: Path, files: dict[str, str], **environ: str) -> Sources:
    """A machine with these files in its home folder, and these variables."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return sources({"HOME": str(folder), "XDG_CONFIG_DIRS": str(folder / "etc"), **environ})


PIP_VALUES = {
    "user": "yes",
    "target": "/elsewhere",
    "prefix": "/elsewhere",
    "root": "/elsewhere",
    "require-hashes": "true",
    "constraint": "/no/such/constraints.txt",
    "no-deps": "true",
    "no-binary": ":all:",
    "require-virtualenv": "true",
    "python": "/usr/bin/python2",
    "timeout": "soon",
    "cert": "/no/such/certificate",
    "find-links": "/no/such/folder",
    "no-build-isolation": "true",
}
UV_VALUES = (
    'required-version = "==0.1"',
    "extra = 1",
    "not toml at all [",
    '[pip]\ntarget = "/elsewhere"',
    '[pip]\nprefix = "/elsewhere"',
    '[pip]\npython-version = "3.7"',
    "[pip]\nno-deps = true",
    "[pip]\nrequire-hashes = true",
    'exclude-newer = "2001-01-01"',
    'constraint-dependencies = ["uv<0.1"]',
    "no-binary = true",
    "no-index = true",
    'python-downloads = "never"',
    'index-strategy = "first-index"',
)


@pytest.mark.parametrize("name", PIP_VALUES)
@pytest.mark.parametrize("is_variable", [False, True], ids=["file", "variable"])
def test_pips_settings_that_change_what_is_installed_or_where_are_left_out(
    tmp_path: Path, name: str, is_variable: bool
) -> None:
    bare = machine(tmp_path / "bare", {})
    value = PIP_VALUES[name]
    if is_variable:
        found = machine(tmp_path / "bare", {}, **{f"PIP_{name.upper().replace('-', '_')}": value})
    else:
        found = machine(tmp_path / "set", {PIP: f"[global]\n{name} = {value}\n"})
        found.cache = bare.cache
    assert found == bare


@pytest.mark.parametrize("text", UV_VALUES)
def test_so_are_those_of_uv(tmp_path: Path, text: str) -> None:
    bare = machine(tmp_path / "bare", {})
    found = machine(tmp_path / "set", {UV: text})
    found.cache = bare.cache
    assert found == bare


@pytest.mark.parametrize(
    ("files", "environ"),
    [
        ({PIP: "[global]\nindex-url = https://mirror.example/s\n"}, {}),
        ({".pip/pip.conf": "[install]\nindex_url = https://mirror.example/s\n"}, {}),
        ({"etc/pip/pip.conf": "[global]\nindex-url = https://mirror.example/s\n"}, {}),
        ({}, {"PIP_INDEX_URL": "https://mirror.example/s"}),
        ({}, {"UV_INDEX_URL": "https://mirror.example/s"}),
        ({}, {"UV_DEFAULT_INDEX": "ours=https://mirror.example/s"}),
        ({UV: 'index-url = "https://mirror.example/s"'}, {"PIP_INDEX_URL": "https://other.example/s"}),
        ({UV: '[pip]\nindex-url = "https://mirror.example/s"'}, {}),
        ({UV: '[[index]]\nurl = "https://mirror.example/s"\ndefault = true'}, {}),
        ({"etc/uv/uv.toml": '[[index]]\nurl = "https://mirror.example/s"\ndefault = true'}, {}),
    ],
)
def test_a_mirror_is_told_to_both(tmp_path: Path, files: dict[str, str], environ: dict[str, str]) -> None:
    found = machine(tmp_path, files, **environ)
    assert found.for_pip()["PIP_INDEX_URL"] == found.for_uv()["UV_DEFAULT_INDEX"] == "https://mirror.example/s"


def test_further_indexes_links_and_hosts_add_up(tmp_path: Path) -> None:
    (tmp_path / "with space").mkdir()
    found = machine(
        tmp_path,
        {
            PIP: "[global]\nextra-index-url =\n  https://a/s\n  https://b/s\ntrusted-host = a b\n",
            UV: '[[index]]\nname = "c"\nurl = "https://c/s"\n[[index]]\nurl = "./with space"\nformat = "flat"\n',
        },
        UV_INDEX="mine=https://d/s",
        UV_INDEX_MINE_USERNAME="me",
        UV_INDEX_MINE_PASSWORD="p@ss",
        PIP_FIND_LINKS=f"https://links/page {tmp_path}",
    )
    assert found.indexes == ["https://me:p%40ss@d/s", "https://c/s", "https://a/s", "https://b/s"]
    folder = f"file://{tmp_path}/.config/uv/with%20space"
    (tmp_path / ".config/uv/with space").mkdir()
    again = machine(tmp_path, {}, PIP_FIND_LINKS=f"https://links/page {tmp_path}")
    assert again.links == [folder, "https://links/page", f"file://{tmp_path}"]
    assert found.for_pip()["PIP_TRUSTED_HOST"] == "a b"


def test_proxies_certificates_and_time_limits_stay(tmp_path: Path) -> None:
    certificate = tmp_path / "ca.pem"
    certificate.touch()
    found = machine(tmp_path, {PIP: f"[global]\ncert = {certificate}\nproxy = proxy.example:3128\ntimeout = 90\n"})
    assert found.network == {
        "SSL_CERT_FILE": str(certificate),
        "HTTP_PROXY": "http://proxy.example:3128",
        "HTTPS_PROXY": "http://proxy.example:3128",
        "UV_HTTP_TIMEOUT": "90",
    }
    own = machine(tmp_path, {}, HTTPS_PROXY="http://own.example", http_proxy="http://own.example").network
    assert not {"HTTP_PROXY", "HTTPS_PROXY"} & own.keys()


@pytest.mark.parametrize("place", ["", "/", "/nonexistent", "/proc/self"])
def test_without_a_home_folder_that_can_be_written_the_cache_is_the_clones(place: str) -> None:
    found = sources({"HOME": place, "XDG_CACHE_HOME": "/proc/self", "XDG_CONFIG_DIRS": "/nonexistent"})
    assert found.cache is None
    assert found.for_uv()["UV_CACHE_DIR"].endswith("/.make/cache")


def test_a_home_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    found = sources({"HOME": str(tmp_path / "none"), "XDG_CONFIG_DIRS": "/nonexistent"})
    assert found.cache is None
    assert list(tmp_path.iterdir()) == []


def test_a_made_up_home_has_the_logins_to_the_indexes_and_no_others(tmp_path: Path) -> None:
    logins = "machine mirror.example login a password b\nmachine other.example login c password d\n"
    found = machine(tmp_path, {".netrc": logins}, PIP_INDEX_URL="https://mirror.example/s")
    variables = home(tmp_path / "home", found)
    assert (tmp_path / "home/.netrc").read_text() == "machine mirror.example login a password b\n"
    assert variables["HOME"] == str(tmp_path / "home")
    broken = machine(tmp_path, {".netrc": "machine {{{"}, PIP_INDEX_URL="https://mirror.example/s")
    home(tmp_path / "another", broken)
    assert list((tmp_path / "another").iterdir()) == []


def test_variables_of_other_projects_and_of_a_users_service_are_left_out() -> None:
    strange = {"UV_PROJECT_ENVIRONMENT": "a", "PIP_USER": "1", "PYTHONHOME": "b", "VIRTUAL_ENV": "c"}
    strange |= {"CONDA_PREFIX": "d", "KVERN_DATA_DIR": "e", "CDF_URL": "f", "PYTHONPATH": "g"}
    assert plain(strange | {"PATH": "/bin", "HTTPS_PROXY": "http://p"}) == {"PATH": "/bin", "HTTPS_PROXY": "http://p"}


def test_no_proxy_stands_before_this_machine() -> None:
    assert without_proxy_here({"no_proxy": "a.example,localhost"})["NO_PROXY"] == "a.example,localhost,127.0.0.1,::1"
    assert without_proxy_here({})["no_proxy"] == "127.0.0.1,localhost,::1"


def test_the_tests_themselves_see_a_made_up_home_and_no_settings() -> None:
    assert "kvern-tests-home-" in os.environ["HOME"]
    assert os.environ["PIP_CONFIG_FILE"] == os.devnull
    kept = {"UV_NO_CONFIG", "UV_CACHE_DIR", "UV_HTTP_TIMEOUT", "UV_HTTP_RETRIES", "UV_KEYRING_PROVIDER"}
    told = {name for name in os.environ if name.startswith("UV_")}
    assert told <= kept | {"UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "UV_OFFLINE"}
    before = dict(os.environ)
    isolation.isolate()
    assert dict(os.environ) == before
