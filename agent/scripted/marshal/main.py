"""Opponent `marshal`: the farm of `warden`, with what was learned on it: heads that choose the tasks of some kinds of entities."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    os.environ["NUMBA_DISABLE_JIT"] = "1"  # a process of its own would compile for a minute in its first turn
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from agent.scripted.protocol import serve_view
from agent.scripted.warden.main import Warden
from agent.tasks.heads import heads_of


def make(player="marshal"):
    """The decision function of one match; `player` may be another file of heads."""
    return Warden(heads_of(player)).act


if __name__ == "__main__":
    serve_view(make(*sys.argv[1:2]))
