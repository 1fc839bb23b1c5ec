"""Opponent `random`: every robot and factory does, each turn, one of the things it may do, each kind equally likely."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from agent.scripted.protocol import serve_view
from agent.scripted.random.bot import Match, act


def make():
    """The decision function of one match."""
    match = Match()
    return lambda view: act(match, view)


if __name__ == "__main__":
    serve_view(make())
