"""Opponent `idle`: places its factories on free ground and then does nothing; they run dry around turn 150."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import numpy as np

from agent.scripted.protocol import FACTION, View, serve_view


def act(view: View) -> dict:
    """The bid, then the free cell nearest to the middle of the map with an equal share of the stock, then nothing."""
    if view.step == 0:
        return {"faction": FACTION, "bid": 0}
    if view.real_step >= 0 or not view.my_turn_to_place():
        return {}
    cells = np.argwhere(view.boards["valid_spawns_mask"])
    if len(cells) == 0:
        return {}
    middle = (view.boards["rubble"].shape[0] - 1) / 2
    nearest = cells[np.abs(cells - middle).sum(axis=1).argmin()]
    share = view.team["factories_to_place"]
    return {"spawn": nearest, "water": view.team["water"] // share, "metal": view.team["metal"] // share}


def make():
    """The decision function of one match."""
    return act


if __name__ == "__main__":
    serve_view(make())
