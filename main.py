"""The command line of a checkout, `python main.py VERB [options]`; installed it is `luxs2 VERB [options]`."""

from __future__ import annotations

import sys

from commands.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
