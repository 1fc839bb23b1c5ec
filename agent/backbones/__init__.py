"""Backbones: entity features to entity features; where the multi-agent methods live.

A backbone knows nothing of the game: it works on any task with teams of entities that come and go. One method is one
file with one frozen config dataclass; its constructor is `Name(width, config)`, and a field of `agent.policy.PolicyConfig` names both.
Whoever trains it calls the hooks and never asks for its name. Everything that must survive a checkpoint is a parameter
or a buffer, so the state dict is the whole state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Callable, Dict, NamedTuple, Optional, Tuple

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor


class Entities(NamedTuple):
    """Who the M rows are, for methods that tell entities apart."""

    side: Tensor  # [M] int64, team in the batch
    slot: Tensor  # [M] int64, seat in the team, kept for life
    kind: Tensor  # [M] int64
    group: Tensor  # [M] int64, seat of the entity that this one belongs to
    sides: int  # teams in the batch


class Experience(NamedTuple):
    """What the acting policy saw and did in one rollout, a row for each entity and turn; rows are in order of time."""

    feature: np.ndarray  # [R, D] float32, the observation's own features, not the extractor's
    kind: np.ndarray  # [R] int64
    slot: np.ndarray  # [R] int64
    group: np.ndarray  # [R] int64
    action: np.ndarray  # [R, F] int64, each of F factors of the choice
    reward: np.ndarray  # [R] float32
    next: np.ndarray  # [R] int64, row of the same entity one turn later; -1 where there is none (gone, new game, end)


class Backbone(nn.Module, ABC):
    """What the trainer and the policy use of a method; the hooks do nothing by default."""

    fields: Dict[str, int] = {}
    """What acting makes and learning must see again, such as messages: name and width; stored a row, float32."""
    training_only: Tuple[str, ...] = ()
    """Names of own buffers that playing can do without; they are left out of packages. Any submodule may have this."""

    @abstractmethod
    def forward(self, feature: Tensor, entities: Entities, stored: Optional[Dict[str, Tensor]] = None) -> Tuple[Tensor, Dict[str, Tensor]]:
        """Features [M, H] -> features [M, H], and the values of `fields` ([M, width] each).

        Acting, `stored` is None and the fields are computed. Learning, `stored` holds what acting returned for the same
        rows, and is used in place of computing them.
        """

    def after_backward(self) -> None:
        """After a backward pass: gradients are averaged over the ranks, and not clipped yet."""

    def between_iterations(self, progress: float, optimizer: Optional[torch.optim.Optimizer], experience: Callable[[], Experience]) -> bool:
        """Between two iterations of PPO. All ranks call it. Returns whether it made something that ranks may come to different
        results of, such as what a network of its own learned: then the first rank's whole policy becomes everybody's.

        Args:
            progress: share of the training that is done, 0 to 1.
            optimizer: the one that holds this backbone's parameters, for clearing its state of weights that change their
                meaning; None if there is none.
            experience: makes the last rollout's rows (those of all ranks) when called; all ranks call it or none.
        """
        return False

    def stats(self) -> Dict[str, float]:
        """`parameters` (weights that learn and are in use), `density` (of the linear layers), `flops` (one decision of one
        entity, by `linear_flops`), and whatever shows how the method does. Here: every linear layer is used once."""
        return linear_stats(self)


def linear_flops(inputs: float, outputs: float, density: float = 1.0) -> float:
    """Multiplications and additions of a linear layer for one row: density (2 I - 1) O, the bias not counted."""
    return density * (2 * inputs - 1) * outputs


def linear_stats(module: nn.Module) -> Dict[str, float]:
    """`parameters`, `density` and `flops` of a module that uses each of its linear layers once for a decision.

    A layer is what has a `weight [..., O, I]` of two or more dimensions that learns; of a stack of matrices one is used.
    Where a layer has a `mask`, what is not in it counts as absent.
    """
    parameters = float(sum(p.numel() for p in module.parameters() if p.requires_grad))
    places = active = flops = 0.0
    for layer in module.modules():
        weight = getattr(layer, "weight", None)
        if not isinstance(weight, nn.Parameter) or weight.dim() not in (2, 3) or isinstance(layer, nn.Embedding):
            continue
        mask = getattr(layer, "mask", None)
        count = float(weight.numel() if mask is None else int(mask.sum()))
        if weight.requires_grad:
            parameters -= weight.numel() - count
        places += weight.numel()
        active += count
        flops += linear_flops(weight.shape[-1], weight.shape[-2], count / weight.numel())
    return {"parameters": parameters, "density": active / places if places else 1.0, "flops": flops}
