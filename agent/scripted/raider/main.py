"""Opponent `raider`: a farm that also hunts weaker robots and digs up the enemy's lichen."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from agent.scripted.protocol import serve_view
from agent.scripted.raider.bot import Raid, act


def make():
    """The decision function of one match."""
    raid = Raid()
    return lambda view: act(raid, view)


if __name__ == "__main__":
    serve_view(make())
