"""`[projects.NAME]` in `kvern.toml`: a mistake is told with the place where it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvern.service.projects import ALGORITHMS, read_projects


def read(tmp_path: Path, text: str) -> object:
    path = tmp_path / "kvern.toml"
    path.write_text(text)
    return read_projects(path, "kvern")


def test_without_a_file_there_is_one_project(tmp_path: Path) -> None:
    assert list(read_projects(tmp_path / "kvern.toml", "plant")) == ["plant"]


def test_projects_their_issuers_and_groups(tmp_path: Path) -> None:
    path = tmp_path / "kvern.toml"
    path.write_text(
        """
        port = 9000

        [[projects.kvern.issuers]]
        issuer = "https://login.example/v2.0"
        audience = ["api://a", "b"]
        groups-claim = "roles"

        [projects.kvern.groups.operators]
        source-id = "7f2c"
        capabilities = ["functions:read,run", { filesAcl = { actions = ["READ"], scope = { all = {} } } }]

        [projects.lab]
        """
    )
    projects = read_projects(path, "kvern")
    assert list(projects) == ["kvern", "lab"]
    (issuer,) = projects["kvern"].issuers
    assert (issuer.audiences, issuer.groups_claim, issuer.algorithms) == (("api://a", "b"), "roles", ALGORITHMS)
    assert [list(acl) for acl in projects["kvern"].groups["operators"].acls()] == [["functionsAcl"], ["filesAcl"]]
    assert projects["lab"].issuers == ()


def test_the_secret_of_kverns_own_client_is_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "kvern.toml"
    path.write_text(ISSUER + 'exchange-client-id = "kvern"\nexchange-secret-file = "/run/secrets/kvern"\n')
    (issuer,) = read_projects(path, "kvern")["lab"].issuers
    assert (issuer.exchange_client_id, issuer.exchange_secret_file) == ("kvern", Path("/run/secrets/kvern"))


ISSUER = '[[projects.lab.issuers]]\nissuer = "https://a.example"\naudience = "x"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("projects = 7", "projects"),
        ("[projects.a]", "3 to 32"),
        ("[projects.lab]\nfoo = 1", "`foo` (at projects.lab)"),
        ("[[projects.lab.issuers]]\nissuer = 'https://a.example'", "`audience` (at projects.lab.issuers[0])"),
        (ISSUER + "algorithms = ['HS256']", "HS256"),
        (ISSUER + "algorithms = ['none']", "none"),
        (ISSUER + "algorithms = []", "algorithms"),
        (ISSUER + "leeway-seconds = 301", "leeway-seconds"),
        (ISSUER + "leeway-seconds = -1", "leeway-seconds"),
        (ISSUER + "jwks-url = 'http://a.example/keys'", "https://"),
        (ISSUER + "jwks-url = 'file:///etc/passwd'", "jwks-url"),
        (ISSUER + "token-url = 'https://u:p@a.example'", "token-url"),
        (ISSUER + "jwks-url = 'https://a.example/k'\ndiscovery-url = 'https://a.example/d'", "both"),
        (ISSUER + "exchange-client-id = 'k'", "exchange-secret-file"),
        (ISSUER + "exchange-client-id = 'k'\nexchange-secret-file = 7", "exchange-secret-file"),
        (ISSUER + "exchange-client-id = 'k'\nexchange-secret-file = ''", "exchange-secret-file"),
        (ISSUER + ISSUER, "twice"),
        (ISSUER + ISSUER.replace("a.example", "b.example"), "group-prefix"),
        (ISSUER.replace("https://a.example", "kvern"), "built-in"),
        (ISSUER.replace("https://a.example", "a.example"), "URL"),
        ("[projects.lab.groups.g]\nsource-id = 's'\ncapabilities = ['functoins:read']", "functoins:read"),
        ("[projects.lab.groups.g]\nsource-id = ''\ncapabilities = ['all']", "source-id"),
        ("[projects.lab.groups.g]\nsource-id = 's'\ncapabilities = []", "capabilities"),
        ("[projects", "cannot be read"),
    ],
)
def test_mistakes_are_told_by_name(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"kvern\.toml") as refusal:
        read(tmp_path, text)
    assert told in str(refusal.value)
