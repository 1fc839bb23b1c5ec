"""What a policy is given: the rows of an observation as tensors."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """M entities of B sides; rows are ordered by side, then slot (see `wrappers.observation.Observation`)."""

    feature: Tensor  # [M, D] float32
    side: Tensor  # [M] int64, which of the B sides
    slot: Tensor  # [M] int64
    kind: Tensor  # [M] int64, 0 factory, 1 light, 2 heavy
    home: Tensor  # [M] int64, slot of the home factory
    block: Tensor  # [M] int64, cell of the P x P map that the entity is in, x * P + y
    mask: Tensor  # [M] int64, legal actions as bits
    planes: Tensor  # [B, ...] float32, the map as the extractor's `arrange` makes it of [B, C, P, P]
    scalar: Tensor  # [B, G] float32
    robots: Tensor  # [r] int64, the rows that are robots; given, since a GPU would let the host wait for their number
    factories: Tensor  # [f] int64, the rows that are factories

    def to(self, device: torch.device) -> Batch:
        """On another device; asynchronous from pinned memory."""
        return Batch(*(x.to(device, non_blocking=True) for x in self))


def plane_block(cell: Any, map_size: int, plane_size: int) -> Any:
    """Index x * P + y of the plane cell that covers a board cell (tensor or array)."""
    stride = -(-map_size // plane_size)
    return (cell // 64) // stride * plane_size + (cell % 64) // stride
