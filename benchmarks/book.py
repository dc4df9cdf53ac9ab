"""The figures of one run: rows by part, the targets that they meet, JSON and the table at the end."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness import Run, quantile
from targets import TARGETS, Target

_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
_NAME = 46


@dataclass
class Row:
    """One line: seconds by quantile, calls per second, and both as multiples of a baseline's."""

    part: str
    name: str
    count: int
    quantiles: dict[str, float]
    rate: float | None = None
    baseline: str | None = None
    ratio: float | None = None
    rate_ratio: float | None = None
    rounds: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    """p50 and rate of each run, when there were several."""


@dataclass
class Met:
    """What was measured for a target."""

    measured: float
    baseline: float | None
    ratio: float | None


@dataclass
class Book:
    """Takes figures, prints each as it comes."""

    rows: list[Row] = field(default_factory=list[Row])
    values: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    met: dict[str, Met] = field(default_factory=dict[str, Met])
    troubles: dict[str, str] = field(default_factory=dict[str, str])
    part: str = ""

    def begin(self, part: str, title: str) -> None:
        self.part = part
        print(f"\n{title}", flush=True)

    def head(self) -> None:
        """The columns of `times`."""
        names = "".join(f"{name:>12}" for name in _SHARES)
        print(f"{'':<{_NAME}}{names}{'calls/s':>10}{'p50 to base':>13}{'rate to base':>14}", flush=True)

    def times(
        self,
        name: str,
        seconds: Sequence[float],
        rate: float | None = None,
        base: Row | None = None,
        rounds: Sequence[Run] = (),
    ) -> Row:
        """A row of seconds; the baseline is a row of this run.

        Where both have as many rounds, which took turns, a ratio is the middle one of those of the rounds: what else
        the machine does then meets both.
        """
        quantiles = {share: quantile(seconds, part) for share, part in _SHARES.items()}
        row = Row(self.part, name, len(seconds), quantiles, rate)
        row.rounds = [(quantile(run.took, 0.5), run.rate) for run in rounds]
        if base is not None:
            row.baseline, row.ratio = base.name, quantiles["p50"] / base.quantiles["p50"]
            if rate and base.rate:
                row.rate_ratio = rate / base.rate
            if row.rounds and len(row.rounds) == len(base.rounds):
                pairs = list(zip(row.rounds, base.rounds, strict=True))
                row.ratio = quantile([ours[0] / theirs[0] for ours, theirs in pairs], 0.5)
                row.rate_ratio = quantile([ours[1] / theirs[1] for ours, theirs in pairs], 0.5)
        self.rows.append(row)
        figures = "".join(f"{quantiles[share] * 1e3:>9.2f} ms" for share in _SHARES)
        shown = f"{row.rate:>10.0f}" if row.rate else " " * 10
        shown += f"{row.ratio:>11.2f} x" if row.ratio else " " * 13
        shown += f"{row.rate_ratio:>12.2f} x" if row.rate_ratio else ""
        print(f"{name:<{_NAME}}{figures}{shown}".rstrip(), flush=True)
        return row

    def runs(self, name: str, runs: Sequence[Run], base: Row | None = None) -> Row:
        """A row of several runs: their calls together, and the middle one of their rates."""
        seconds = [s for run in runs for s in run.took]
        return self.times(name, seconds, quantile([run.rate for run in runs], 0.5), base, runs)

    def value(self, name: str, value: float, unit: str, base: float | None = None) -> None:
        """One figure, not a time of many."""
        ratio = value / base if base else None
        self.values.append({"part": self.part, "name": name, "value": value, "unit": unit, "ratio": ratio})
        shown = f"{value:>12,.1f} {unit}" + (f"{ratio:>14.2f} x" if ratio else "")
        print(f"{name:<{_NAME}}{shown}", flush=True)

    def meet(self, target: str, measured: float, baseline: float | None = None, ratio: float | None = None) -> None:
        """What was measured for a target of `targets.py`, in its unit; the ratio, when it is not that of the two."""
        if target not in TARGETS:
            raise KeyError(target)
        self.met[target] = Met(measured, baseline, ratio or (measured / baseline if baseline else None))

    def trouble(self, part: str, error: BaseException) -> None:
        """A part, or one peer of it, that could not be measured."""
        told = " ".join(str(error).split())[-300:] or type(error).__name__
        self.troubles[part] = told
        print(f"{part}: not measured: {told}", flush=True)

    def table(self, parts: Sequence[str]) -> None:
        """The targets of the parts that ran."""
        print(f"\n{datetime.datetime.now(tz=datetime.timezone.utc):%Y-%m-%d}, {os.cpu_count()} cores", end="")
        print(f"\n{'target':<58}{'measured':>14}{'baseline':>14}{'ratio':>9}{'wanted':>12}")
        for key, target in TARGETS.items():
            if target.part in parts:
                print(f"{target.name:<58}{self._verdict(key, target)}")
        for part, told in self.troubles.items():
            print(f"not measured: {part}: {told}")

    def _verdict(self, key: str, target: Target) -> str:
        met = self.met.get(key)
        if met is None:
            return f"{'not measured':>14}"
        figure = f"{met.measured:>10.2f} {target.unit:<3}"
        figure += f"{met.baseline:>10.2f} {target.unit:<3}" if met.baseline is not None else " " * 14
        figure += f"{met.ratio:>8.3f}x" if met.ratio is not None else " " * 9
        return f"{figure}{target.wanted():>12}  {'met' if self._is_met(target, met) else 'NOT met'}"

    @staticmethod
    def _is_met(target: Target, met: Met) -> bool:
        figure = met.measured if target.absolute else met.ratio
        return figure is not None and (figure <= target.limit if target.at_most else figure >= target.limit)

    def keep(self, folder: Path) -> Path:
        """Write it all as JSON; the file."""
        folder.mkdir(parents=True, exist_ok=True)
        now = datetime.datetime.now(tz=datetime.timezone.utc)
        whole = {
            "time": now.isoformat(timespec="seconds"),
            "machine": {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
            "rows": [asdict(row) for row in self.rows],
            "values": self.values,
            "targets": {
                key: {**asdict(TARGETS[key]), **asdict(met), "met": self._is_met(TARGETS[key], met)}
                for key, met in self.met.items()
            },
            "troubles": self.troubles,
        }
        path = folder / f"{now:%Y%m%d-%H%M%S}.json"
        path.write_text(json.dumps(whole, indent=1))
        return path
