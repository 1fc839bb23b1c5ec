"""Play one match on the official engine, each side a process of its own.

Other people's agents run with your rights: they can read your files and use your network. With --sandbox they cannot.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from commands.options import UsageError, check_output, parse, write_json
from commands.show import play_shown, print_match


@dataclass(frozen=True)
class Play:
    left: tyro.conf.Positional[str] = "shipped"
    """Who plays player_0: a built-in opponent, a tarball, a folder with main.py, a checkpoint, a run folder, `latest`, or `shipped`."""
    right: tyro.conf.Positional[str] = "farmer"
    """Who plays player_1."""
    seed: int = 0
    """Of the map."""
    map_size: int = 48
    """12 to 64; 48 plays 2-5 factories a side, 64 plays 4-10."""
    replay: Path | None = None
    """Write the replay here (JSON; compressed when the name ends in .gz)."""
    json: Path | None = None
    """Write the result here."""
    logs: Path | None = None
    """Folder for what the two sides write to stderr."""
    sandbox: bool = False
    """Run agents that are not this repository's under bubblewrap, without network and your files (Linux; bwrap must be installed)."""
    record_thoughts: bool = False
    """Put into the replay what checkpoints think of their robots and factories: values and probabilities of the actions."""


def run(argv: list[str]) -> None:
    args = parse(Play, argv, "play", __doc__)
    check_output(args.json)
    check_output(args.replay)
    if args.record_thoughts and args.replay is None:
        raise UsageError("--record-thoughts puts them into the replay; name its file with --replay.")
    result = play_shown(args.left, args.right, args.seed, args.map_size, args.replay, args.logs, args.record_thoughts, args.sandbox)
    print_match(result)
    write_json(args.json, result.as_dict())
