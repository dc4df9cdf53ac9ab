"""Where one build may take packages from: the function's indexes, its `requirements.txt`, the operator's settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from kvern.build.errors import RequirementsError, SettingsError
from kvern.build.logins import hosts_in, logins_for
from kvern.build.operator.places import named
from kvern.build.operator.settings import operator_settings
from kvern.build.requirements import BUNDLE_URL, Requirements, index
from kvern.build.urls import Scrubber, without_login

STRATEGY = "unsafe-first-match"
"""Which index wins when the operator has not said: the first that has a version that fits, further ones after it.

pip takes the best version of all indexes, so that whoever puts a package of a company's internal name and a high
version on the public index has it installed. uv takes only what the first index has, so that one old copy of a package
on an extra index hides all others, and bundles that work elsewhere fail. This one gives an internal name to the
internal index, and finds all that pip finds.
"""

_PUBLIC = ("pypi.org", "pypi.python.org", "test.pypi.org", "files.pythonhosted.org", "download.pytorch.org")
_UVS_OWN = "https://pypi.org/simple"


@dataclass(frozen=True, slots=True)
class Sources:
    """What uv is told, beside what to install.

    Args:
        env: its environment whenever it runs: network, certificates, indexes; holds credentials.
        no_index: whether only links and direct URLs may be used.
        files: what of the machine it must be able to read.
        netrc: the content of its netrc file; holds credentials. Empty for none.
        scrub: takes all these credentials out of text.
        deciding: its arguments for what decides versions, when it resolves.
        deciding_lines: lines of files for such arguments, by option.
        no_binary, only_binary: packages that must, or must not, be built from source, if the operator says so.
        keyring_env: the environment of the operator's keyring, when uv may ask that; only outside of a box.
        no_cache: whether nothing may be kept for the next build.
        cache_dir: where uv's settings have its cache.
        forgiven: by index, the HTTP status codes that the operator takes for "not there".
    """

    env: Mapping[str, str]
    no_index: bool
    files: Sequence[Path]
    netrc: str
    scrub: Scrubber
    deciding: Sequence[str] = ()
    deciding_lines: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    no_binary: Sequence[str] = ()
    only_binary: Sequence[str] = ()
    keyring_env: Mapping[str, str] = field(default_factory=dict[str, str])
    no_cache: bool = False
    cache_dir: Path | None = None
    forgiven: Mapping[str, set[int]] = field(default_factory=dict[str, "set[int]"])

    @property
    def index_words(self) -> list[str]:
        """All indexes, as `url` or `name=url` with credentials, in the order in which uv asks them; not uv's own."""
        if self.no_index:
            return []
        words = [*self.env.get("UV_INDEX", "").split(), self.env.get("UV_DEFAULT_INDEX", "")]
        return [word for word in words if word]

    def digest(self, salt: bytes) -> str:
        """A name for these sources that does not give away the credentials in them.

        Of files that decide something the content counts, not where they lie.

        Args:
            salt: secret; 16 to 64 bytes.
        """
        paths = {str(path) for path in self.files}
        text = json.dumps(
            [
                sorted((name, value) for name, value in self.env.items() if value not in paths),
                self.no_index,
                self.netrc,
                [word for word in self.deciding if word not in paths],
                sorted((option, list(lines)) for option, lines in self.deciding_lines.items()),
                [list(self.no_binary), list(self.only_binary)],
                sorted(_content(path) for path in set(self.files)),
            ]
        )
        return hashlib.blake2b(text.encode(), key=salt, digest_size=20).hexdigest()


