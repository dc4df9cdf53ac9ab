"""Plots of a run's JSON, as SVG beside it; runs in the environment of `requirements/tools.txt`.

python plots.py results/20260101-120000.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot

SHARES = ("p50", "p90", "p99", "p99.9")


def latencies(part: str, rows: list[dict[str, Any]], path: Path) -> None:
    """Quantiles of each row of a part, as points on a line."""
    figure, axes = pyplot.subplots(figsize=(9, 1.5 + 0.32 * len(rows)))
    names = [f"{row['name']}  " for row in rows][::-1]
    for share, shade in zip(SHARES, ("#1b4965", "#5fa8d3", "#e07a5f", "#b23a48"), strict=True):
        axes.plot(
            [row["quantiles"][share] * 1e3 for row in rows][::-1], range(len(rows)), "o", color=shade, label=share
        )
    axes.set_yticks(range(len(rows)), names)
    axes.set_xscale("log")
    axes.set_xlabel("ms")
    axes.grid(axis="x", which="both", alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    figure.savefig(path, bbox_inches="tight")
    pyplot.close(figure)


def targets(met: dict[str, dict[str, Any]], path: Path) -> None:
    """How far each figure is from its target: 1 is on the line, less is better."""
    figure, axes = pyplot.subplots(figsize=(9, 1.5 + 0.32 * len(met)))
    shares: list[float] = []
    for target in met.values():
        figure_of = target["measured"] if target["absolute"] else target["ratio"]
        shares.append(figure_of / target["limit"] if target["at_most"] else target["limit"] / figure_of)
    places = range(len(met))
    axes.barh(places, shares[::-1], color=["#5fa8d3" if share <= 1 else "#b23a48" for share in shares[::-1]])
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(places, [target["name"] for target in met.values()][::-1])
    axes.set_xscale("log")
    axes.set_xlabel("share of the target, less is better")
    figure.savefig(path, bbox_inches="tight")
    pyplot.close(figure)


def main(kept: Path) -> None:
    whole = json.loads(kept.read_text())
    for part in dict.fromkeys(row["part"] for row in whole["rows"]):
        rows = [row for row in whole["rows"] if row["part"] == part]
        latencies(part, rows, kept.with_name(f"{kept.stem}-{part}.svg"))
    if whole["targets"]:
        targets(whole["targets"], kept.with_name(f"{kept.stem}-targets.svg"))
    print(f"plots in {kept.parent}/{kept.stem}-*.svg")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
