"""`jit`: numba's `njit` where numba is installed, plain Python where it is not.

Code that must run in training (compiled, thousands of games a second) and on the judge's machine (numpy only) is
written once, in the subset that both understand, and decorated with this.
"""

from __future__ import annotations

from typing import Any, Callable, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

try:
    from numba import njit

    def jit(function: F) -> F:
        """Compile on first call, keep the machine code on disk, release the interpreter lock while running."""
        return njit(cache=True, nogil=True)(function)

except ImportError:

    def jit(function: F) -> F:
        """Without numba the function runs as it is written."""
        return function
