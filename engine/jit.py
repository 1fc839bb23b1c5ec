"""`jit`: numba's `njit` where numba is installed, plain Python where it is not.

Code that must run in training (compiled, thousands of games a second) and on the judge's machine (numpy only) is
written once, in the subset that both understand, and decorated with this.

Machine code is kept on disk between runs (`engine.code_cache`), in a folder that is named by a digest of all source files
that a function may call into.
"""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path
from typing import Any, Callable, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])
ROOMS = ("engine", "wrappers", "agent", "training")  # that hold compiled functions; each may call those before it

try:
    import numba
except ImportError:
    numba = None


def cache_root() -> Path:
    """The project's cache folder: `LUXS2_CACHE`, or `~/.cache/luxs2`."""
    return Path(os.environ.get("LUXS2_CACHE", "") or Path.home() / ".cache" / "luxs2")


@functools.lru_cache(maxsize=None)
def _digest(room: str) -> str:
    """Of the sources that functions of this room may call: the room itself and those that it may import."""
    rooms = ROOMS[: ROOMS.index(room) + 1] if room in ROOMS else (*ROOMS, room)
    top = Path(__file__).parent.parent
    files = sorted(path for name in rooms for path in (top / name).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def is_compiled() -> bool:
    """Whether functions run compiled: numba is there, and nobody has switched it off (`NUMBA_DISABLE_JIT`)."""
    return numba is not None and not numba.config.DISABLE_JIT  # pyright: ignore[reportPrivateImportUsage, reportAttributeAccessIssue]


def jit(function: F) -> F:
    """Compile on first call, keep the machine code on disk, release the interpreter lock while running.

    Without numba the function runs as it is written.
    """
    if not is_compiled():
        return function
    from engine.code_cache import CodeCache

    dispatcher: Any = numba.njit(nogil=True)(function)  # pyright: ignore[reportOptionalMemberAccess]
    dispatcher._cache = CodeCache(function, cache_root() / "compiled" / _digest(function.__module__.split(".")[0]))
    return cast(F, dispatcher)