def sources(
    requirements: Requirements,
    index_url: str | None,
    extra_index_urls: Sequence[str],
    environ: Mapping[str, str],
) -> Sources:
    """Put the sources together (contract 11.2).

    The index of `requirements.txt` goes before the function's `indexUrl`, that before the operator's. Further indexes,
    link pages and trusted hosts add up. Unless the operator has chosen otherwise, indexes that everybody may publish on
    are asked last: see `STRATEGY`.

    Args:
        requirements: what the bundle asks for.
        index_url, extra_index_urls: the function's, credentials included.
        environ: the server's environment.

    Raises:
        RequirementsError: an index of the function is no http or https URL.
        SettingsError: a setting of the operator cannot be read or understood.
    """
    operator = operator_settings(environ)
    if operator.problems:
        raise SettingsError(
            f"The package settings of this server cannot be used: {'; '.join(map(str, operator.problems[:3]))}."
        )
    if index_url:
        index(index_url, "indexUrl")
    for url in extra_index_urls:
        index(url, "extraIndexUrls")
    default = requirements.index_url or index_url or operator.index_url
    indexes = [*requirements.extra_index_urls, *extra_index_urls, *operator.indexes]
    links = [*requirements.find_links, *operator.find_links]
    env = dict(operator.env)
    env["UV_INDEX_STRATEGY"] = operator.strategy or STRATEGY
    if operator.strategy is None and indexes:
        *indexes, default = sorted([*indexes, default or _UVS_OWN], key=is_public)
    if default:
        env["UV_DEFAULT_INDEX"] = default
    hosts = [*requirements.trusted_hosts, *operator.trusted_hosts]
    for name, separator, values in (
        ("UV_INDEX", " ", indexes),
        ("UV_FIND_LINKS", ",", links),
        ("UV_INSECURE_HOST", " ", hosts),
    ):
        if values:
            env[name] = _joined(values, separator, name)
    netrc = "".join(login.netrc for login in requirements.logins)
    logins = list(requirements.logins)
    if operator.netrc:
        own = hosts_in(
            [
                operator.index_url or "",
                *operator.indexes,
                *operator.find_links,
                *(place for places in operator.deciding_files.values() for place in places),
                *(line for lines in operator.deciding_lines.values() for line in lines),
            ]
        )
        asked = own | hosts_in([default or "", *indexes, *links, *requirements.lines, *requirements.constraints])
        found = logins_for(operator.netrc, asked, own)
        logins += found
        try:
            netrc += "".join(login.netrc for login in found)
        except ValueError as error:
            raise SettingsError(f"A login of {operator.netrc} cannot be used: {error}.") from None
    deciding = list(operator.deciding)
    for option, places in operator.deciding_files.items():
        for place in places:
            # Any user of the machine can read the arguments of a command.
            bare, login = without_login(place) if "://" in place else (place, None)
            deciding += [option, bare]
            try:
                netrc += login.netrc if login else ""
            except ValueError as error:
                raise SettingsError(f"The login of {option} {bare} cannot be used: {error}.") from None
            logins += [login] if login else []
    return Sources(
        env=env,
        no_index=operator.no_index or requirements.no_index,
        files=operator.files,
        netrc=netrc,
        scrub=Scrubber(
            [url for url in (default, *indexes, *links, *operator.urls) if url and not url.startswith(BUNDLE_URL)],
            [*operator.secrets, *(login.password or login.user for login in logins)],
        ),
        deciding=deciding,
        deciding_lines=operator.deciding_lines,
        no_binary=operator.no_binary,
        only_binary=operator.only_binary,
        keyring_env=operator.keyring_env if operator.keyring else {},
        no_cache=operator.no_cache,
        cache_dir=operator.cache_dir,
        forgiven=operator.forgiven,
    )


def is_public(word: str) -> bool:
    """Whether everybody may publish packages on an index."""
    host = urlsplit(named(word)[1]).hostname or ""
    return host in _PUBLIC or host.endswith((".pypi.org", ".pytorch.org"))


def _content(path: Path) -> str:
    """The hash of a file's content; of a folder its name, since what packages it holds is asked of it each time."""
    try:
        if path.is_file():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        pass
    return str(path)


def _joined(values: Sequence[str], separator: str, name: str) -> str:
    """`values` in the form of a list, from which uv must get the same values back.

    Raises:
        RequirementsError: it would not. Each value was checked where it was read, so this is a second lock on the door.
    """
    joined = separator.join(values)
    words = joined.split() if separator == " " else joined.split(separator)
    if words != list(values):
        raise RequirementsError(f"An index, a page of links or a host is not one word, as {name} must have it.")
    return joined
