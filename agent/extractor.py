"""Feature extractors: one look at the whole map, read out at the entities' cells.

`hybrid` (default) encodes the downsampled map and the team's state cheaply and joins them with each entity's own
features, so that compute follows the number of entities. `pixel` is the published full-resolution residual trunk.
"""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from agent.batch import Batch
from agent.layers import conv, linear, tanh


def read_at(plane_feature: Tensor, side: Tensor, block: Tensor) -> Tensor:
    """[B, C, P, P] at each row's side and plane cell: [M, C]."""
    flat = plane_feature.flatten(2)
    return flat.permute(0, 2, 1).reshape(-1, flat.shape[1])[side * flat.shape[2] + block]


class EntityInput(nn.Module):
    """First layer of an entity, one for robots and one for factories (which fill only the first `factory_width` features)."""

    def __init__(self, entity_width: int, factory_width: int, outputs: int):
        super().__init__()
        self.factory_width = factory_width
        self.outputs = outputs
        self.robot = linear(entity_width, outputs)
        self.factory = linear(factory_width, outputs)

    def forward(self, feature: Tensor, robots: Tensor, factories: Tensor) -> Tensor:
        """[M, D], and which rows are robots [r] and factories [f] -> [M, outputs]."""
        robot_part = self.robot(feature.index_select(0, robots))
        factory_part = self.factory(feature[:, : self.factory_width].index_select(0, factories))
        place = torch.empty(len(feature), dtype=torch.long, device=feature.device)
        place[torch.cat([robots, factories])] = torch.arange(len(feature), device=feature.device)
        return torch.cat([robot_part, factory_part]).index_select(0, place)


def patch_order(channels: int, size: int, shrink: int) -> Tensor:
    """[C * P * P] int64, where in planes `[C, P, P]` lies what `HybridExtractor.arrange` puts at each place."""
    blocks = size // shrink
    place = torch.arange(channels * size * size).view(channels, blocks, 2, 2, blocks, 2, 2)
    return place.permute(1, 4, 2, 5, 3, 6, 0).flatten()


class HybridExtractor(nn.Module):
    """The downsampled map through two layers of patches, read out at the entity's place and pooled, with the team's state.

    A layer turns every 2 x 2 cells into one: a convolution of stride 2, as a product of matrices (faster on a CPU). The map
    part ends in one addition to the entity's first layer, so its cost an entity is one readout.
    """

    SHRINK = 4  # by the two layers together

    def __init__(self, planes: int, plane_size: int, scalars: int, entity_width: int, factory_width: int, width: int, channels: int):
        super().__init__()
        self.plane_size = plane_size
        self.order = patch_order(planes, plane_size, self.SHRINK)
        self.first = linear(4 * planes, channels)
        self.second = linear(4 * channels, 2 * channels)
        self.entity = EntityInput(entity_width, factory_width, width)
        self.place = linear(2 * channels, width)
        self.team = linear(2 * channels + scalars, width)

    def arrange(self, planes: Tensor) -> Tensor:
        """[B, C, P, P] -> [B, (P / 4) ** 2, 4, 4 C]: patches of patches, which both layers then read without moving anything."""
        ordered = planes.flatten(1).index_select(1, self.order)  # a quarter of the time of permuting eight dimensions
        return ordered.view(len(planes), (self.plane_size // self.SHRINK) ** 2, 4, 4 * planes.shape[1])

    def forward(self, batch: Batch) -> Tensor:
        """Batch -> [M, width]."""
        plane = F.relu(self.second(F.relu(self.first(batch.planes)).flatten(2)))
        size = self.plane_size // self.SHRINK
        block = batch.block // self.plane_size // self.SHRINK * size + batch.block % self.plane_size // self.SHRINK
        place = self.place(plane.flatten(0, 1).index_select(0, batch.side * size * size + block))
        team = self.team(torch.cat([plane.mean(1), batch.scalar], 1))
        return tanh(self.entity(batch.feature, batch.robots, batch.factories) + place + team.index_select(0, batch.side))


class ResidualBlock(nn.Module):
    """3x3 convolutions with squeeze-excitation."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = conv(channels, channels, 3)
        self.second = conv(channels, channels, 3)
        self.squeeze = linear(channels, channels // 4)
        self.excite = linear(channels // 4, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.relu(self.first(x)))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(y.mean((2, 3))))))
        return F.relu(x + y * gate[:, :, None, None])


class PixelExtractor(nn.Module):
    """The published trunk: tiled scalars and all planes at full resolution through residual blocks, read out at the cells.

    Needs planes as large as the map. No batch norm, so acting and learning see the same function.
    """

    def __init__(self, planes: int, scalars: int, width: int, channels: int, blocks: int):
        super().__init__()
        self.first = conv(planes + scalars, channels, 1)
        self.trunk = nn.Sequential(*[ResidualBlock(channels) for _ in range(blocks)])
        self.place = linear(channels, width)
        self.pooled = linear(channels, width)
        self.kind = nn.Embedding(3, width)

    def arrange(self, planes: Tensor) -> Tensor:
        """[B, C, P, P] as they are."""
        return planes

    def forward(self, batch: Batch) -> Tensor:
        """Batch -> [M, width]."""
        tiled = batch.scalar[:, :, None, None].expand(-1, -1, *batch.planes.shape[2:])
        plane = self.trunk(F.relu(self.first(torch.cat([batch.planes, tiled], 1))))
        pooled = self.pooled(plane.mean((2, 3)))
        return tanh(self.place(read_at(plane, batch.side, batch.block)) + pooled[batch.side] + self.kind(batch.kind))
