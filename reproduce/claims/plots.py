"""Plots of the experiments off the game, on white."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from arena.plots import COLORS, STYLES
from reproduce.plots import on_one_grid


def panels(count: int, columns: int = 3, size: tuple[float, float] = (4.6, 3.9)) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, and its axes in order."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), facecolor="white", layout="constrained")
    every = list(np.atleast_1d(figure.subplots(rows, columns)).flat)
    for axes in every[count:]:
        axes.set_visible(False)
    return figure, every[:count]


def plain_axes(axes: Axes, **labels: Any) -> None:
    """Title and labels, a light grid, and no box around."""
    axes.set(facecolor="white", **labels)
    axes.grid(color="#dddddd", linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def return_curves(groups: Mapping[str, Mapping[str, Sequence[dict[str, Any]]]]) -> Figure:
    """Return over env steps, a panel each group of rows; a line is the mean over seeds, its band lowest to highest."""
    figure, every = panels(len(groups), size=(5.4, 4.2))
    for axes, (title, rows) in zip(every, groups.items()):
        for i, (name, runs) in enumerate(rows.items()):
            steps, values = on_one_grid([run["curve"] for run in runs], "return")
            color, style = COLORS[i % len(COLORS)], STYLES[i // len(COLORS) % len(STYLES)]
            axes.plot(steps, values.mean(0), style, color=color, linewidth=1.6, label=name)
            axes.fill_between(steps, values.min(0), values.max(0), color=color, alpha=0.12, linewidth=0)
        plain_axes(axes, title=title, xlabel="environment steps", ylabel="return")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:.3g}k" if value >= 1000 else f"{value:g}")
        if rows:
            axes.legend(frameon=False, fontsize=7)
    return figure


def returns_by_sparsity(
    rows: Mapping[str, Sequence[dict[str, Any]]], lines: Mapping[str, str], levels: Sequence[int], title: str
) -> Figure:
    """Final return over the share of absent weights (`levels`, in percent): means, and a dot each seed.

    A line each of `lines`: what a row's name begins with, and what it is called. The row `dense` is a level line.
    """
    figure, (axes,) = panels(1, size=(6.4, 4.4))
    for color, (name, label) in zip(COLORS, lines.items()):
        there = [i for i, percent in enumerate(levels) if f"{name}_{percent}" in rows]
        values = [[run["measures"]["final"] for run in rows[f"{name}_{levels[i]}"]] for i in there]
        axes.plot(there, [sum(v) / len(v) for v in values], "o-", color=color, label=label, linewidth=1.6)
        for place, value in zip(there, values):
            axes.plot([place] * len(value), value, ".", color=color, alpha=0.5)
    if "dense" in rows:
        axes.axhline(float(np.mean([run["measures"]["final"] for run in rows["dense"]])), color="black", linewidth=1, label="dense")
    axes.set_xticks(range(len(levels)), [f"{percent} %" for percent in levels])
    plain_axes(axes, xlabel="weights absent", ylabel="return", title=title)
    axes.legend(frameon=False, fontsize=8)
    return figure
