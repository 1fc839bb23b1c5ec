"""A policy's state as arrays for playing: without what only training needs, and sparse weights without their zeros.

Of an array of which most entries are 0, the entries that are not are kept as `name@values`, with one bit an entry in
`name@bits` that tells their places; arrays of bools are bits alone. So a layer with 10 % of its weights takes 13 %.
"""

from __future__ import annotations

from typing import Dict, Mapping, Set

import numpy as np
import torch
import torch.nn as nn

BITS, VALUES, SHAPE = "@bits", "@values", "@shape"
SPARSE = 0.5  # share of entries that are not 0, up to which leaving out zeros is worth it


def training_only(module: nn.Module) -> Set[str]:
    """Names in the state dict that playing can do without."""
    return {
        f"{prefix}.{name}" if prefix else name for prefix, part in module.named_modules() for name in getattr(part, "training_only", ())
    }


def play_state(policy: nn.Module) -> Dict[str, np.ndarray]:
    """What playing needs of the state dict, as arrays; floating-point ones are float32."""
    left_out = training_only(policy)
    state = {name: tensor for name, tensor in policy.state_dict().items() if name not in left_out}
    return {name: (t.float() if t.is_floating_point() else t).cpu().numpy() for name, t in sorted(state.items())}


def load_play_state(policy: nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Put the arrays of `play_state` into a policy; raises `ValueError` if they are another policy's."""
    found = policy.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}, strict=False)
    missing = sorted(set(found.missing_keys) - training_only(policy))
    if missing or found.unexpected_keys:
        raise ValueError(f"The weights are another policy's: missing are {missing}, unknown are {sorted(found.unexpected_keys)}.")


def compact(arrays: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """The same with sparse and bool arrays packed."""
    packed: Dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        present = array != 0
        if array.dtype == bool or (array.ndim > 1 and present.sum() <= SPARSE * array.size):
            packed[name + BITS] = np.packbits(present.ravel())
            packed[name + SHAPE] = np.array(array.shape, np.int64)
            if array.dtype != bool:
                packed[name + VALUES] = array[present]
        else:
            packed[name] = array
    return packed


def whole(packed: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """The inverse of `compact`."""
    arrays: Dict[str, np.ndarray] = {}
    for name in packed:
        if name.endswith(BITS):
            bare = name[: -len(BITS)]
            shape = packed[bare + SHAPE]
            present = np.unpackbits(packed[name], count=int(np.prod(shape))).astype(bool)
            if bare + VALUES in packed:
                array = np.zeros(len(present), packed[bare + VALUES].dtype)
                array[present] = packed[bare + VALUES]
                present = array
            arrays[bare] = present.reshape(shape)
        elif not name.endswith((VALUES, SHAPE)):
            arrays[name] = packed[name]
    return arrays
