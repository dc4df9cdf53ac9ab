"""What was found of the operator's settings, in the form in which uv takes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Remark:
    """Something about one setting that the operator should know.

    Args:
        where: the file and key, or the variable, that sets it.
        text: what is wrong with it or what becomes of it, and what to do.
    """

    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


@dataclass(slots=True)
class Operator:
    """The operator's settings. What decides versions is kept apart from what holds whenever uv runs: a lock is
    installed as it is, and uv refuses one whose versions are constrained once more.

    Args:
        index_url: the default index (`url` or `name=url`), None for uv's own.
        indexes: further indexes, as words of `UV_INDEX` (`url` or `name=url`).
        find_links: folders and pages, as URLs.
        trusted_hosts: hosts that need no valid certificate.
        no_index: whether only links and direct URLs may be used.
        env: network, credentials, certificates, as environment of uv.
        strategy: which index wins, when that is set.
        keyring: whether uv may ask `keyring` for logins; then `keyring_env` is what that needs.
        deciding: arguments of uv for what decides versions, other than files.
        deciding_files: the same, by option: paths and URLs of files in the form of requirements.
        deciding_lines: the same, by option: lines of such files.
        no_binary, only_binary: names of packages, or `:all:`, to be built from source, or never.
        no_cache: whether uv must keep nothing for the next build.
        cache_dir: where its cache lies, when that is set.
        files: what uv must be able to read for all that: certificates, constraints, folders of packages.
        netrc: the file with logins, when there is one that can be read.
        secrets: words that must not be shown.
        urls: further URLs that may hold credentials.
        forgiven: by index URL, the HTTP status codes that mean no more than that a package is not there.
        problems: settings with which nothing can be built.
        remarks: settings that are left out, and why.
    """

    index_url: str | None = None
    indexes: list[str] = field(default_factory=list[str])
    find_links: list[str] = field(default_factory=list[str])
    trusted_hosts: list[str] = field(default_factory=list[str])
    no_index: bool = False
    env: dict[str, str] = field(default_factory=dict[str, str])
    strategy: str | None = None
    keyring: bool = False
    keyring_env: dict[str, str] = field(default_factory=dict[str, str])
    deciding: list[str] = field(default_factory=list[str])
    deciding_files: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    deciding_lines: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    no_binary: list[str] = field(default_factory=list[str])
    only_binary: list[str] = field(default_factory=list[str])
    no_cache: bool = False
    cache_dir: Path | None = None
    files: list[Path] = field(default_factory=list[Path])
    netrc: Path | None = None
    secrets: list[str] = field(default_factory=list[str])
    urls: list[str] = field(default_factory=list[str])
    forgiven: dict[str, set[int]] = field(default_factory=dict[str, "set[int]"])
    problems: list[Remark] = field(default_factory=list[Remark])
    remarks: list[Remark] = field(default_factory=list[Remark])

    def refuse(self, where: str, text: str) -> None:
        """Note a setting with which nothing can be built."""
        self.problems.append(Remark(where, text))

    def remark(self, where: str, text: str) -> None:
        """Note a setting that is left out."""
        self.remarks.append(Remark(where, text))
