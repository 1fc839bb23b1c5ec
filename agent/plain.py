"""Config dataclasses as plain JSON values, and back."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Iterator
from typing import Any


def to_dict(config: Any) -> dict[str, Any]:
    """A config dataclass as plain JSON values."""
    return dataclasses.asdict(config)


def from_dict(kind: Any, values: Any, where: str = "") -> Any:
    """The inverse of `to_dict`; unknown and missing keys and values of other types are a `ValueError` that names them."""
    hints = check_values(kind, values, where)
    missing = [name for name in hints if name not in values]
    if missing:
        raise ValueError(f"The {where or kind.__name__} config has missing: {', '.join(sorted(missing))}.")
    made = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]):
            value = from_dict(hints[name], value, f"{where}.{name}" if where else name)
        elif isinstance(value, list):
            value = tuple(value)
        made[name] = value
    return kind(**made)


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """A nested config as one dict, its names those of the options: `ppo.gamma` and so on. Tuples become lists, as in JSON."""
    made: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            made.update(flat(value, f"{prefix}{name}."))
        else:
            made[prefix + name] = list(value) if isinstance(value, (list, tuple)) else value
    return made


def differences(one: Any, other: Any, where: str = "") -> Iterator[str]:
    """Names of the fields in which two configs of a kind differ, `ppo.gamma` and the like."""
    for field in dataclasses.fields(one):
        before, after = getattr(one, field.name), getattr(other, field.name)
        if dataclasses.is_dataclass(before) and type(before) is type(after):
            yield from differences(before, after, f"{where}{field.name}.")
        elif before != after:
            yield f"{where}{field.name}"


def check_values(kind: Any, values: Any, where: str = "") -> dict[str, Any]:
    """The types of a config's fields by name, once `values` has no others, and no value of another type. Raises `ValueError`."""
    if not isinstance(values, dict):
        raise ValueError(f"The {where or kind.__name__} config is {values!r}, not an object.")
    known = typing.get_type_hints(kind)
    hints = {field.name: known[field.name] for field in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(f"The {where or kind.__name__} config has unknown: {', '.join(unknown)}.")
    for name, value in values.items():
        path = f"{where}.{name}" if where else name
        if dataclasses.is_dataclass(hints[name]):
            check_values(hints[name], value, path)
        elif not _fits(value, hints[name]):
            raise ValueError(f"{path} is {value!r}, not of type {getattr(hints[name], '__name__', hints[name])}.")
    return hints


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value is one of a field of this type; a tuple is a list there, and numbers are finite."""
    options = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return value in options
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in options)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            return False
        each = options[:1] * len(value) if options[-1] is ... else options
        return len(each) == len(value) and all(map(_fits, value, each))
    if hint is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    return type(value) is hint
