"""Learning curves over seeds as figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from arena.plots import COLORS, STYLES

PANELS = (("finished", "games finished (%)", 100.0), ("ice", "ice a player and game", 1.0), ("length", "turns a game", 1.0))


def learning_curves(rows: Mapping[str, Sequence[dict[str, Any]]], title: str, log_steps: bool = False) -> Figure:
    """Draw finished games, ice and length over env steps; `rows` has the curves of each row's seeds.

    A curve has the lists `env_steps`, `finished`, `ice` and `length`. A line is the mean over seeds, its band reaches from
    the lowest seed to the highest. `log_steps` spreads early steps (and leaves out step 0).
    """
    figure = Figure(figsize=(13, 4.4), facecolor="white", layout="constrained")
    panels = figure.subplots(1, len(PANELS))
    for axes, (name, label, scale) in zip(panels, PANELS):
        for i, curves in enumerate(rows.values()):
            steps, values = on_one_grid(curves, name)
            steps, values = (steps[1:], values[:, 1:]) if log_steps else (steps, values)
            color, style = COLORS[i % len(COLORS)], STYLES[i // len(COLORS) % len(STYLES)]
            axes.plot(steps, scale * values.mean(axis=0), style, color=color, linewidth=1.6)
            axes.fill_between(steps, scale * values.min(axis=0), scale * values.max(axis=0), color=color, alpha=0.15, linewidth=0)
        if log_steps:
            axes.set_xscale("log", base=2)  # before the formatter, which it replaces
        else:
            axes.set_xlim(0, None)
        axes.set(xlabel="environment steps", ylabel=label, facecolor="white", ylim=(0, None))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:.3g}k" if value >= 1000 else f"{value:g}")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.grid(color="#dddddd", linewidth=0.6)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    names = [f"{name} ({len(curves)} seed{'s' * (len(curves) > 1)})" for name, curves in rows.items()]
    figure.legend(panels[0].get_lines(), names, loc="outside lower center", ncols=min(4, len(names)), frameon=False)
    figure.suptitle(title)
    return figure


def on_one_grid(curves: Sequence[dict[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Seeds' curves `[S, K]` at the union of their env steps `[K]`, linear in between, up to where the shortest ends."""
    steps = np.unique(np.concatenate([curve["env_steps"] for curve in curves]))
    steps = steps[steps <= min(curve["env_steps"][-1] for curve in curves)]
    return steps, np.stack([np.interp(steps, curve["env_steps"], curve[name]) for curve in curves])
