"""Opponent `reaper`: a farm that guards its fields, and digs up the enemy's lichen in the last turns."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from agent.scripted.protocol import serve_view
from agent.scripted.reaper.bot import Reap, act


def make():
    """The decision function of one match."""
    reap = Reap()
    return lambda view: act(reap, view)


if __name__ == "__main__":
    serve_view(make())
