"""Opponent `farmer`: a whole sensible game of ice, ore, cleared ground and as much lichen as it can water."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from agent.scripted.farmer.bot import Farm, act
from agent.scripted.protocol import serve_view


def make():
    """The decision function of one match."""
    farm = Farm()
    return lambda view: act(farm, view)


if __name__ == "__main__":
    serve_view(make())
