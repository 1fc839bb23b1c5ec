"""Run published experiments again (magma, bun, communication, adaps, sparse, mast), compare the backbones on the game, learn
what the place of a factory is worth (opening), search the numbers of the opponent warden (dials), write the table of all claims
(claims), or train a backbone, also one of your own, on a small task (task)."""

from __future__ import annotations

from commands.options import PROGRAM, UsageError, parse
from reproduce.magma import EXPERIMENTS


def run(argv: list[str]) -> None:
    if argv and argv[0] in ("-h", "--help"):
        print(f"{__doc__}\n\nusage: {PROGRAM} reproduce NAME [options], where NAME is one of: {', '.join(EXPERIMENTS)}")
        return
    if not argv or argv[0] not in EXPERIMENTS:
        what = f"There is no experiment {argv[0]!r}" if argv else "No experiment was named"
        raise UsageError(f"{what}; accepted are {', '.join(EXPERIMENTS)}.")
    options, experiment = EXPERIMENTS[argv[0]]
    written = experiment(parse(options, argv[1:], f"reproduce {argv[0]}", __doc__))
    print(f"Written: {', '.join(map(str, written))}")
