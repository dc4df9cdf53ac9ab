"""Which certificates are believed, and which are shown: those of uv, of all programs, of pip."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from kvern.build.operator.found import Operator
from kvern.build.operator.pip import Setting
from kvern.build.operator.places import expanded, why_unreadable


def take_certificates(found: Operator, environ: Mapping[str, str], pip: Mapping[str, Setting]) -> None:
    """Add the certificates to the environment of uv, as absolute paths: uv starts in another folder.

    A file that a setting for all programs names and that is not there is left out, as these programs do; pip's own must
    be there, as for pip.
    """
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT"):
        if environ.get(name):
            _add(found, name, environ[name], name, is_needed=False)
    if "SSL_CERT_FILE" not in found.env:
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            if environ.get(name):
                _add(found, _kind(environ[name]), environ[name], name, is_needed=False)
                break
    for option, name in (("cert", "SSL_CERT_FILE"), ("client-cert", "SSL_CLIENT_CERT")):
        if option in pip and name not in found.env:
            value = str(expanded(pip[option].value.strip()))
            kind = _kind(value) if option == "cert" else name
            _add(found, kind, value, pip[option].where, is_needed=True)


def _kind(value: str) -> str:
    return "SSL_CERT_DIR" if Path(value).is_dir() else "SSL_CERT_FILE"


def _add(found: Operator, name: str, value: str, where: str, *, is_needed: bool) -> None:
    kept: list[Path] = []
    for part in value.split(os.pathsep) if name == "SSL_CERT_DIR" else [value]:
        path = Path(part).absolute()
        reason = why_unreadable(path)
        if not reason:
            kept.append(path)
        elif is_needed or not reason.endswith("is not there"):
            found.refuse(where, f"{reason}; name a file of certificates that the service can read")
        else:
            found.remark(where, f"{reason}; it is left out")
    if kept:
        found.env[name] = os.pathsep.join(map(str, kept))
        found.files += kept
