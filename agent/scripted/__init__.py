"""Built-in opponents: one folder each, with a `main.py` that speaks the judge's stand-alone protocol."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent


def names() -> list[str]:
    """Names of the built-in opponents."""
    return sorted(path.parent.name for path in FOLDER.glob("*/main.py"))


def make_act(name: str, *values: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A fresh built-in opponent as a function from the judge's message to its action, for matches in this process; `values` are its own."""
    import importlib

    from agent.scripted.protocol import View

    act = importlib.import_module(f"agent.scripted.{name}.main").make(*values)
    view = View()

    def answer(message: dict[str, Any]) -> dict[str, Any]:
        view.update(message)
        return act(view)

    return answer
