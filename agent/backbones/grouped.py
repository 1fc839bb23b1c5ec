"""Primitives for methods that treat groups of entities apart: own weights a group, own neurons a group.

`Grouped` holds one module a group and sends every row through its own group's; `GroupedLinear` is that of linear layers.
`NeuronGate` keeps other neurons for every group of one shared layer.
"""

from __future__ import annotations

from typing import Callable, Dict

import torch
import torch.nn as nn
from torch import Tensor

from agent.backbones import linear_stats
from agent.layers import linear


class Grouped(nn.Module):
    """One module a group, `make()` each; [M, ...] rows with group index [M] -> [M, ...].

    Rows are sorted by group once, and each group that is present runs its module on its own rows: no row is computed
    twice and nothing is padded, so the cost follows the rows and the number of groups *present* (a small product of
    matrices each). A group that is absent gets no gradient at all, and an optimiser leaves it as it is. The host must know
    the number of rows a group, so a GPU is waited for once.
    """

    def __init__(self, groups: int, make: Callable[[], nn.Module]):
        super().__init__()
        self.groups = groups
        self.of_group = nn.ModuleList([make() for _ in range(groups)])

    def forward(self, rows: Tensor, group: Tensor) -> Tensor:
        """`group` [M] int64 in 0 .. groups - 1."""
        if self.groups == 1 or len(rows) == 0:
            return self.of_group[0](rows)
        order = torch.sort(group, stable=True)[1]
        sizes = torch.bincount(group, minlength=self.groups).tolist()
        present = [g for g, size in enumerate(sizes) if size]
        parts = rows[order].split([sizes[g] for g in present])
        done = torch.cat([self.of_group[g](part) for g, part in zip(present, parts)])
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        return done[back]


class GroupedLinear(Grouped):
    """One linear layer a group: [M, inputs] with group index [M] -> [M, outputs]."""

    def __init__(self, groups: int, inputs: int, outputs: int, gain: float = 2**0.5):
        super().__init__(groups, lambda: linear(inputs, outputs, gain))


class NeuronGate(nn.Module):
    """Multiplies neurons [M, width] by their group's binary mask: what is 0 neither speaks nor learns for that group."""

    def __init__(self, groups: int, width: int):
        super().__init__()
        self.mask: Tensor
        self.register_buffer("mask", torch.ones(groups, width))

    def forward(self, rows: Tensor, group: Tensor) -> Tensor:
        """`group` [M] int64."""
        return rows * self.mask[group].to(rows.dtype)


def grouped_stats(module: nn.Module) -> Dict[str, float]:
    """`linear_stats` of a module where a decision uses one group's part of every `Grouped`, the mean over the groups."""
    stats = linear_stats(module)
    for part in module.modules():
        if isinstance(part, Grouped):
            stats["flops"] -= linear_stats(part)["flops"] * (1 - 1 / part.groups)
    return stats
