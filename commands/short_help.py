"""Help that fits on a screen: of all options of a verb those that matter, each with the words of its field and its present value."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

LEFT, COLUMNS = 34, 100


def short_help(usage: str, doc: str, options: Mapping[str, tuple[Any, str]], examples: str, more: str) -> str:
    """The whole help; `options` by the name on the command line are pairs (config object, field), `more` says where the rest is."""
    lines = [f"usage: {usage}", "", doc, "", "options:"]
    for name, (config, field) in options.items():
        lines += option_lines(f"--{name}", getattr(config, field), field_doc(type(config), field))
    return "\n".join([*lines, "", "examples:", examples.rstrip(), "", more])


def option_lines(name: str, value: Any, doc: str) -> list[str]:
    """An option and its value on the left, its words on the right."""
    left = f"  {name} {value_said(value)}".rstrip()
    right = textwrap.wrap(doc, COLUMNS - LEFT, break_on_hyphens=False)
    if len(left) >= LEFT - 1:
        return [left, *(" " * LEFT + line for line in right)]
    return [left.ljust(LEFT) + right[0], *(" " * LEFT + line for line in right[1:])]


def value_said(value: Any) -> str:
    """A value as it is written on the command line; nothing for what is off, empty or not given."""
    if value is None or value is False:
        return ""
    if isinstance(value, Iterable) and not isinstance(value, str):
        return " ".join(map(str, value))
    return "" if value is True else str(value)


def field_doc(kind: type, field: str) -> str:
    """The docstring below a dataclass's field. Raises `ValueError` where there is none."""
    (body,) = (node.body for node in ast.parse(textwrap.dedent(inspect.getsource(kind))).body if isinstance(node, ast.ClassDef))
    for node, after in zip(body, body[1:]):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == field:
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
                return " ".join(after.value.value.split())
    raise ValueError(f"{kind.__name__}.{field} has no docstring.")
