"""Why a call ended, in a verdict and in words: from what a worker answered, or from how it died."""

from __future__ import annotations

from kvern.host import processes
from kvern.host.call import Outcome, Verdict
from kvern.host.limits import Seat, megabytes
from kvern.runner import frames

LOST = "the worker lost its connection to the service: did handle close descriptors that are not its own?"

_ANSWERED = {
    frames.RAISED: Verdict.RAISED,
    frames.UNUSABLE: Verdict.UNUSABLE,
    frames.NO_MEMORY: Verdict.OUT_OF_MEMORY,
}

_FIGURED = frozenset({Verdict.TIMED_OUT, Verdict.OUT_OF_MEMORY, Verdict.CRASHED})
"""Ends of which one wants to know what the call had used."""


def of_answer(seat: Seat, frame: frames.Frame) -> Outcome:
    """From an answer that is no response."""
    message, trace = words(frame)
    verdict = _ANSWERED[frame.kind]
    if frame.kind == frames.NO_MEMORY:
        message = f"{message}: {seat.memory_words()}"
    elif seat.out_of_memory():
        verdict = Verdict.OUT_OF_MEMORY
        message += f" (a process of the call was killed, it needed too much memory: {seat.memory_words()})"
    if seat.out_of_pids():
        message += f" (the call had reached its limit of {seat.pids} processes and threads)"
    return Outcome(verdict, message=message, trace=trace)


def of_death(seat: Seat, code: int | None, reason: str) -> tuple[Verdict, str]:
    """From the death of a worker that was not sentenced: its exit status or minus its signal; None, and why, when the
    whole box died.
    """
    if seat.out_of_memory():
        return Verdict.OUT_OF_MEMORY, f"the call needed too much memory: {seat.memory_words()}"
    if code is None:
        return Verdict.CRASHED, f"the processes of the function died: {reason}"
    if code == frames.LOST:
        return Verdict.CRASHED, LOST
    if code >= 0:
        return Verdict.CRASHED, f"the worker ended by os._exit({code})"
    return Verdict.CRASHED, f"the worker {processes.ending(code)}"


def crowding(seat: Seat, verdict: Verdict) -> str:
    """What to add for a worker that died at its limit of processes; empty when it did not."""
    if verdict is Verdict.TIMED_OUT or not seat.out_of_pids():
        return ""
    return f" (it had reached its limit of {seat.pids} processes and threads)"


def figures(verdict: Verdict, cpu: float, peak: int) -> str:
    """What to add of what a call had used, in CPU seconds and bytes; empty where nobody asks."""
    return f" (CPU time {cpu:.2f} s, peak memory {megabytes(peak)})" if verdict in _FIGURED else ""


def words(frame: frames.Frame) -> tuple[str, str]:
    """The message and the traceback of an answer."""
    return str(frame.meta.get("message", "")), str(frame.meta.get("trace", ""))
