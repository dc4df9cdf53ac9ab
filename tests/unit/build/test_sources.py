"""Where packages come from: the operator's settings for pip and uv, the function's indexes, the requirements' own."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvern.build.errors import RequirementsError, SettingsError
from kvern.build.operator.found import Operator
from kvern.build.operator.places import folders_behind
from kvern.build.operator.settings import operator_settings
from kvern.build.requirements import Requirements
from kvern.build.sources import sources
from kvern.build.urls import Login

SALT = b"0123456789abcdef"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def settings(home: Path, **environ: str) -> Operator:
    """Those of a machine with nothing but `environ` and the files below `home`."""
    return operator_settings({"HOME": str(home), "XDG_CONFIG_DIRS": str(home / "etc"), "PIP_CERT": "", **environ})


def pip_conf(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def alone(home: Path) -> dict[str, str]:
    """No configuration file of the machine that runs the tests may play a part."""
    return {"HOME": str(home), "XDG_CONFIG_DIRS": str(home / "etc"), "PIP_CONFIG_FILE": "/dev/null"}


def test_pips_files_in_pips_order(home: Path) -> None:
    user, chosen = home / ".config/pip/pip.conf", home / "chosen.conf"
    pip_conf(home / "etc/pip/pip.conf", "[global]\nindex-url = https://site.example/s\ntrusted-host = site.example\n")
    pip_conf(
        user, "[global]\nindex_url = https://user.example/s\n[install]\nextra-index-url = https://a/s https://b/s\n"
    )
    assert settings(home).index_url == "https://user.example/s"
    assert settings(home).indexes == ["https://a/s", "https://b/s"]
    assert settings(home).trusted_hosts == ["site.example"]
    pip_conf(chosen, "[install]\nindex-url = https://chosen.example/s\n")
    assert settings(home, PIP_CONFIG_FILE=str(chosen)).index_url == "https://chosen.example/s"
    assert settings(home, PIP_INDEX_URL="https://env.example/s").index_url == "https://env.example/s"
    assert settings(home, PIP_CONFIG_FILE="/dev/null").index_url is None


def test_uvs_settings_win_over_pips(home: Path) -> None:
    both = {"PIP_INDEX_URL": "https://pip.example/s", "UV_DEFAULT_INDEX": "https://uv.example/s"}
    assert settings(home, **both).index_url == "https://uv.example/s"
    assert settings(home, UV_INDEX_URL="https://old.example/s").index_url == "https://old.example/s"


def test_indexes_of_uv_and_pip_add_up(home: Path) -> None:
    found = operator_settings(
        alone(home)
        | {
            "UV_INDEX": "mine=https://a.example/s https://b.example/s",
            "UV_EXTRA_INDEX_URL": "https://c.example/s",
            "PIP_EXTRA_INDEX_URL": "https://d.example/s",
            "UV_INDEX_MINE_USERNAME": "user",
            "UV_INDEX_MINE_PASSWORD": "s3cret",
        }
    )
    assert found.indexes == [
        "mine=https://a.example/s", "https://b.example/s", "https://c.example/s", "https://d.example/s",
    ]  # fmt: skip
    assert found.env["UV_INDEX_MINE_PASSWORD"] == "s3cret"
    assert "s3cret" in found.secrets


def test_a_default_index_in_uvs_file_stands_before_pips(home: Path) -> None:
    pip_conf(home / ".config/uv/uv.toml", '[[index]]\nurl = "https://u:s3cret@uv.example/s"\ndefault = true\n')
    found = operator_settings(alone(home) | {"PIP_INDEX_URL": "https://pip.example/s"})
    assert found.index_url == "https://u:s3cret@uv.example/s"
    assert any("s3cret" in url for url in found.urls)


def test_places_that_do_not_exist_are_left_out(home: Path) -> None:
    (home / "simple").mkdir()
    (home / "whe,els").mkdir()
    found = operator_settings(
        alone(home)
        | {
            "PIP_EXTRA_INDEX_URL": f"file://{home}/simple file://{home}/gone https://a.example/s",
            "PIP_FIND_LINKS": f"{home}/whe,els {home}/gone https://b.example/page",
        }
    )
    assert found.indexes == [f"file://{home}/simple", "https://a.example/s"]
    assert found.find_links == [f"file://{home}/whe%2Cels", "https://b.example/page"]
    assert set(found.files) >= {home / "simple"}


def test_certificates_proxies_and_patience(home: Path) -> None:
    (home / "pip.pem").touch()
    found = operator_settings(
        alone(home)
        | {
            "PIP_CERT": str(home / "pip.pem"),
            "PIP_PROXY": "proxy.example:3128",
            "PIP_DEFAULT_TIMEOUT": "90",
            "NO_PROXY": "localhost",
            "PIP_NO_INDEX": "1",
        }
    )
    assert found.env["SSL_CERT_FILE"] == str(home / "pip.pem")
    assert found.env["HTTPS_PROXY"] == found.env["HTTP_PROXY"] == "http://proxy.example:3128"
    assert (found.env["UV_HTTP_TIMEOUT"], found.env["NO_PROXY"], found.no_index) == ("90", "localhost", True)
    assert home / "pip.pem" in found.files


def test_what_is_set_for_all_programs_wins_over_pips(home: Path) -> None:
    (home / "all.pem").touch()
    general = {"SSL_CERT_FILE": str(home / "all.pem"), "https_proxy": "http://all.example:1", "UV_HTTP_TIMEOUT": "5"}
    pips = {"PIP_CERT": str(home / "pip.pem"), "PIP_PROXY": "http://pip.example:2", "PIP_TIMEOUT": "90"}
    env = operator_settings(alone(home) | general | pips).env
    assert (env["SSL_CERT_FILE"], env["https_proxy"], env["UV_HTTP_TIMEOUT"]) == tuple(general.values())
    assert "HTTPS_PROXY" not in env


def test_requests_bundle_is_taken_when_nothing_else_is_said(home: Path) -> None:
    (home / "r.pem").touch()
    assert operator_settings(alone(home) | {"REQUESTS_CA_BUNDLE": str(home / "r.pem")}).env["SSL_CERT_FILE"] == str(
        home / "r.pem"
    )
    assert operator_settings(alone(home) | {"CURL_CA_BUNDLE": str(home)}).env["SSL_CERT_DIR"] == str(home)


def test_nothing_else_of_the_servers_environment_gets_in(home: Path) -> None:
    others = {
        "KVERN_MASTER_KEY": "k",
        "AWS_SECRET_ACCESS_KEY": "a",
        "UV_PYTHON": "x",
        "UV_PUBLISH_TOKEN": "t",
        "PATH": "p",
    }
    assert operator_settings(alone(home) | others).env == operator_settings(alone(home)).env


def test_broken_files_are_a_fault_that_names_them(home: Path) -> None:
    pip_conf(home / ".config/pip/pip.conf", "no section\n[[[")
    pip_conf(home / ".config/uv/uv.toml", "= =")
    with pytest.raises(SettingsError, match=r"/pip/pip\.conf: .* line 1 .*/uv/uv\.toml: .*TOML"):
        sources(Requirements(), None, [], {"HOME": str(home), "XDG_CONFIG_DIRS": str(home / "etc")})


def test_the_nearest_index_wins_and_further_ones_add_up(home: Path) -> None:
    environ = alone(home) | {"PIP_INDEX_URL": "https://op/s", "PIP_EXTRA_INDEX_URL": "https://op-extra/s"}
    own = Requirements(index_url="https://file/s", extra_index_urls=["https://file-extra/s"])
    assert sources(Requirements(), None, [], environ).env["UV_DEFAULT_INDEX"] == "https://op/s"
    assert sources(Requirements(), "https://fn/s", [], environ).env["UV_DEFAULT_INDEX"] == "https://fn/s"
    env = sources(own, "https://fn/s", ["https://fn-extra/s"], environ).env
    assert env["UV_DEFAULT_INDEX"] == "https://file/s"
    assert env["UV_INDEX"] == "https://file-extra/s https://fn-extra/s https://op-extra/s"
    assert env["UV_INDEX_STRATEGY"] == "unsafe-first-match"


@pytest.mark.parametrize(
    "url", ["file:///srv/simple", "/srv/simple", "https://a/s https://b/s", "https://[", "x\ny", "http:"]
)
def test_a_functions_index_must_be_a_web_address(home: Path, url: str) -> None:
    with pytest.raises(RequirementsError, match=r"^indexUrl: "):
        sources(Requirements(), url, [], alone(home))
    with pytest.raises(RequirementsError, match=r"^extraIndexUrls: "):
        sources(Requirements(), None, [url], alone(home))


def test_logins_go_to_netrc_before_the_operators_and_of_those_only_what_is_asked(home: Path) -> None:
    (home / ".netrc").write_text(
        "machine op.example login o password op-secret\nmachine other.example login x password other-secret\n"
    )
    own = Requirements(logins=[Login("h.example", "u", "fn-secret")])
    found = sources(own, "https://op.example/simple", [], alone(home))
    assert "op-secret" not in found.scrub("op-secret")
    assert found.netrc.splitlines() == [
        "machine h.example login u password fn-secret",
        "machine op.example login o password op-secret",
    ]
    assert "fn-secret" not in found.scrub("fn-secret")


def test_every_credential_is_scrubbed(home: Path) -> None:
    environ = alone(home) | {
        "PIP_INDEX_URL": "https://u:secret-1@op/s",
        "UV_INDEX": "mine=https://u:secret-2@op/s",
        "HTTPS_PROXY": "http://u:secret-3@proxy:1",
        "UV_INDEX_MINE_PASSWORD": "secret-4",
        "UV_FIND_LINKS": "https://u:secret-5@op/page",
    }
    own = Requirements(extra_index_urls=["https://u:secret-6@h/s"])
    found = sources(own, "https://u:secret-7@h/s", ["https://secret-8@h/s"], environ)
    assert found.scrub(" ".join(f"secret-{number}" for number in range(1, 9))) == " ".join(["****"] * 8)


def test_the_digest_tells_sources_apart_and_gives_nothing_away(home: Path) -> None:
    one = sources(Requirements(), "https://u:one@h/s", [], alone(home))
    two = sources(Requirements(), "https://u:two@h/s", [], alone(home))
    assert one.digest(SALT) == sources(Requirements(), "https://u:one@h/s", [], alone(home)).digest(SALT)
    assert len({one.digest(SALT), two.digest(SALT), one.digest(b"another salt....")}) == 3


def test_the_folders_behind_a_local_index(tmp_path: Path) -> None:
    page = tmp_path / "simple" / "six" / "index.html"
    page.parent.mkdir(parents=True)
    (tmp_path / "simple" / "own").mkdir()
    page.write_text(
        '<a href="../../files/six.whl#sha256=ab">six</a> <a href="https://h/other/x.whl">x</a>'
        f"<A HREF='file://{tmp_path}/more/six.whl'>six</A> <a href='../own/y.whl'>y</a>"
    )
    assert folders_behind(tmp_path / "simple") == [tmp_path / "files", tmp_path / "more", tmp_path / "simple"]
    assert folders_behind(tmp_path / "none") == [tmp_path / "none"]


def test_what_decides_versions_is_said_when_resolving_and_never_when_installing(home: Path) -> None:
    for name in ("a.txt", "c c.txt", "d.txt"):
        (home / name).write_text("six<2\n")
    found = sources(
        Requirements(),
        None,
        [],
        alone(home)
        | {
            "PIP_CONSTRAINT": f"{home}/a.txt https://u:s3cret@h.example/b.txt",
            "UV_CONSTRAINT": f"{home}/c\\ c.txt",
            "UV_OVERRIDE": f"{home}/d.txt",
            "UV_EXCLUDE_NEWER": "2026-01-01",
        },
    )
    assert found.deciding == [
        "--exclude-newer", "2026-01-01", "--constraints", f"{home}/c c.txt", "--constraints", f"{home}/a.txt",
        "--constraints", "https://h.example/b.txt", "--overrides", f"{home}/d.txt",
    ]  # fmt: skip
    assert not {"UV_CONSTRAINT", "UV_OVERRIDE", "UV_EXCLUDE_NEWER"} & found.env.keys()
    assert found.netrc == "machine h.example login u password s3cret\n"
    assert {home / "a.txt", home / "c c.txt", home / "d.txt"} <= set(found.files)


def test_the_content_of_a_constraint_counts_and_not_its_place(home: Path) -> None:
    def digest(name: str, text: str) -> str:
        (home / name).write_text(text)
        return sources(Requirements(), None, [], alone(home) | {"PIP_CONSTRAINT": str(home / name)}).digest(SALT)

    assert digest("a.txt", "six<2\n") == digest("b.txt", "six<2\n") != digest("a.txt", "six<1\n")
    (home / "inner.txt").write_text("six<3\n")
    before = digest("c.txt", "-r inner.txt\n")
    (home / "inner.txt").write_text("six<4\n")
    assert digest("c.txt", "-r inner.txt\n") != before


def test_public_indexes_are_asked_last(home: Path) -> None:
    environ = alone(home) | {"PIP_INDEX_URL": "https://own.example/s", "PIP_EXTRA_INDEX_URL": "https://pypi.org/simple"}
    env = sources(Requirements(), None, [], environ).env
    assert (env["UV_INDEX"], env["UV_DEFAULT_INDEX"]) == ("https://own.example/s", "https://pypi.org/simple")
    env = sources(Requirements(), None, [], environ | {"UV_INDEX_STRATEGY": "first-index"}).env
    assert (env["UV_INDEX"], env["UV_DEFAULT_INDEX"]) == ("https://pypi.org/simple", "https://own.example/s")
