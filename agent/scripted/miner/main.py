"""Opponent `miner`: one heavy robot a factory digs ice and brings it home, so that every factory lives to the end."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from agent.scripted.miner.bot import Miner
from agent.scripted.protocol import serve_view


def make():
    """The decision function of one match."""
    return Miner().act


if __name__ == "__main__":
    serve_view(make())
