"""Play players against each other and say who is better, and how sure that is; killed, the same command goes on."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from arena.rating.entrants import Field
from arena.rating.paired import compare, told
from arena.rating.report import Progress, print_table, write_report
from arena.rating.results import Results
from arena.rating.standings import connected, tabulate
from arena.rating.tournament import Rules, check_field, cores
from arena.rating.tournament import run as run_tournament
from arena.sandbox import check as check_sandbox
from commands.options import RUNS, UsageError, parse


@dataclass(frozen=True)
class Rate:
    players: tyro.conf.Positional[tuple[str, ...]] = ()
    """Built-in opponents, tarballs, folders with main.py, programs, checkpoints, run folders, `latest`, `shipped`; none: show the file."""
    against: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--pool"])] = ()
    """A fixed pool that the players meet instead of each other."""
    games: int = 20
    """Games of each pair; every map is played from both sides."""
    map_size: int = 48
    """12 to 64; 48 plays 2-5 factories a side, 64 plays 4-10."""
    seed: int = 0
    """Which maps."""
    referee: Literal["fast", "official"] | None = None
    """fast: our engine, in this process, no clock. official: the official engine, each side a process, the judge's time rules.
    By default fast for checkpoints and built-in opponents, official as soon as a side is anything else. A game that is in the results file
    is not played again by the other referee."""
    paired: bool = False
    """Compare two players who meet the `--against` pool: tell, opponent by opponent, how much more the first wins on the same maps; or one
    player with one half."""
    jobs: int | None = None
    """Processes (default: the cores there are)."""
    sandbox: bool = False
    """Run agents that are not this repository's under bubblewrap, without network and your files (Linux; bwrap must be installed)."""
    confidence: float | None = None
    """Stop early when the order is certain at this level, for instance 0.95 (default: play all games)."""
    results: Path = RUNS / "ratings" / "results.jsonl"
    """Every finished game is added here and none in it is played again; ratings.md and ratings.png are written beside it."""


def run(argv: list[str]) -> None:
    args = parse(Rate, argv, "rate", __doc__)
    rules = Rules(args.games, args.map_size, args.seed, args.referee, cores() if args.jobs is None else args.jobs, args.confidence)
    rules.check()
    if args.paired and (len(args.players) not in (1, 2) or not args.against):
        raise UsageError(f"--paired compares one or two players against a pool; {len(args.players)} and {len(args.against)} are given.")
    stopped = False
    idents: list[str] = []
    if args.players:
        idents, stopped = play_out(args, rules)
    elif not args.results.is_file():
        raise UsageError(f"No players are given, and there is no results file {args.results} to show; name at least two players.")
    with Results(args.results) as results:
        games = [game for game in results.games if game.map_size == args.map_size]
    shown = connected(games, idents) if args.players else games
    if args.paired:
        print(
            "\n".join(
                told(compare(games, idents[0], idents[1] if len(args.players) == 2 else None, idents[len(args.players) :]), *args.players)
            )
        )
    if shown:
        table = tabulate(shown)
        title = f"Ratings on {args.map_size}x{args.map_size} maps"
        print_table(table, title)
        print(f"{len(shown)} games: {table.referees()}. Written: {', '.join(map(str, write_report(table, title, args.results.parent)))}")
    else:
        print(f"{args.results} holds no games on {args.map_size}x{args.map_size} maps.")
    if stopped:
        print(f"All games that have ended are in {args.results}; the same command goes on.", file=sys.stderr)
        raise KeyboardInterrupt


def play_out(args: Rate, rules: Rules) -> tuple[list[str], bool]:
    """A tournament with a line of progress; the identities of its players, and whether it was interrupted."""
    if args.sandbox:
        check_sandbox()
    with Field([*args.players, *args.against], args.sandbox) as field:
        entrants, count = field.entrants, len(args.players)
        check_field(entrants[:count], entrants[count:], rules)  # before a file is made
        idents = [entrant.ident for entrant in entrants]
        with Results(args.results, write=True) as results:
            try:
                with Progress() as progress:
                    ending = run_tournament(field, len(args.against), rules, results, progress)
            except KeyboardInterrupt:
                return idents, True
    certain = f" The order is certain ({rules.confidence:.0%}), so the rest was not played." if ending.early else ""
    print(f"{ending.played} games played, {ending.found} were there.{certain}")
    return idents, False
