"""What old versions of the official SDK can read of capabilities.

A version 7 up to about 7.50 takes the whole answer for broken when one action, capability or scope in it is not in its
own lists. It is told only what means something here and what the first version 7 knew; nothing that it could have
acted on is lost by that. Versions 6 read nothing of capabilities, and later ones keep what they do not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from kvern.wire.capabilities import ACTIONS, Acl

KNOWN = {**ACTIONS, "functionsAcl": ("READ", "WRITE"), "projectsAcl": ("LIST", "READ", "UPDATE")}
"""The actions of 7.0, as far as they mean something here."""

_SDK = re.compile(r"CognitePythonSDK:7\.([0-9]{1,4})\.")
_LENIENT = 60
"""From 7.60 on, tried with it; 7.40 is not."""


def is_strict(client: str) -> bool:
    """Whether a client, by what its `x-cdp-sdk` header says, cannot read what it does not know."""
    found = _SDK.match(client)
    return found is not None and int(found[1]) < _LENIENT


def readable(capabilities: Iterable[Acl]) -> list[Acl]:
    """Capabilities as every version can read them; keys beside a capability, such as `projectScope`, are kept."""
    found: list[Acl] = []
    for acl in capabilities:
        name = next((key for key in acl if key in KNOWN), None)
        if name is None:
            continue
        actions = [action for action in acl[name]["actions"] if action in KNOWN[name]]
        if actions:
            scope = {key.replace("idscope", "idScope"): value for key, value in acl[name]["scope"].items()}
            found.append({**acl, name: {**acl[name], "actions": actions, "scope": scope}})
    return found
