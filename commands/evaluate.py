"""Play an agent on unseen maps on the fast engine and print how it did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from arena.evaluate import evaluate_checkpoint, opponent_named
from commands.options import check_output, parse, write_json
from commands.show import print_scores


@dataclass(frozen=True)
class Evaluate:
    checkpoint: tyro.conf.Positional[str] = "shipped"
    """Checkpoint, run folder (its best checkpoint), `latest` (the run under runs/ that was saved last), or `shipped`."""
    maps: int = 32
    """Unseen maps of 1000 turns."""
    map_size: int | None = None
    """12 to 64 (default: the size that the agent was trained on)."""
    seed: int = 0
    """Which maps, and of the sampling of actions."""
    opponent: str | None = None
    """A built-in opponent, a tarball, a folder with main.py, or a checkpoint; without one the agent plays both sides."""
    greedy: bool = False
    """Take the likeliest action instead of sampling."""
    json: Path | None = None
    """Write the scores here."""


def run(argv: list[str]) -> None:
    args = parse(Evaluate, argv, "evaluate", __doc__)
    check_output(args.json)
    opponent = opponent_named(args.opponent) if args.opponent else None
    scores = evaluate_checkpoint(args.checkpoint, args.maps, args.map_size, args.seed, opponent, args.greedy, progress=True)
    print_scores(scores, f"{args.maps} unseen maps")
    write_json(args.json, scores)
