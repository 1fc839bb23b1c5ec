"""What of a source would not run on the judge's first image (Python 3.7, numpy 1.21, torch 1.11), found by reading it: syntax, and
names that came later. The lists of names are torch 2.13's and numpy 2.4's public ones held against torch 1.11's own stubs and
numpy's release notes; what depends on the type of an object is known by its name only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator


def _names(text: str) -> set[str]:
    return set(text.split())


_TORCH = _names(
    """
    Event OutOfMemoryError UntypedStorage accelerator alias_copy as_strided_copy as_strided_scatter bits16 bits8 chalf compile
    compiler complex32 concatenate cond detach_copy diagonal_copy empty_permuted expand_copy export fill float8_e4m3fn float8_e4m3fnuz
    float8_e5m2 float8_e5m2fnuz float8_e8m0fnu func get_default_device get_device_module get_float32_matmul_precision hash_tensor
    index_reduce jagged library masked mps mtia nested newaxis nonzero_static permute_copy rms_norm select_copy set_default_device
    set_float32_matmul_precision signal slice_copy slice_inverse sparse_bsc sparse_bsr sparse_compressed_tensor sparse_csc split_copy
    squeeze_copy sym_float sym_int sym_ite sym_max sym_min sym_not sym_sum transpose_copy uint16 uint32 uint64 unbind_copy unfold_copy
    unravel_index unsqueeze_copy view_copy while_loop
    """
)
_TORCH_NN = _names(
    """
    Buffer CircularPad1d CircularPad2d CircularPad3d Dropout1d LPPool3d LinearCrossEntropyLoss RMSNorm ZeroPad1d ZeroPad3d attention
    """
)
_NUMPY = _names(
    """
    acos acosh asin asinh astype atan atan2 atanh bitwise_count bitwise_invert bitwise_left_shift bitwise_right_shift concat
    cumulative_prod cumulative_sum dtypes exceptions from_dlpack isdtype long matrix_transpose matvec permute_dims pow strings
    trapezoid ulong unique_all unique_counts unique_inverse unique_values unstack vecdot vecmat
    """
)
LATER_NAMES = {
    "torch": _TORCH,
    "torch.nn": _TORCH_NN,
    "torch.nn.functional": {"dropout1d", "grouped_mm", "linear_cross_entropy", "rms_norm", "scaled_dot_product_attention", "scaled_mm"},
    "torch.Tensor": {"index_reduce", "module_load"},
    "torch.nn.utils": {"fuse_linear_bn_weights", "stateless"},
    "numpy": _NUMPY,
    "numpy.linalg": _names("cross diagonal matmul matrix_norm matrix_transpose outer svdvals trace vecdot vector_norm"),
    "typing": _names("Annotated Final Literal ParamSpec Protocol Self SupportsIndex TypeAlias TypedDict runtime_checkable"),
    "functools": {"cache", "cached_property", "singledispatchmethod"},
    "math": {"prod", "isqrt", "dist", "comb", "perm", "lcm", "nextafter", "cbrt"},
    "itertools": {"pairwise", "batched"},
    "contextlib": {"chdir", "nullcontext_async", "aclosing"},
    "types": {"NoneType", "EllipsisType", "UnionType"},
}
LATER_MODULES = {
    "zoneinfo",
    "graphlib",
    "tomllib",
    "importlib.metadata",
    "importlib.resources.abc",
    "torch.func",
    "torch.compiler",
    "torch.export",
}
LATER_METHODS = _names(
    """
    bit_count chalf dim_order index_reduce index_reduce_ module_load nonzero_static register_post_accumulate_grad_hook removeprefix
    removesuffix scatter_reduce_ slice_inverse to_padded_tensor to_sparse_bsc to_sparse_bsr to_sparse_csc untyped_storage
    """
)
LATER_KEYWORDS = {
    "zip": {"strict"},
    "dataclass": {"slots", "kw_only", "match_args"},
    "field": {"kw_only"},
    "load": {"weights_only", "mmap"},
    "load_state_dict": {"assign"},
    "LayerNorm": {"bias"},
    "scatter_reduce": {"include_self"},
}


def problems(text: str, path: str) -> Iterator[str]:
    """Each problem as the beginning of a sentence, such as `agent/x.py line 3 uses math.prod`."""
    try:
        tree = ast.parse(text, path, feature_version=(3, 7))
    except SyntaxError as error:
        yield f"{path} line {error.lineno} has the syntax {(error.text or '').strip()!r}"
        return
    modules = _modules(tree)
    lazy = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    for node in ast.walk(tree):
        what = _later(node, modules)
        if what is not None:
            yield f"{path} line {getattr(node, 'lineno', 0)} uses {what}"
    for annotation in _evaluated_annotations(tree, lazy):
        for node in ast.walk(annotation):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
                yield f"{path} line {node.lineno} evaluates the annotation {ast.unparse(node)}"
            if isinstance(node, ast.Subscript) and ast.unparse(node.value) in ("dict", "list", "tuple", "set", "type", "frozenset"):
                yield f"{path} line {node.lineno} evaluates the annotation {ast.unparse(node)}"


def _modules(tree: ast.Module) -> dict[str, str]:
    """The module that each imported name may stand for."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update({alias.asname: alias.name for alias in node.names if alias.asname})
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return names


def _later(node: ast.AST, modules: dict[str, str]) -> str | None:
    if isinstance(node, ast.ImportFrom):
        if node.module in LATER_MODULES:
            return node.module
        return next((f"{node.module}.{alias.name}" for alias in node.names if alias.name in LATER_NAMES.get(node.module or "", ())), None)
    if isinstance(node, ast.Import):
        return next((alias.name for alias in node.names if alias.name in LATER_MODULES), None)
    if isinstance(node, ast.Attribute):
        first, dot, rest = ast.unparse(node.value).partition(".")
        owner = modules.get(first, first) + dot + rest
        if node.attr in LATER_NAMES.get(owner, ()):
            return f"{owner}.{node.attr}"
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
