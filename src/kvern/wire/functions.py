"""Functions (contract 3)."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from kvern.wire.base import (
    LIST_DEFAULT,
    Body,
    ByIdOrExternalId,
    ExternalId,
    Id,
    ListLimit,
    Milliseconds,
    Pairs,
    Prefix,
    Text,
    TimeRange,
)

Status: TypeAlias = Literal["Queued", "Deploying", "Ready", "Failed"]

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=140)]
Description: TypeAlias = Annotated[str, Meta(max_length=500)]
Metadata: TypeAlias = Annotated[
    dict[Annotated[str, Meta(max_length=32)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
]
FunctionPath: TypeAlias = Annotated[str, Meta(min_length=1, max_length=500)]
FUNCTION_PATH = "handler.py"
"""Where `handle` is when nothing else is said."""

_SECRET_KEY = re.compile(r"[a-z0-9-]{1,15}")
_SECRET_KEYS_RESERVED = frozenset({"token", "indexUrl", "extraIndexUrls"})
_SECRET_BYTES = 25_000
_ENV_MOST = 100_000
"""Letters of a value: Linux passes on no longer ones than 128 KiB, name included."""

_ENV_KEY = re.compile(r"[A-Za-z0-9_]+")
_METADATA_BYTES = 4096


Retried: TypeAlias = Literal["raised", "unusable", "not loaded", "timed out", "out of memory", "crashed", "interrupted"]
"""Verdicts after which there may be another attempt."""


class Retries(Body, omit_defaults=False):
    """When a call is tried again. An addition to the contract; without it, a call is never run twice.

    Args:
        attempts: how many there may be, the first included.
        delay_seconds: between the first attempt and the second.
        factor: by which each further delay is longer than the one before.
        max_delay_seconds: no delay is longer.
        jitter: up to this share of each delay is left out, at random.
        on: the verdicts after which there is another attempt.
    """

    attempts: Annotated[int, Meta(ge=1, le=100)]
    delay_seconds: Annotated[float, Meta(ge=0, le=86_400)] = 1.0
    factor: Annotated[float, Meta(ge=1, le=100)] = 2.0
    max_delay_seconds: Annotated[float, Meta(ge=0, le=86_400)] = 300.0
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.5
    on: Annotated[list[Retried], Meta(min_length=1, max_length=7)] = msgspec.field(
        default_factory=lambda: ["raised", "timed out", "out of memory", "crashed"]
    )


SoftDeadline: TypeAlias = Annotated[float, Meta(gt=0, le=86_400)]


class FunctionOptions(Body):
    """What a function may ask for beyond the contract.

    Args:
        retries: when its calls are tried again.
        soft_deadline_seconds: so long before the time limit `handle` is told to come to an end.
    """

    retries: Retries | None = None
    soft_deadline_seconds: SoftDeadline | None = None


class FunctionWrite(Body):
    """What `POST /functions` takes, one at a time (contract 3.1, 3.2). The last two are additions to the contract."""

    name: Name
    file_id: Id
    external_id: ExternalId | None = None
    owner: Annotated[str, Meta(max_length=128)] | None = None
    description: Description | None = None
    metadata: Metadata | None = None
    secrets: Annotated[dict[str, Annotated[str, Meta(max_length=_SECRET_BYTES)]], Meta(max_length=30)] | None = None
    function_path: FunctionPath | None = FUNCTION_PATH
    env_vars: Annotated[dict[str, Annotated[str, Meta(max_length=_ENV_MOST)]], Meta(max_length=100)] | None = None
    cpu: float | None = None
    memory: float | None = None
    runtime: Text | None = None
    index_url: Annotated[str, Meta(max_length=2048)] | None = None
    extra_index_urls: Annotated[list[Annotated[str, Meta(max_length=2048)]], Meta(max_length=20)] | None = None
    retries: Retries | None = None
    soft_deadline_seconds: SoftDeadline | None = None

    def __post_init__(self) -> None:
        for key, value in (self.secrets or {}).items():
            if key in _SECRET_KEYS_RESERVED:
                raise ValueError(f"Expected other secret keys than {sorted(_SECRET_KEYS_RESERVED)}, given `{key}`")
            if not _SECRET_KEY.fullmatch(key):
                raise ValueError(
                    f"Expected secret keys of 1 to 15 lower-case letters, digits and hyphens, given {_shown(key)}"
                )
            if len(key.encode()) + len(value.encode()) > _SECRET_BYTES:
                raise ValueError(f"Expected at most {_SECRET_BYTES} bytes in a secret, `{key}` has more")
        for key, value in (self.env_vars or {}).items():
            if not _ENV_KEY.fullmatch(key):
                raise ValueError(
                    f"Expected names of environment variables of letters, digits and underscores, given {_shown(key)}"
                )
            if "\0" in value:
                raise ValueError(f"Expected no NUL character in an environment variable, `{key}` has one")
        size = sum(len(k.encode()) + len(v.encode()) for k, v in (self.metadata or {}).items())
        if size > _METADATA_BYTES:
            raise ValueError(f"Expected at most {_METADATA_BYTES} bytes of metadata, given {size}")


def _shown(text: str) -> str:
    return f"`{text[:40]}…`" if len(text) > 40 else f"`{text}`"


class FunctionWrites(Body):
    items: Annotated[list[FunctionWrite], Meta(min_length=1, max_length=1)]


class FunctionError(Body, omit_defaults=False):
    """Why a deployment failed. Both are always strings: a client refuses null and a missing key (contract 3.1)."""

    message: str
    trace: str


class Function(Body):
    """What the API shows of a function; secrets are masked, indexes never shown (contract 3.1).

    The last two are additions to the contract, there only when they were given.
    """

    id: Id
    created_time: Milliseconds
    name: str
    status: Status
    file_id: Id
    function_path: str
    cpu: float
    memory: float
    runtime: str
    external_id: str | None = None
    owner: str | None = None
    description: str | None = None
    metadata: dict[str, str] | None = None
    secrets: dict[str, str] | None = None
    env_vars: dict[str, str] | None = None
    runtime_version: str | None = None
    error: FunctionError | None = None
    last_called: Milliseconds | None = None
    retries: Retries | None = None
    soft_deadline_seconds: float | None = None


class FunctionFilter(Body):
    """All given keys must hold (contract 3.4)."""

    name: Text | None = None
    owner: Text | None = None
    file_id: Id | None = None
    status: Status | None = None
    external_id_prefix: Prefix | None = None
    created_time: TimeRange | None = None
    metadata: Pairs | None = None


class FunctionQuery(Body):
    filter: FunctionFilter | None = None
    limit: ListLimit | None = LIST_DEFAULT


class FunctionIds(Body):
    items: Annotated[list[ByIdOrExternalId], Meta(min_length=1, max_length=10)]
    ignore_unknown_ids: bool | None = False


class Range(Body):
    min: float
    max: float
    default: float


class Limits(Body):
    """What a function may ask for (contract 3.9)."""

    timeout_minutes: int
    cpu_cores: Range
    memory_gb: Range
    runtimes: list[str]
    response_size_mb: int


class Activation(Body):
    """A service that people run themselves is always active (contract 3.8)."""

    status: Literal["inactive", "requested", "activated"]


def missing_function(item: ByIdOrExternalId) -> dict[str, Any]:
    """An unknown identifier; an external id under both spellings that clients read (contract 3.6)."""
    if item.external_id is None:
        return {"id": item.id}
    return {"externalId": item.external_id, "external_id": item.external_id}
