"""The dense shared backbone: the same small network for every entity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Optional, Tuple

import torch.nn as nn
from torch import Tensor

from agent.backbones import Backbone, Entities
from agent.layers import linear, tanh


@dataclass(frozen=True)
class DenseConfig:
    """Layers of width H, each followed by tanh."""

    layers: int = 1


class DenseBackbone(Backbone):
    """Full parameter sharing: no entity sees another, none has weights of its own."""

    def __init__(self, width: int, config: DenseConfig):
        super().__init__()
        self.layers = nn.ModuleList([linear(width, width) for _ in range(config.layers)])

    def forward(self, feature: Tensor, entities: Entities, stored: Optional[Dict[str, Tensor]] = None) -> Tuple[Tensor, Dict[str, Tensor]]:
        """[M, H] -> [M, H], and no fields."""
        for layer in self.layers:
            feature = tanh(layer(feature))
        return feature, {}
