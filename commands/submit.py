"""Verify a package and send it to Kaggle with Kaggle's own client, which must be logged in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from arena.verify import verified_package, verify
from commands.options import UsageError, check_output, parse
from commands.show import game_progress
from submission import upload
from submission.package import package


@dataclass(frozen=True)
class Submit:
    what: tyro.conf.Positional[str] = "latest"
    """A tarball, or a checkpoint or run folder, which is packaged first."""
    message: Annotated[str | None, tyro.conf.arg(aliases=["-m"])] = None
    """Shown beside the submission (default: the file's name and the beginning of its digest)."""
    competition: Annotated[str, tyro.conf.arg(aliases=["-c"])] = "lux-ai-season-2"
    """The competition's slug."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("submission.tar.gz")
    """The tarball to write when a checkpoint is submitted."""
    dry_run: bool = False
    """Do everything but send."""
    verify: bool = True
    """Verify the package first, as `package` does."""


def run(argv: list[str]) -> None:
    args = parse(Submit, argv, "submit", __doc__)
    known = upload.credentials()
    if known is None and not args.dry_run:
        raise UsageError(upload.NO_CREDENTIALS)
    upload.client()
    packed = args.what.endswith((".tar.gz", ".tgz"))
    file = Path(args.what) if packed else args.output
    if not packed:
        check_output(file)
    elif not file.is_file():
        raise UsageError(f"{file} does not exist; make it with: main.py package CHECKPOINT -o {file}")
    if args.verify:
        with game_progress() as progress:
            measured = verify(file, progress=progress) if packed else verified_package(args.what, file, progress=progress)[1]
        print("\n".join(measured.lines()))
    elif not packed:
        package(args.what, file)
    sending = upload.plan(file, args.message, args.competition)
    print("\n".join([*sending.lines(), f"credentials  {known or 'none: sending would fail'}"]))
    if args.dry_run:
        print("Nothing was sent (--dry-run).")
    else:
        print(upload.send(sending))
