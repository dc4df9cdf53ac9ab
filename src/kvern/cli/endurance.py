"""What a function bears: retries and the soft deadline, given with `kvern deploy` or kept from what it replaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from kvern.cli.complaint import Complaint

if TYPE_CHECKING:
    from kvern.client import CogniteClient
    from kvern.client.data_classes.functions import Function

_GROUP = Group("Retries and deadline", sort_key=0)


@Parameter(name="*")
@dataclass(frozen=True)
class Endurance:
    """Flags of `kvern deploy` which the official SDK has no words for."""

    attempts: Annotated[int | None, Parameter(group=_GROUP)] = None
    """How often a call that fails is run, the first time included; 0 declares no retries."""

    retry_delay: Annotated[float | None, Parameter(group=_GROUP)] = None
    """Seconds between the first attempt and the second."""

    retry_factor: Annotated[float | None, Parameter(group=_GROUP)] = None
    """By which each further delay is longer than the one before."""

    retry_max_delay: Annotated[float | None, Parameter(group=_GROUP)] = None
    """Seconds that no delay exceeds."""

    retry_jitter: Annotated[float | None, Parameter(group=_GROUP)] = None
    """Share of each delay, 0 to 1, up to which it is shortened at random."""

    retry_on: Annotated[tuple[str, ...], Parameter(group=_GROUP)] = ()
    """Verdict after which there is another attempt, such as "timed out"; again for more."""

    soft_deadline: Annotated[float | None, Parameter(group=_GROUP)] = None
    """Seconds before the time limit at which `handle` is told to come to an end; 0 for no soft deadline."""

    def over(self, kept: dict[str, Any]) -> dict[str, Any]:
        """`retries` and `softDeadlineSeconds` as `POST /functions` takes them; those that there are.

        Args:
            kept: what the function has that is replaced.

        Raises:
            Complaint: for a flag about retries where there are none.
        """
        wanted = dict(kept)
        told = {
            "attempts": self.attempts,
            "delaySeconds": self.retry_delay,
            "factor": self.retry_factor,
            "maxDelaySeconds": self.retry_max_delay,
            "jitter": self.retry_jitter,
            "on": list(self.retry_on) or None,
        }
        given = {key: value for key, value in told.items() if value is not None}
        if given:
            wanted["retries"] = {**wanted.get("retries", {}), **given}
            if "attempts" not in wanted["retries"] or (self.attempts == 0 and len(given) > 1):
                raise Complaint("flags that begin with --retry- need --attempts of 1 or more", exit_code=2)
        if self.attempts == 0:
            del wanted["retries"]
        if self.soft_deadline is not None:
            wanted["softDeadlineSeconds"] = self.soft_deadline
        if self.soft_deadline == 0:
            del wanted["softDeadlineSeconds"]
        return wanted


NONE = Endurance()


def create(client: CogniteClient, bears: dict[str, Any], **settings: Any) -> Function:
    """Make a function with what `over` gave; the settings are those of the official SDK."""
    from kvern.client.data_classes.functions import Function, FunctionWrite

    item = {**FunctionWrite(**settings).dump(), **bears}
    return Function.load(client.post("/functions", {"items": [item]}).json()["items"][0])


def of_function(client: CogniteClient, function_id: int) -> dict[str, Any]:
    """What a function has of it, with the names of the API."""
    shown = client.get(f"/functions/{function_id}").json()
    return {key: shown[key] for key in ("retries", "softDeadlineSeconds") if shown.get(key) is not None}
