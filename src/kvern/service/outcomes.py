"""How a call ended, as it is kept: the status that follows from the verdict, and what may be shown (contract 11.4)."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec

from kvern.engine import Outcome, Verdict

_STATUS = {Verdict.RETURNED: "Completed", Verdict.TIMED_OUT: "Timeout"}


def status_of(verdict: Verdict) -> str:
    """The contract's word for a verdict; most of them are Failed."""
    return _STATUS.get(verdict, "Failed")


def checked(outcome: Outcome) -> Outcome:
    """An outcome that can be kept and shown: JSON, and UTF-8.

    A worker that was taken over by its handler may answer anything.
    """
    if outcome.verdict is not Verdict.RETURNED:
        return replace(outcome, message=_clean(outcome.message), trace=_clean(outcome.trace))
    if _is_json(outcome.response or b""):
        return outcome
    return Outcome(Verdict.UNUSABLE, message="Expected JSON as the response, and the worker sent something else")


def _is_json(text: bytes) -> bool:
    try:
        text.decode()
        msgspec.json.decode(text, type=msgspec.Raw)
    except (UnicodeDecodeError, RecursionError):
        return False
    except msgspec.DecodeError:  # it does not read the escapes of lone surrogates, which JSON may have (RFC 8259 8.2)
        try:
            json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            return False
    return True


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _clean(text: str) -> str:
    return text.encode(errors="replace").decode()


def end_row(call_id: int, status: str, verdict: Verdict, moment: int) -> dict[str, object]:
    """The row of `store.calls.END` for an end at `moment` (ms since the epoch), without error and response."""
    return {
        "call": call_id,
        "to_status": status,
        "to_verdict": verdict.value,
        "to_end_time": moment,
        "to_error_message": None,
        "to_error_trace": None,
        "to_response": None,
    }
