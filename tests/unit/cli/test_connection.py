"""Which service is meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kvern.cli import connection
from kvern.cli.complaint import Complaint
from kvern.cli.options import Options
from kvern.client.profiles import Profile, save_profile

VARIABLES = ("KVERN_URL", "KVERN_PROFILE", "CDF_URL", "CDF_CLUSTER", "KVERN_DATA_DIR")


@pytest.fixture(autouse=True)
def nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KVERN_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def service(data_dir: Path, port: int) -> Path:
    """What a service leaves in its data folder."""
    data_dir.mkdir()
    content = {
        "baseUrl": f"http://127.0.0.1:{port}",
        "project": "plant",
        "tokenUrl": f"http://127.0.0.1:{port}/oauth2/token",
        "clientId": "me",
        "clientSecret": "hunter2",
        "scopes": "kvern",
    }
    (data_dir / "client.json").write_text(json.dumps(content))
    return data_dir


def reached(options: Options) -> str:
    return connection.connect(options).config.base_url


def test_each_way_to_say_it_goes_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Complaint, match="no service is known here"):
        reached(Options())

    service(tmp_path / ".kvern", 1)
    assert reached(Options()) == "http://127.0.0.1:1"

    monkeypatch.setenv("KVERN_DATA_DIR", str(service(tmp_path / "elsewhere", 2)))
    assert reached(Options()) == "http://127.0.0.1:2"

    for name, port in (("first", 3), ("second", 4)):
        save_profile(name, Profile(f"http://127.0.0.1:{port}", "plant", {"token": "t"}), make_default=name == "first")
    assert reached(Options()) == "http://127.0.0.1:3"

    for name, value in {"CDF_URL": "http://127.0.0.1:5", "CDF_PROJECT": "plant", "CDF_TOKEN": "t"}.items():
        monkeypatch.setenv(name, value)
    assert reached(Options()) == "http://127.0.0.1:5"

    assert reached(Options(profile="second")) == "http://127.0.0.1:4"
    assert reached(Options(profile="second", data_dir=service(tmp_path / "given", 6))) == "http://127.0.0.1:6"


def test_the_file_of_a_service_becomes_a_profile(tmp_path: Path) -> None:
    profile = connection.profile_of(connection.access_file(service(tmp_path / "data", 1)))

    assert profile == Profile(
        base_url="http://127.0.0.1:1",
        project="plant",
        credentials={
            "client_credentials": {
                "token_url": "http://127.0.0.1:1/oauth2/token",
                "client_id": "me",
                "client_secret": "hunter2",
                "scopes": ["kvern"],
            }
        },
    )


@pytest.mark.parametrize("content", ["{", "[]", '{"baseUrl": "http://x"}', '{"baseUrl": 1}'])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / "client.json").write_text(content)

    with pytest.raises(Complaint, match="start the service again, which writes it anew"):
        reached(Options(data_dir=tmp_path))


def test_a_folder_without_a_service_is_named_with_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(Complaint, match=r"kvern serve --data-dir .*/nothing"):
        reached(Options(data_dir=tmp_path / "nothing"))


def test_an_unknown_profile_is_refused_with_how_to_make_it() -> None:
    with pytest.raises(Complaint, match=r"no profile 'plant' .* kvern login --profile plant"):
        reached(Options(profile="plant"))


def test_a_variable_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDF_URL", "http://127.0.0.1:1")

    with pytest.raises(Complaint, match="CDF_PROJECT"):
        reached(Options())
