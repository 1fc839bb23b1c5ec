"""What of a source would not run on Python 3.7, found by reading it: syntax, and names of the library that came later."""

from __future__ import annotations

import ast
from collections.abc import Iterator

LATER_NAMES = {
    "typing": {
        "Protocol",
        "Literal",
        "Final",
        "TypedDict",
        "runtime_checkable",
        "Annotated",
        "ParamSpec",
        "TypeAlias",
        "Self",
        "SupportsIndex",
    },
    "functools": {"cache", "cached_property", "singledispatchmethod"},
    "math": {"prod", "isqrt", "dist", "comb", "perm", "lcm", "nextafter", "cbrt"},
    "itertools": {"pairwise", "batched"},
    "contextlib": {"chdir", "nullcontext_async", "aclosing"},
    "types": {"NoneType", "EllipsisType", "UnionType"},
}
LATER_MODULES = {"zoneinfo", "graphlib", "tomllib", "importlib.metadata", "importlib.resources.abc"}
LATER_METHODS = {"removeprefix", "removesuffix", "bit_count"}
LATER_KEYWORDS = {"zip": {"strict"}, "dataclass": {"slots", "kw_only", "match_args"}, "field": {"kw_only"}}


def problems(text: str, path: str) -> Iterator[str]:
    """Each problem as the beginning of a sentence, such as `agent/x.py line 3 uses math.prod`."""
    try:
        tree = ast.parse(text, path, feature_version=(3, 7))
    except SyntaxError as error:
        yield f"{path} line {error.lineno} has the syntax {(error.text or '').strip()!r}"
        return
    lazy = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    for node in ast.walk(tree):
        what = _later(node)
        if what is not None:
            yield f"{path} line {getattr(node, 'lineno', 0)} uses {what}"
    for annotation in _evaluated_annotations(tree, lazy):
        for node in ast.walk(annotation):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
                yield f"{path} line {node.lineno} evaluates the annotation {ast.unparse(node)}"
            if isinstance(node, ast.Subscript) and ast.unparse(node.value) in ("dict", "list", "tuple", "set", "type", "frozenset"):
                yield f"{path} line {node.lineno} evaluates the annotation {ast.unparse(node)}"


def _later(node: ast.AST) -> str | None:
    if isinstance(node, ast.ImportFrom):
        if node.module in LATER_MODULES:
            return node.module
        return next((f"{node.module}.{alias.name}" for alias in node.names if alias.name in LATER_NAMES.get(node.module or "", ())), None)
    if isinstance(node, ast.Import):
        return next((alias.name for alias in node.names if alias.name in LATER_MODULES), None)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in LATER_NAMES.get(node.value.id, ()):
        return f"{node.value.id}.{node.attr}"
    if isinstance(node, ast.Attribute) and node.attr in LATER_METHODS:
        return f".{node.attr}"
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func).split(".")[-1]
        return next((f"{name}({word.arg}=)" for word in node.keywords if word.arg in LATER_KEYWORDS.get(name, ())), None)
    return None


def _evaluated_annotations(tree: ast.Module, lazy: bool) -> Iterator[ast.expr]:
    """Annotations that run when the module is imported: none under `from __future__ import annotations`."""
    if lazy:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign):
            yield node.annotation
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            arguments = node.args
            for argument in [*arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]:
                if argument is not None and argument.annotation is not None:
                    yield argument.annotation
            if node.returns is not None:
                yield node.returns
