"""Function Apps: functions that answer in the same request (contract 10)."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from kvern.wire.base import Body, Id

RuntimeStatus: TypeAlias = Literal["Running", "Completed", "Failed", "Timeout"]
"""`Running` only in an answer that did not wait for the end."""


class AppError(Body):
    """Why a call gave no response; clients want a number beside the words."""

    code: int
    message: str


class AppCall(Body):
    """A call of a Function App. `response` is what the app answered, with a status code of its own in it."""

    call_id: Id
    function_id: Id
    runtime_status: RuntimeStatus
    response: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: AppError | None = None
