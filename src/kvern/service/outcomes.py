"""How a call ended, as it is kept: the status that follows from the verdict, and what may be shown (contract 11.4)."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec

from kvern.engine import Outcome, Verdict
from kvern.store.attempts import CHUNKS
from kvern.store.calls import CallRecord

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
    why = "Expected JSON as the response, not nested too deeply, and the worker sent something else"
    return replace(outcome, verdict=Verdict.UNUSABLE, response=None, message=why)


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


def end_row(
    call_id: int,
    outcome: Outcome,
    moment: int,
    attempt: int = 1,
    *,
    attempt_time: int | None = None,
    dead: bool = False,
    server: str | None = None,
) -> dict[str, object]:
    """The row of `store.calls.END`.

    Args:
        moment: when it ended, in ms since the epoch.
        attempt_time: when its last attempt started; None for the first.
        dead: whether no attempt is left.
        server: whose call it is.
    """
    completed = outcome.verdict is Verdict.RETURNED
    return {
        "call": call_id,
        "its_server": server,
        "to_status": status_of(outcome.verdict),
        "to_verdict": outcome.verdict.value,
        "to_end_time": moment,
        "to_error_message": None if completed else outcome.message,
        "to_error_trace": None if completed else outcome.trace,
        "to_response": outcome.response if completed else None,
        "to_worker": outcome.worker or None,
        "to_cold": outcome.cold,
        "to_attempt": attempt,
        "to_attempt_time": attempt_time,
        "to_queue_seconds": outcome.queue_seconds,
        "to_run_seconds": outcome.run_seconds,
        "to_cpu_seconds": outcome.cpu_seconds,
        "to_peak_memory": outcome.peak_memory,
        "to_dead_time": moment if dead else None,
    }


def attempt_row(call_id: int, attempt: int, outcome: Outcome, began: int, moment: int) -> dict[str, object]:
    """The row of an attempt after which there is another; it began and ended at these moments (ms since the epoch)."""
    return {
        "call_id": call_id,
        "attempt": attempt,
        "verdict": outcome.verdict.value,
        "start_time": began,
        "end_time": max(moment, began),
        "first_chunk": (attempt - 1) * CHUNKS,
        "error_message": outcome.message,
        "error_trace": outcome.trace,
        "worker": outcome.worker or None,
        "cold": outcome.cold,
        "queue_seconds": outcome.queue_seconds,
        "run_seconds": outcome.run_seconds,
        "cpu_seconds": outcome.cpu_seconds,
        "peak_memory": outcome.peak_memory,
    }


def refused(why: str, moment: int) -> dict[str, object]:
    """What the row of a call that its schedule could not make has beside that of an accepted call."""
    return {
        "status": status_of(Verdict.CANCELLED),
        "verdict": Verdict.CANCELLED.value,
        "end_time": moment,
        "error_message": why,
        "error_trace": "",
    }


def note_end(record: CallRecord, outcome: Outcome, moment: int, attempt: int = 1) -> None:
    """Bring the record of a call up to what `end_row` wrote."""
    completed = outcome.verdict is Verdict.RETURNED
    record.status, record.end_time = status_of(outcome.verdict), moment
    record.verdict = outcome.verdict.value
    record.error_message = None if completed else outcome.message
    record.error_trace = None if completed else outcome.trace
    record.worker = outcome.worker or None
    record.cold, record.attempt = outcome.cold, attempt
    record.queue_seconds, record.run_seconds = outcome.queue_seconds, outcome.run_seconds
    record.cpu_seconds, record.peak_memory = outcome.cpu_seconds, outcome.peak_memory
