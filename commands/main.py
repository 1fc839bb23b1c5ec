"""Train, test and ship agents for Lux AI Season 2.

{program} VERB [options]          {program} VERB --help
"""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

from commands import VERBS
from commands.options import PROGRAM, UsageError
from training.run.stopping import Stopped, TrainingError


def summary(verb: str) -> str:
    """The first line of a verb's help, read without importing it: some take a second to import."""
    text = Path(__file__).with_name(f"{verb}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").splitlines()[0]


def main(argv: list[str]) -> int:
    """Run a verb; returns the exit code: 2 for what the user can mend."""
    if not argv or argv[0] in ("-h", "--help"):
        print((__doc__ or "").format(program=PROGRAM if PROGRAM == "luxs2" else f"python {PROGRAM}"))
        for verb in VERBS:
            print(f"  {verb:<10}{summary(verb)}")
        return 0 if argv else 2
    verb, rest = argv[0], argv[1:]
    if verb not in VERBS:
        print(f"There is no verb {verb!r}; accepted are {', '.join(VERBS)}.", file=sys.stderr)
        return 2
    try:
        importlib.import_module(f"commands.{verb}").run(rest)
    except OSError as error:
        print(f"error: {error.strerror or error} ({error.filename}).", file=sys.stderr)
        return 2
    except (UsageError, TrainingError, ValueError) as error:  # CheckpointError is a ValueError
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    return 0


def entry() -> int:
    """The installed command `luxs2`."""
    return main(sys.argv[1:])
