"""Run published experiments again (magma, bun, communication, adaps, sparse, mast), compare the backbones on the game, learn
what the place of a factory is worth (opening), search the numbers of the opponent warden (dials), write the table of all claims
(claims), or train a backbone, also one of your own, on a small task (task)."""

from __future__ import annotations

from typing import NamedTuple

from commands.options import PROGRAM, UsageError, parse
from reproduce.magma import EXPERIMENTS


class About(NamedTuple):
    what: str
    takes: str  # processor time of one core with the default options, as its page in docs/results has it; nothing where none was measured


ABOUT = {
    "magma": About("trajectory separation on the game: the published table", "a run 132 s of training and 45 s of evaluation; 21 runs"),
    "backbones": About("the backbones on the game", "a run 26 to 64 s of training, evaluations besides"),
    "opening": About("what the place of a factory is worth", ""),
    "dials": About("a search of the numbers of the opponent warden", ""),
    "bun": About("BUN, claims off the game", "12:32 of training"),
    "communication": About("independent communication, claims off the game", "16:49 of training; with --algo iql 1:08:05"),
    "adaps": About("adaptive parameter sharing, claims off the game", "10:46 of training"),
    "sparse": About("dynamic sparse training, claims off the game", "11:54 of training"),
    "mast": About("MAST's sparse QMIX, claims off the game", "59:18 of training"),
    "claims": About("the table of all claims, from the runs that are kept", "4 s"),
    "task": About("a backbone, also one of your own, on a small task", ""),
}


def help_text() -> str:
    """What there is, and how long it takes."""
    lines = [__doc__ or "", "", f"usage: {PROGRAM} reproduce NAME [options]   (NAME --help shows its options)", ""]
    for name in EXPERIMENTS:
        about = ABOUT[name]
        lines.append(f"  {name:<15}{about.what}")
        if about.takes:
            lines.append(f"{'':17}{about.takes}")
    lines += ["", "Times are of one core (m:ss), as measured for the pages in docs/results. Runs are stored one by one:"]
    lines += ["killed, the same command goes on. --rows and --seeds choose some of them, --jobs runs several at a time."]
    return "\n".join(lines)


def run(argv: list[str]) -> None:
    if argv and argv[0] in ("-h", "--help"):
        print(help_text())
        return
    if not argv or argv[0] not in EXPERIMENTS:
        what = f"There is no experiment {argv[0]!r}" if argv else "No experiment was named"
        raise UsageError(f"{what}; accepted are {', '.join(EXPERIMENTS)}.")
    options, experiment = EXPERIMENTS[argv[0]]
    written = experiment(parse(options, argv[1:], f"reproduce {argv[0]}", __doc__))
    print(f"Written: {', '.join(map(str, written))}")
