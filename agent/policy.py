"""The policy: extractor -> backbone -> heads, one decision and one value for every entity."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Dict

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

from agent.backbones import Entities
from agent.backbones.dense import DenseBackbone, DenseConfig
from agent.batch import Batch, plane_block
from agent.extractor import HybridExtractor, PixelExtractor
from agent.heads import ActionHeads, Distribution
from agent.layers import linear
from wrappers.action import ActionConfig
from wrappers.features import FACTORY_WIDTH, ROBOT_WIDTH
from wrappers.observation import GRID, PLANES, SCALARS

BACKBONES = {"dense": (DenseBackbone, DenseConfig)}
EXTRACTORS = ("hybrid", "pixel")


@dataclass(frozen=True)
class PolicyConfig:
    """The network. The observation's sizes are filled in by whoever makes the observations."""

    extractor: str = "hybrid"
    """hybrid: downsampled map, compute follows the entities. pixel: full-resolution residual trunk."""
    backbone: str = "dense"
    """Which method turns entity features into entity features."""
    width: int = 128
    """Width H of an entity's features."""
    channels: int = 16
    """Channels of the map encoder."""
    blocks: int = 4
    """Residual blocks of the pixel trunk."""
    dense: DenseConfig = field(default_factory=DenseConfig)

    def __post_init__(self) -> None:
        if self.extractor not in EXTRACTORS:
            raise ValueError("extractor is {!r}; accepted are {}.".format(self.extractor, ", ".join(EXTRACTORS)))
        if self.backbone not in BACKBONES:
            raise ValueError("backbone is {!r}; accepted are {}.".format(self.backbone, ", ".join(sorted(BACKBONES))))


def policy_sizes(actions: ActionConfig, config: PolicyConfig = PolicyConfig(), map_size: int = 48) -> Dict[str, Any]:
    """What a policy must know of the observations and of what is on offer; `pixel` sees every cell of a map of this size."""
    return {
        "entity": ROBOT_WIDTH,
        "factory": FACTORY_WIDTH,
        "planes": PLANES,
        "plane_size": map_size if config.extractor == "pixel" else GRID,
        "scalars": SCALARS,
        "amounts": actions.amounts_offered(),
        "resources": max(len(actions.transfer), len(actions.pickup)),
    }


class Policy(nn.Module):
    """Decides for every entity of every side at once.

    Args:
        config: the network.
        sizes: as `policy_sizes` makes them: widths of the observation, a bool for each amount on offer, and the most
            resources that a transfer or a pickup can choose from.
    """

    def __init__(self, config: PolicyConfig, sizes: Dict[str, Any]):
        super().__init__()
        self.config = config
        self.sizes = dict(sizes)
        if config.extractor == "pixel":
            self.extractor = PixelExtractor(sizes["planes"], sizes["scalars"], config.width, config.channels, config.blocks)
        else:
            self.extractor = HybridExtractor(
                sizes["planes"], sizes["plane_size"], sizes["scalars"], sizes["entity"], sizes["factory"], config.width, config.channels
            )
        make_backbone, _ = BACKBONES[config.backbone]
        self.backbone = make_backbone(config.width, getattr(config, config.backbone))
        self.heads = ActionHeads(config.width)
        self.value = linear(config.width, 1, 0.01)
        self.free = (True, True, sizes["resources"] > 1, sum(sizes["amounts"]) > 1)
        self.amounts: Tensor
        self.register_buffer("amounts", torch.tensor(sizes["amounts"], dtype=torch.bool), persistent=False)

    @classmethod
    def from_config(cls, config: Dict[str, Any]) -> Policy:
        """The inverse of `full_config`, before weights are loaded."""
        values = dict(config)
        sizes = values.pop("sizes")
        for name, (_, make_config) in BACKBONES.items():
            if name in values:
                values[name] = make_config(**values[name])
        return cls(PolicyConfig(**values), sizes)

    def full_config(self) -> Dict[str, Any]:
        """Everything needed to build this policy again, as plain values."""
        values = dataclasses.asdict(self.config)
        values["sizes"] = self.sizes
        return values

    def forward(self, batch: Batch) -> tuple:
        """Logits [M, LOGITS] and values [M]."""
        entities = Entities(batch.side, batch.slot, batch.kind, batch.home, len(batch.scalar))
        feature = self.backbone(self.extractor(batch), entities)
        return self.heads(feature), self.value(feature)[:, 0].float()

    def distribution(self, logits: Tensor, mask: Tensor) -> Distribution:
        """What the policy may choose for rows with these logits and mask bits."""
        return Distribution(logits, mask, self.amounts, self.free)

    def batch(self, obs: Any) -> Batch:
        """An `Observation` as tensors, sharing its memory where the types allow."""
        rows = obs.rows

        def index(x: np.ndarray) -> Tensor:
            return torch.from_numpy(x[:rows].astype(np.int64))

        cell = index(obs.cell)
        return Batch(
            feature=torch.from_numpy(obs.feature[:rows]),
            side=index(obs.side),
            slot=index(obs.slot),
            kind=index(obs.kind),
            home=index(obs.home),
            block=plane_block(cell, obs.map_size, self.sizes["plane_size"]),
            mask=torch.from_numpy(obs.mask[:rows]),
            planes=torch.from_numpy(obs.planes),
            scalar=torch.from_numpy(obs.scalar),
            robots=torch.from_numpy(np.flatnonzero(obs.kind[:rows] != 0)),
            factories=torch.from_numpy(np.flatnonzero(obs.kind[:rows] == 0)),
        )

    @torch.no_grad()
    def act(self, obs: Any, generator: torch.Generator | None = None, greedy: bool = False) -> np.ndarray:
        """Actions [M, 4] int64 for the rows of an observation."""
        batch = self.batch(obs).to(self.amounts.device)
        logits, _ = self(batch)
        action, _ = self.distribution(logits, batch.mask).sample(generator, greedy)
        return action.cpu().numpy()
