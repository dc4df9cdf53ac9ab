"""Who a token is and what it may do (contract 2, 8)."""

from __future__ import annotations

from typing import Any

import msgspec

from kvern.wire.base import Body, Id


class InspectedProject(Body):
    project_url_name: str
    groups: list[Id]


class Inspection(Body):
    """The answer of `GET /api/v1/token/inspect`; every capability names the projects in which it holds."""

    subject: str
    projects: list[InspectedProject]
    capabilities: list[dict[str, Any]]


class Project(Body):
    name: str
    url_name: str


class Token(msgspec.Struct):
    """What the token endpoint answers (RFC 6749 5.1)."""

    access_token: str
    token_type: str
    expires_in: int


class Health(Body):
    status: str
    version: str
