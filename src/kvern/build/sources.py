"""Where one build may take packages from: the function's indexes, its `requirements.txt`, the operator's settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kvern.build.operator_settings import operator_settings
from kvern.build.requirements import BUNDLE_URL, Requirements, index
from kvern.build.urls import Scrubber


@dataclass(frozen=True, slots=True)
class Sources:
    """What uv is told, beside what to install.

    Args:
        env: its environment; holds credentials.
        deciding: its arguments for what decides versions, when it resolves.
        no_index: whether only links and direct URLs may be used.
        files: what of the machine it must be able to read.
        netrc: the content of its netrc file; holds credentials. Empty for none.
        scrub: takes all these credentials out of text.
    """

    env: Mapping[str, str]
    deciding: Sequence[str]
    no_index: bool
    files: Sequence[Path]
    netrc: str
    scrub: Scrubber

    def digest(self, salt: bytes) -> str:
        """A name for these sources that does not give away the credentials in them.

        Args:
            salt: secret; 16 to 64 bytes.
        """
        text = json.dumps([sorted(self.env.items()), list(self.deciding), self.no_index, self.netrc])
        return hashlib.blake2b(text.encode(), key=salt, digest_size=20).hexdigest()


def sources(
    requirements: Requirements,
    index_url: str | None,
    extra_index_urls: Sequence[str],
    environ: Mapping[str, str],
) -> Sources:
    """Put the sources together as pip would (contract 11.2).

    The index of `requirements.txt` goes before the function's `indexUrl`, that before the operator's. Further indexes,
    link pages and trusted hosts add up, and the best version of all of them is taken.

    Args:
        requirements: what the bundle asks for.
        index_url, extra_index_urls: the function's, credentials included.
        environ: the server's environment.

    Raises:
        RequirementsError: an index of the function is no http or https URL.
    """
    operator = operator_settings(environ)
    if index_url:
        index(index_url, "indexUrl")
    for url in extra_index_urls:
        index(url, "extraIndexUrls")
    default = requirements.index_url or index_url or operator.index_url
    indexes = [*requirements.extra_index_urls, *extra_index_urls, *operator.indexes]
    links = [*requirements.find_links, *operator.find_links]
    env = dict(operator.env)
    env.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    if default:
        env["UV_DEFAULT_INDEX"] = default
    if indexes:
        env["UV_INDEX"] = " ".join(indexes)
    if links:
        env["UV_FIND_LINKS"] = ",".join(links)
    hosts = [*requirements.trusted_hosts, *operator.trusted_hosts]
    if hosts:
        env["UV_INSECURE_HOST"] = " ".join(hosts)
    netrc = "".join(
        f"machine {login.host} login {login.user} password {login.password}\n" for login in requirements.logins
    )
    if operator.netrc:
        netrc += operator.netrc.read_text(errors="replace")
    return Sources(
        env=env,
        deciding=operator.deciding,
        no_index=operator.no_index or requirements.no_index,
        files=operator.files,
        netrc=netrc,
        scrub=Scrubber(
            [url for url in (default, *indexes, *links, *operator.urls) if url and not url.startswith(BUNDLE_URL)],
            [*operator.secrets, *(login.password or login.user for login in requirements.logins)],
        ),
    )
