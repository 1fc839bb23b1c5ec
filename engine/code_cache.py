"""Machine code on disk, a file for each compiled signature of a function.

numba's own cache runs whatever its files hold, and ends the program where one is cut short, the disk is full or the folder
cannot be written. Here a file begins with the SHA-256 of its contents; what does not fit is thrown away and compiled
anew, and where nothing can be kept, functions are compiled in memory. Either is said once.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from engine.notice import tell

DIGEST = hashlib.sha256().digest_size


class CodeCache(NullCache):
    """What a dispatcher asks before it compiles and tells after it; `folder` belongs to one state of the sources."""

    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        self.folder = folder
        self.name = f"{function.__module__}.{function.__qualname__}"
        self.code = f"{function.__code__.co_firstlineno} {function.__code__.co_code.hex()}"

    def load_overload(self, sig: Any, target_context: Any) -> CompileResult | None:
        """The compiled function, or None where it is not kept."""
        target_context.refresh()
        path = self._path(sig, target_context.codegen())
        try:
            content = path.read_bytes()
        except OSError:  # keeping it will say why, unless there is none yet
            tell(f"Compiling the game for this machine: about a minute of one core, once a version; kept in {self.folder.parent}.")
            return None
        if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
            _warn(f"Compiled code in {self.folder} is damaged; it is thrown away and made anew.")
            return None
        return CompileResult._rebuild(target_context, *pickle.loads(content[DIGEST:]))

    def save_overload(self, sig: Any, data: CompileResult) -> None:
        """Keep a compiled function, whole or not at all."""
        if data.library.has_dynamic_globals:  # addresses of this process
            return
        content = dumps(data._reduce())
        path = self._path(sig, data.codegen)
        temporary = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".tmp", delete=False) as file:
                temporary = file.name
                file.write(hashlib.sha256(content).digest() + content)
            os.replace(temporary, path)
        except OSError as error:
            _warn(
                f"Compiled code cannot be kept in {self.folder} ({error.strerror}), so every start takes about a minute longer; "
                "name a folder that can be written in the variable LUXS2_CACHE."
            )
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)

    def _path(self, sig: Any, codegen: Any) -> Path:
        """By all that the machine code depends on but the sources, which the folder stands for."""
        key = repr((self.code, sig, codegen.magic_tuple(), numba.__version__, sys.version_info[:2]))
        return self.folder / f"{self.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.code"


@functools.cache
def _warn(message: str) -> None:
    """Once in a process."""
    warnings.warn(message, RuntimeWarning, stacklevel=2)
