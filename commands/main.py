"""Train, test and ship agents for Lux AI Season 2.

{program} VERB [options]          {program} VERB --help
"""

from __future__ import annotations

import ast
import importlib
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from commands import VERBS

CLOSED_PIPE = 128 + signal.SIGPIPE  # exit codes, as a shell has them
INTERRUPTED = 128 + signal.SIGINT
interrupts: list[int] = []  # Ctrl-C so far


def summary(verb: str) -> str:
    """The first line of a verb's help, read without importing it: some take a second to import."""
    text = Path(__file__).with_name(f"{verb}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").splitlines()[0]


def main(argv: list[str]) -> int:
    """Run a verb; returns the exit code: 2 for what the user can mend."""
    if not argv or argv[0] in ("-h", "--help"):
        name = Path(sys.argv[0]).name
        print((__doc__ or "").format(program=name if name == "luxs2" else f"python {name}"))
        for verb in VERBS:
            print(f"  {verb:<10}{summary(verb)}")
        return 0 if argv else 2
    verb, rest = argv[0], argv[1:]
    if verb not in VERBS:
        print(f"There is no verb {verb!r}; accepted are {', '.join(VERBS)}.", file=sys.stderr)
        return 2
    from commands.options import UsageError
    from training.run.stopping import Stopped, TrainingError

    try:
        importlib.import_module(f"commands.{verb}").run(rest)
    except BrokenPipeError:
        raise
    except (UsageError, TrainingError, ValueError, OSError) as error:  # CheckpointError is a ValueError
        if interrupts:  # which something on the way has made another error of
            raise
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return INTERRUPTED
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return INTERRUPTED
    return 0


def sentence(error: Exception) -> str:
    """What an error says to the user."""
    if not isinstance(error, OSError):
        return str(error)
    return f"{error.strerror or error}{f' ({error.filename})' if error.filename is not None else ''}."


def program() -> int:
    """`main` as a process: Ctrl-C is one line whenever it comes, and who reads no further ends it without one."""
    signal.signal(signal.SIGINT, _interrupt)
    sys.unraisablehook = _tell_unraisable
    try:
        try:
            return main(sys.argv[1:])
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left in the buffer
        return CLOSED_PIPE
    except BaseException as error:
        if not interrupts or isinstance(error, SystemExit):
            raise
        print("Stopped.", file=sys.stderr)
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    interrupts.append(number)
    raise KeyboardInterrupt


def _tell_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    if not interrupts:
        sys.__unraisablehook__(unraisable)
