"""Parts that users bring themselves, by name: `package.module:Name`, or `path/to/file.py:Name`.

Copied into submissions, so it needs the standard library only and keeps to Python 3.7; a part's file is there in the folder `own`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from typing import Any

ROOT = __name__[: -len("engine.parts")]  # what our packages lie in: nothing, but in a submission


def is_part(name: str) -> bool:
    """Whether a name means a part of a user's own, not one of ours."""
    return ":" in name


def load_part(name: str) -> Any:
    """What the name means. Modules are looked for as Python does, then in the current folder. Raises `ValueError`."""
    where, _, attribute = name.rpartition(":")
    try:
        module = _from_file(where) if where.endswith(".py") else _from_path(where)
    except (ImportError, OSError, ValueError) as error:
        raise ValueError(f"{name} cannot be loaded: {error}.") from error
    if not hasattr(module, attribute):
        raise ValueError(f"{where} has no {attribute!r}.")
    return getattr(module, attribute)


def part_source(name: str) -> str:
    """The text of the one file that the part is in. Raises `ValueError`."""
    module = sys.modules[load_part(name).__module__]
    if getattr(module, "__file__", None) is None:
        raise ValueError(f"{name} is in no file.")
    with open(str(module.__file__), encoding="utf-8") as file:
        return file.read()


def _from_path(module: str) -> Any:
    if module.startswith("own."):
        return importlib.import_module(ROOT + module)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        if os.getcwd() in sys.path:
            raise
        sys.path.append(os.getcwd())
        importlib.invalidate_caches()
        return importlib.import_module(module)


def _from_file(path: str) -> Any:
    path = os.path.abspath(path)
    name = f"own_{hashlib.sha256(path.encode()).hexdigest()[:12]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError("it is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
