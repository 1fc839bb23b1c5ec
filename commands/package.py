"""Build the tarball that the judge takes (main.py at its top, needs only numpy and torch) and verify it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from arena.verify import verified_package
from commands.options import check_output, parse, write_json
from commands.show import game_progress
from submission.package import package


@dataclass(frozen=True)
class Package:
    checkpoint: tyro.conf.Positional[str] = "shipped"
    """Checkpoint, run folder (its best checkpoint), `latest` (the run under runs/ that was saved last), `shipped`, `warden`, `marshal`,
    or a .tasks.npz of learned heads."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("submission.tar.gz")
    """The tarball to write."""
    greedy: bool = False
    """Play the likeliest action instead of sampling."""
    verify: bool = True
    """Play a whole game on each side, the way the judge executes a package, and refuse one that would fail."""
    json: Path | None = None
    """Write the report here."""


def run(argv: list[str]) -> None:
    args = parse(Package, argv, "package", __doc__)
    check_output(args.output)
    check_output(args.json)
    measured = None
    if args.verify:
        with game_progress() as progress:
            report, measured = verified_package(args.checkpoint, args.output, args.greedy, progress)
        print("\n".join(measured.lines()))
    else:
        report = package(args.checkpoint, args.output, args.greedy)
    print(f"{report.path}: {report.size_bytes / 1e6:.2f} MB, {report.parameters:,} parameters, from {report.checkpoint}")
    write_json(args.json, {**report.as_dict(), "verified": measured and measured.as_dict()})
