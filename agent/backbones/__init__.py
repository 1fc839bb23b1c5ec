"""Backbones: entity features to entity features; where the multi-agent methods live.

A backbone knows nothing of the game. `forward(feature [M, H], entities: Entities) -> [M, H]`. One method is one file
with one config dataclass; `BACKBONES` names them.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Entities(NamedTuple):
    """Who the M rows are, for methods that tell entities apart."""

    side: Tensor  # [M] int64, team in the batch
    slot: Tensor  # [M] int64, seat in the team, kept for life
    kind: Tensor  # [M] int64
    group: Tensor  # [M] int64, seat of the entity that this one belongs to
    sides: int  # teams in the batch
