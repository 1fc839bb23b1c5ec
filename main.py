"""`python main.py VERB`: see `commands/main.py`."""

from __future__ import annotations

import signal
import sys

if __name__ == "__mp_main__":  # a process of a pool, which Ctrl-C reaches as well: it ends without a word, the first one tells
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from commands.main import main, program

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(program())
