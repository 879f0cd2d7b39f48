#!/usr/bin/env python3
"""What `make bench-plots` runs: draws bench/results/*.csv into bench/plots (matplotlib; uv brings it for the run)."""

from __future__ import annotations

import csv
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
# The same picture from the same figures.
mpl.rcParams["svg.hashsalt"] = "slipway"
from matplotlib import pyplot  # noqa: E402  (the backend first)

ROOT = Path(__file__).resolve().parents[1]
PLOTS = ROOT / "bench/plots"
#: Medians, with least and most: system, workload, connections, share of the rate, figure.
Figures = dict[tuple[str, str, str, str, str], list[float]]


def figures(file: Path) -> Figures:
    """All values that were measured, of each figure."""
    found: Figures = defaultdict(list)
    with file.open(newline="") as stream:
        for row in csv.DictReader(stream):
            found[row["system"], row["workload"], row["connections"], row["rate"], row["figure"]].append(float(row["value"]))
    return found


def bars(axis: Any, found: Figures, figure: str, connections: str, rate: str, title: str) -> None:
    """A group for each workload, a bar for each system; lines from the least to the most."""
    systems = list(dict.fromkeys(key[0] for key in found if not key[0].endswith("small")))
    workloads = list(dict.fromkeys(key[1] for key in found if key[2:] == (connections, rate, figure)))
    width = 0.8 / max(len(systems), 1)
    for number, system in enumerate(systems):
        places, middles, below, above = [], [], [], []
        for place, workload in enumerate(workloads):
            values = found.get((system, workload, connections, rate, figure))
            stock = found.get(("STOCK", workload, connections, rate, figure))
            if values and stock and statistics.median(stock):
                one = statistics.median(stock)
                middle = statistics.median(values) / one
                places.append(place + number * width)
                middles.append(middle)
                below.append(middle - min(values) / one)
                above.append(max(values) / one - middle)
        axis.bar(places, middles, width, label=system, yerr=(below, above), error_kw={"elinewidth": 0.6})
    axis.axhline(1, color="black", linewidth=0.6)
    axis.set_yscale("log")
    axis.set_xticks([place + 0.4 for place in range(len(workloads))], workloads)
    axis.set_title(title, fontsize=9)
    axis.tick_params(labelsize=8)


def main() -> None:
    found = figures(ROOT / "bench/results/http.csv")
    PLOTS.mkdir(parents=True, exist_ok=True)
    drawn, axes = pyplot.subplots(4, 1, figsize=(11, 14), layout="constrained")
    bars(
        axes[0],
        found,
        "requests/s",
        "64",
        "0",
        "Requests per second, 64 connections, each asking again at once: times STOCK's (more is better)",
    )
    bars(axes[1], found, "p99 ms", "64", "0", "The same load, 99th percentile of the time: times STOCK's (less is better)")
    bars(axes[2], found, "p99 ms", "256", "0", "99th percentile with 256 connections: times STOCK's (less is better)")
    bars(axes[3], found, "p99 ms", "64", "0.8", "99th percentile at 80 % of what each can do: times STOCK's (less is better)")
    axes[0].legend(fontsize=7, ncols=4)
    drawn.savefig(PLOTS / "http.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
