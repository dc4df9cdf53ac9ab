"""Reading a `requirements.txt`: pip's syntax, and nothing that reaches beyond the bundle (contract 11.2)."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from kvern.build.declared import read
from kvern.build.errors import RequirementsError
from kvern.build.urls import Login


def lay(folder: Path, **files: str) -> Path:
    """Files of a bundle; `__` stands for a dot, `___` for a slash."""
    for name, text in files.items():
        path = folder / name.replace("___", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def lines(folder: Path, text: str) -> list[str]:
    return read(lay(folder, requirements__txt=text)).lines


def test_without_a_file_the_default_package_is_all(tmp_path: Path) -> None:
    assert read(tmp_path).lines == ["cognite-sdk"]


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n   # at all\n"])
def test_an_empty_file(tmp_path: Path, text: str) -> None:
    assert lines(tmp_path, text) == ["cognite-sdk"]


@pytest.mark.parametrize(
    "name", ["Requirements.txt", "requirements.in", "sub/requirements.txt", "requirements-dev.txt"]
)
def test_other_names_are_ignored(tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / name).write_text("pandas")
    assert read(tmp_path).lines == ["cognite-sdk"]


def test_comments_blanks_and_continued_lines(tmp_path: Path) -> None:
    text = "# top\npandas>=2  # the frame\n\nnumpy \\\n  >=1.26,\\\n  <3\r\nscipy\n  six==1.17.0  \n"
    assert lines(tmp_path, text) == [
        "pandas>=2",
        "numpy    >=1.26,   <3",
        "scipy",
        "six==1.17.0",
        "cognite-sdk",
    ]


def test_extras_and_markers_go_through(tmp_path: Path) -> None:
    text = 'requests[socks,security] >= 2 ; python_version < "4" and os_name == "posix"\n'
    assert lines(tmp_path, text)[0] == text.strip()


@pytest.mark.parametrize(
    "text",
    [
        "cognite-sdk==7.0.0",
        "Cognite_SDK[pandas]>=7,<9",
        "cognite.sdk",
        'cognite-sdk ; python_version < "3"',
        "cognite-sdk @ https://example.com/cognite_sdk-7.0.0-py3-none-any.whl",
        "https://example.com/cognite_sdk-7.0.0-py3-none-any.whl",
        "-r more.txt",
    ],
)
def test_the_default_package_is_left_to_a_file_that_names_it(tmp_path: Path, text: str) -> None:
    lay(tmp_path, more__txt="cognite-sdk~=7.0")
    assert "cognite-sdk" not in lines(tmp_path, text)


@pytest.mark.parametrize("text", ["cognite-sdk-experimental", "my-cognite-sdk", "# cognite-sdk", "-c more.txt"])
def test_the_default_package_is_added_to_a_file_that_does_not(tmp_path: Path, text: str) -> None:
    lay(tmp_path, more__txt="cognite-sdk~=7.0")
    assert lines(tmp_path, text)[-1] == "cognite-sdk"


def test_hashes_are_taken_out_and_kept(tmp_path: Path) -> None:
    found = read(lay(tmp_path, requirements__txt="Six==1.17.0 --hash=sha256:AB12 \\\n  --hash=sha256:cd34\n"))
    assert found.lines == ["Six==1.17.0", "cognite-sdk"]
    assert found.hashes == {"six": {"sha256:ab12", "sha256:cd34"}}


def test_included_files_and_constraints(tmp_path: Path) -> None:
    lay(
        tmp_path,
        requirements__txt="-r reqs/base.txt\n--constraint=reqs/limits.txt\nsix\n",
        reqs___base__txt="pandas\n-r more.txt\n-c ../outer.txt\n",
        reqs___more__txt="numpy\n-r base.txt\n",
        reqs___limits__txt="scipy<2\n",
        outer__txt="urllib3<3\n",
    )
    found = read(tmp_path)
    assert found.lines == ["pandas", "numpy", "six", "cognite-sdk"]
    assert found.constraints == ["urllib3<3", "scipy<2"]


def test_index_options(tmp_path: Path) -> None:
    found = read(
        lay(
            tmp_path,
            requirements__txt="-i https://u:p@one.example/simple\n--extra-index-url https://two.example/simple\n"
            "--extra-index-url=http://three.example:81/s\n-f https://four.example/page\n--trusted-host three.example\n"
            "--pre\n--no-index\n--prefer-binary\n--only-binary :all:\n",
        )
    )
    assert found.index_url == "https://u:p@one.example/simple"
    assert found.extra_index_urls == ["https://two.example/simple", "http://three.example:81/s"]
    assert found.find_links == ["https://four.example/page"]
    assert found.trusted_hosts == ["three.example"]
    assert (found.prereleases, found.no_index, found.formats) == (True, True, ["--only-binary=:all:"])
    assert found.needs_source is False


@pytest.mark.parametrize("name", ["wheels/mine-1.0-py3-none-any.whl", "./wheels/mine-1.0-py3-none-any.whl[extra]"])
def test_a_wheel_of_the_bundle(tmp_path: Path, name: str) -> None:
    lay(tmp_path, wheels___mine="")
    (tmp_path / "wheels/mine").rename(tmp_path / "wheels/mine-1.0-py3-none-any.whl")
    found = read(lay(tmp_path, requirements__txt=name))
    extras = "[extra]" if "[" in name else ""
    assert found.lines[0] == f"file:///bundle/wheels/mine-1.0-py3-none-any.whl{extras}"
    assert found.local == {PurePosixPath("wheels/mine-1.0-py3-none-any.whl")}
    assert "mine" in found.names
    assert found.needs_source is False


def test_a_folder_of_wheels_in_the_bundle(tmp_path: Path) -> None:
    lay(tmp_path, wheels___x="", requirements__txt="--find-links ./wheels\nmine\n")
    found = read(tmp_path)
    assert found.find_links == ["file:///bundle/wheels"]
    assert found.local == {PurePosixPath("wheels")}


def test_credentials_in_a_direct_url_are_taken_out(tmp_path: Path) -> None:
    url = "https://user:p%40ss@host.example:8443/mine-1.0-py3-none-any.whl#sha256=ab"
    found = read(lay(tmp_path, requirements__txt=f"mine @ {url} ; python_version > '3'\n"))
    assert (
        found.lines[0] == "mine @ https://host.example:8443/mine-1.0-py3-none-any.whl#sha256=ab ; python_version > '3'"
    )
    assert found.logins == [Login("host.example", "user", "p@ss")]


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("six", False),
        ("mine @ https://example.com/mine-1.0.tar.gz", True),
        ("git+https://example.com/mine.git@v1", True),
        ("mine @ git+https://example.com/mine.git", True),
        ("mine-1.0.tar.gz", True),
        ("six --hash=sha256:ab\n--no-binary six", True),
        ("--no-binary :none:", False),
    ],
)
def test_what_can_only_be_built(tmp_path: Path, text: str, needs: bool) -> None:
    (tmp_path / "mine-1.0.tar.gz").touch()
    assert read(lay(tmp_path, requirements__txt=text)).needs_source is needs


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("-e .", "editable"),
        ("--editable=./src", "editable"),
        (".", "is a folder"),
        ("./src", "is a folder"),
        ("src/", "is a folder"),
        ("mine @ ./src", "is a folder"),
        ("../other.whl", "not within the zip"),
        ("src/../../other.whl", "not within the zip"),
        ("/etc/other.whl", "not within the zip"),
        ("~/other.whl", "not within the zip"),
        ("src\\other.whl/x", "not within the zip"),
        ("%2e%2e/other.whl", "not within the zip"),
        ("missing-1.0-py3-none-any.whl", "no file 'missing-1.0-py3-none-any.whl' in the zip"),
        ("./src/code.py", "not an archive"),
        ("file:///etc/passwd", "of the kind file://"),
        ("mine @ file:///srv/mine-1.0-py3-none-any.whl", "of the kind file://"),
        ("mine @ file:mine.whl", "file: URLs"),
        ("git+file:///srv/repository", "of the kind git+file://"),
        ("ssh://host/x", "of the kind ssh://"),
        ("-r ../more.txt", "not within the zip"),
        ("-r /etc/passwd", "not within the zip"),
        ("-r https://example.com/r.txt", "URLs are not allowed here"),
        ("-r file:///etc/passwd", "URLs are not allowed here"),
        ("-r missing.txt", "no file 'missing.txt' in the zip"),
        ("-c ../more.txt", "not within the zip"),
        ("-f /srv/wheels", "not within the zip"),
        ("-f file:///srv/wheels", "URLs are not allowed here"),
        ("-f missing", "no folder 'missing'"),
        ("-i file:///srv/simple", "http:// or https://"),
        ("-i /srv/simple", "http:// or https://"),
        ("--extra-index-url ftp://example.com", "http:// or https://"),
        ("six==${HOME}", "${HOME} are not filled in"),
        ("-i https://${TOKEN}@example.com/simple", "${TOKEN} are not filled in"),
        ("--config-settings=a=b", "option --config-settings is not known"),
        ("--log /etc/cron.d/x", "option --log is not known"),
        ("-i", "lacks its value"),
        ("-r 'more.txt", "cannot be read"),
        ("six --global-option=x", "--global-option is not known"),
        ("six --config-settings x=y", "--config-settings is not known"),
        ("!!", "is not a requirement"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    lay(tmp_path / "code", src___code__py="", requirements__txt=f"six\n{text}\n")
    lay(tmp_path, more__txt="pandas", other__whl="")
    with pytest.raises(RequirementsError) as caught:
        read(tmp_path / "code")
    assert caught.value.message.startswith("requirements.txt, line 2: ")
    assert reason in caught.value.message


def test_a_fault_in_an_included_file_names_that_file(tmp_path: Path) -> None:
    lay(tmp_path, requirements__txt="-r more.txt\n", more__txt="six\n\n-e .\n")
    with pytest.raises(RequirementsError, match=r"^more\.txt, line 3: editable"):
        read(tmp_path)


def test_a_refused_index_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(RequirementsError) as caught:
        lines(tmp_path, "-i ftp://user:hunter22@example.com/simple")
    assert "hunter22" not in caught.value.message


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_that_editors_write(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "requirements.txt").write_bytes("six  # sekstallsystem på norsk\n".encode(encoding))
    assert read(tmp_path).lines == ["six", "cognite-sdk"]


def test_a_coding_line(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_bytes("# -*- coding: latin-1 -*-\nsix  # på\n".encode("latin-1"))
    assert read(tmp_path).lines == ["six", "cognite-sdk"]


@pytest.mark.parametrize("content", [b"\xff\xfes\x00i", b"six # \xe5\n", b"six\x00\n", b"# coding: klingon\nsix\n"])
def test_what_is_not_text(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "requirements.txt").write_bytes(content)
    with pytest.raises(RequirementsError, match=r"^requirements\.txt is not"):
        read(tmp_path)


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("#" * 1_000_001)
    with pytest.raises(RequirementsError, match="at most 1000000 are allowed"):
        read(tmp_path)
