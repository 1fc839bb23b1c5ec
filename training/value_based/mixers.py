"""Mixers: the values of a team's agents -> what a temporal difference is taken of.

`iql` leaves every agent its own value, `vdn` adds them up (Sunehag et al. 2018, arXiv:1706.05296), `qmix` joins them by a
network that rises with each of them and whose weights depend on the global state (Rashid et al. 2018, arXiv:1803.11485).
An agent that is not there has value 0 here, so that it counts for nothing.
"""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from agent.backbones import linear_flops
from agent.layers import linear
from training.value_based.nets import layer_flops

# Weights as large as torch's own: what a hypernetwork makes are weights in turn, and large ones learn far more slowly.
GAIN = 3**-0.5
ALGORITHMS = ("iql", "vdn", "qmix")


class Independent(nn.Module):
    """IQL: `[..., N] -> [..., N]`."""

    def forward(self, q: Tensor, state: Tensor) -> Tensor:
        return q

    def flops(self) -> float:
        return 0.0


class Sum(nn.Module):
    """VDN: `[..., N] -> [..., 1]`."""

    def __init__(self, seats: int):
        super().__init__()
        self.seats = seats

    def forward(self, q: Tensor, state: Tensor) -> Tensor:
        return q.sum(-1, keepdim=True)

    def flops(self) -> float:
        return float(self.seats - 1)


class Monotonic(nn.Module):
    """QMIX: `[..., N]` and the global state `[..., S] -> [..., 1]`, never falling with any agent's value.

    `ELU(q |W1(s)| + b1(s)) |w2(s)| + v(s)`; hypernetworks make `W1 [N, E]`, `b1`, `w2 [E]` and `v` of the state.
    """

    def __init__(self, seats: int, states: int, embed: int, hypernet: int):
        super().__init__()
        self.seats, self.embed = seats, embed

        def two(hidden: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(linear(states, hidden, GAIN), nn.ReLU(), linear(hidden, outputs, GAIN))

        self.first, self.second = two(hypernet, seats * embed), two(hypernet, embed)
        self.shift = linear(states, embed, GAIN)
        self.value = two(embed, 1)

    def forward(self, q: Tensor, state: Tensor) -> Tensor:
        weight = self.first(state).abs().unflatten(-1, (self.seats, self.embed))
        hidden = F.elu((q[..., None, :] @ weight)[..., 0, :] + self.shift(state))
        return (hidden * self.second(state).abs()).sum(-1, keepdim=True) + self.value(state)

    def flops(self) -> float:
        """Of one team: its linear layers, and the two products with the weights that they make."""
        return layer_flops(self) + linear_flops(self.seats, self.embed) + linear_flops(self.embed, 1)


Mixer = Independent | Sum | Monotonic


def make_mixer(algo: str, seats: int, states: int, embed: int, hypernet: int) -> Mixer:
    """By the algorithm's name. Raises `ValueError` for another."""
    if algo == "iql":
        return Independent()
    if algo == "vdn":
        return Sum(seats)
    if algo == "qmix":
        return Monotonic(seats, states, embed, hypernet)
    raise ValueError(f"algo is {algo!r}; accepted are {', '.join(ALGORITHMS)}.")


def by_seat(q: Tensor, row_seat: Tensor, row_team: Tensor, teams: int, seats: int) -> Tensor:
    """Sums of rows `q [M]` by team and seat, `[teams, seats]`: entities that come and go, of few kinds, as a mixer takes them.

    A mixer whose weights depend on the kind only is the same on the sum over a kind as on its entities one by one.
    """
    flat = torch.zeros(teams * seats, dtype=q.dtype, device=q.device).index_add(0, row_team * seats + row_seat, q)
    return flat.view(teams, seats)
