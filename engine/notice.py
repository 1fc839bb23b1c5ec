"""Words before work that lasts: what is done, and how long that takes."""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys


@functools.cache
def tell(message: str) -> None:
    """Say it on stderr, once in a process, and by the first of those that work together (of a pool, of `torchrun`)."""
    if multiprocessing.parent_process() is None and os.environ.get("LOCAL_RANK", "0") == "0":
        print(message, file=sys.stderr, flush=True)
