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


def rows(name: str) -> list[dict[str, str]]:
    """The rows of one file of results; none where nobody has measured it."""
    path = ROOT / "bench/results" / name
    return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


def figures() -> Figures:
    """All values of the servers that were measured, of each figure."""
    found: Figures = defaultdict(list)
    for row in rows("http.csv"):
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


def converge() -> None:
    """Seconds of each work, a bar for each system; lines from the least to the most."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows("converge.csv"):
        found[row["work"], row["system"]].append(float(row["seconds"]))
    if not found:
        return
    works = [work for work in ("first", "full", "sealed", "deploy", "rollback") if any(key[0] == work for key in found)]
    drawn, axis = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
    for number, system in enumerate(systems := list(dict.fromkeys(key[1] for key in found))):
        there = [(place, found[work, system]) for place, work in enumerate(works) if (work, system) in found]
        middles = [statistics.median(values) for _, values in there]
        spread = [[statistics.median(v) - min(v) for _, v in there], [max(v) - statistics.median(v) for _, v in there]]
        width = 0.8 / len(systems)
        axis.bar([p + number * width for p, _ in there], middles, width, label=system, yerr=spread, error_kw={"elinewidth": 0.8})
    axis.set_yscale("log")
    axis.set_ylim(bottom=1)
    axis.set_xticks([place + 0.3 for place in range(len(works))], works)
    axis.set_ylabel("seconds (less is better)")
    axis.legend(fontsize=8)
    drawn.savefig(PLOTS / "converge.svg", metadata={"Date": None})


def growth() -> None:
    """Seconds of a sealed run with more hosts, and more apps on one."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows("growth.csv"):
        found[row["of"]][int(row["number"])].append(float(row["seconds"]))
    if not found:
        return
    drawn, axis = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for of, by_number in found.items():
        axis.plot(list(by_number), [statistics.median(values) for values in by_number.values()], marker="o", label=of)
    axis.set_xlabel("number")
    axis.set_ylabel("seconds of a run that changes nothing (less is better)")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8)
    drawn.savefig(PLOTS / "growth.svg", metadata={"Date": None})


def main() -> None:
    PLOTS.mkdir(parents=True, exist_ok=True)
    converge()
    growth()
    found = figures()
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
