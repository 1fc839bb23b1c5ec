"""Config dataclasses as plain JSON values, and back."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any


def to_dict(config: Any) -> dict[str, Any]:
    """A config dataclass as plain JSON values."""
    return dataclasses.asdict(config)


def from_dict(kind: Any, values: dict[str, Any], where: str = "") -> Any:
    """The inverse of `to_dict`; unknown and missing keys are a `ValueError` that names them."""
    hints = typing.get_type_hints(kind)
    names = {f.name for f in dataclasses.fields(kind)}
    unknown = sorted(set(values) - names)
    missing = sorted(names - set(values))
    if unknown or missing:
        what = [f"unknown: {', '.join(unknown)}"] * bool(unknown) + [f"missing: {', '.join(missing)}"] * bool(missing)
        raise ValueError(f"The {where or kind.__name__} config has {'; '.join(what)}.")
    made = {}
    for name, value in values.items():
        hint = hints[name]
        if dataclasses.is_dataclass(hint):
            value = from_dict(hint, value, f"{where}.{name}" if where else name)
        elif isinstance(value, list) and tuple in (typing.get_origin(option) for option in (hint, *typing.get_args(hint))):
            value = tuple(value)
        made[name] = value
    return kind(**made)


def differences(one: Any, other: Any, where: str = "") -> Iterator[str]:
    """Names of the fields in which two configs of a kind differ, `ppo.gamma` and the like."""
    for field in dataclasses.fields(one):
        before, after = getattr(one, field.name), getattr(other, field.name)
        if dataclasses.is_dataclass(before) and type(before) is type(after):
            yield from differences(before, after, f"{where}{field.name}.")
        elif before != after:
            yield f"{where}{field.name}"
