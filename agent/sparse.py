"""Sparse layers whose connections change while they learn: masks, and one controller for all ways of changing them.

A masked weight is stored whole, and is exactly 0 where its mask is not set. So a forward pass needs no mask, and a
backward pass gives the gradient of absent weights too, which tells where a new one would help most. The controller
(`Topology`) looks at that gradient right after the backward pass, before it is clipped, then removes it, so that absent
weights stay 0; every so often, between two PPO iterations, it drops and grows weights. RigL (Evci et al. 2020,
arXiv:1911.11134), SET (Mocanu et al. 2018, arXiv:1707.04780), a static mask and the grow-only rule of BUN
(arXiv:2410.02516) are settings of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence

import torch
import torch.nn as nn
from torch import Tensor

from engine.config import check_choice, check_range

METHODS = ("rigl", "set", "static")


@dataclass(frozen=True)
class SparseConfig:
    """Dynamic sparse training of the linear layers. The defaults are those published for PPO."""

    method: str = "rigl"
    """rigl: grow where the gradient is largest. set: grow at random. static: never change."""
    interval: int = 250
    """Gradient steps between two changes of the connections (rounded up to whole PPO iterations)."""
    window: int = 16
    """Gradient steps before a change whose gradients are summed, to judge what to grow."""
    drop: float = 0.3
    """Share of a layer's connections that the first change replaces; annealed to 0 by a cosine."""
    stop: float = 0.75
    """Share of the training after which connections stay."""
    regrow: bool = False
    """A weight that was just dropped may be grown at once, and then goes on as it was (as in RigL's published code)."""
    weight_decay: float = 1e-4
    """Pull of present weights towards 0, added to their gradient; absent weights have none."""

    def __post_init__(self) -> None:
        check_choice(self, METHODS, "method", prefix="sparse.")
        check_range(self, 1, None, "interval", "window", prefix="sparse.")
        for name in ("drop", "stop"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"sparse.{name} is {getattr(self, name)}; accepted is more than 0, up to 1.")
        check_range(self, 0, None, "weight_decay", prefix="sparse.")


@dataclass(frozen=True)
class Rules:
    """How a `Topology` changes connections.

    Either `drop` is set, and each layer replaces a share of its connections, so that their number stays; or `budget` is,
    and connections are only added, the best of all layers first, evenly from `start` to `stop`.
    """

    grow: str  # "gradient", "random" or "none"
    interval: int  # gradient steps between changes
    window: int  # gradient steps before a change that count for it
    start: float  # share of the training before which nothing changes
    stop: float  # share of the training after which nothing changes
    drop: float = 0.0  # share of a layer's connections replaced by the first change, annealed by a cosine
    budget: int = 0  # connections added in all
    regrow: bool = False  # what a layer just dropped may be grown again, and then it was not dropped
    weight_decay: float = 0.0


def give_mask(layer: nn.Module, mask: Tensor) -> None:
    """Give a layer a `mask` (bool, shape of its `weight`), and set the weight to 0 outside of it."""
    weight = layer.weight
    assert isinstance(weight, nn.Parameter)
    if mask.shape != weight.shape or mask.dtype != torch.bool:
        raise ValueError(f"A mask is {mask.dtype} {tuple(mask.shape)}; expected is bool {tuple(weight.shape)}.")
    layer.register_buffer("mask", mask.to(weight.device))
    layer.training_only = (*getattr(layer, "training_only", ()), "mask")  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    with torch.no_grad():
        weight.masked_fill_(~mask.to(weight.device), 0.0)


class MaskedLinear(nn.Linear):
    """A linear layer with a mask [O, I]. A `Topology` must look after it: without one, learning fills absent weights."""

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, mask: Tensor):
        super().__init__(inputs, outputs)
        give_mask(self, mask)


class Topology(nn.Module):
    """Looks after the connections of some layers: `after_backward` once a gradient step, `between_iterations` now and then.

    All of its state is in the state dict, so that a resumed run goes on exactly. It uses no random numbers but those of
    random growth, which depend on `seed` and the number of changes only, so that all ranks choose alike.

    Args:
        layers: layers with a `weight` and a `mask` (see `give_mask`). They stay owned by their modules.
        rules: when and how to change connections.
        seed: of random growth.
    """

    def __init__(self, layers: Sequence[nn.Module], rules: Rules, seed: int = 0):
        super().__init__()
        self._layers = list(layers)  # a plain list: they are submodules of somebody else
        self.rules = rules
        self.seed = seed
        self.scored = rules.grow == "gradient"
        self.training_only = ("_extra_state",) + tuple(f"score_{i}" for i in range(len(self._layers) if self.scored else 0))
        self.start_count = sum(int(layer.mask.sum()) for layer in self._layers)  # pyright: ignore[reportCallIssue]
        if self.scored:
            for i, layer in enumerate(self._layers):
                self.register_buffer(f"score_{i}", torch.zeros_like(layer.weight))  # pyright: ignore[reportArgumentType]
        self.steps = 0  # gradient steps since the last change
        self.changes = 0
        self.active = self.start_count  # connections there are
        self.ended = rules.grow == "none"
        self._told = False
        self._tell(True)

    @property
    def weights(self) -> List[nn.Parameter]:
        """The layers' weights."""
        return [layer.weight for layer in self._layers]  # pyright: ignore[reportReturnType]

    @property
    def masks(self) -> List[Tensor]:
        """The layers' masks."""
        return [layer.mask for layer in self._layers]  # pyright: ignore[reportReturnType]

    @property
    def scores(self) -> List[Tensor]:
        """For each layer the sum of its weight's gradients in the window."""
        return [getattr(self, f"score_{i}") for i in range(len(self._layers))]

    @property
    def listening(self) -> bool:
        """Whether the next backward pass counts for the scores, so that it must give the gradient of absent weights too."""
        return self.scored and not self.ended and self.steps >= self.rules.interval - self.rules.window

    def get_extra_state(self) -> Tensor:
        """The counters, on the CPU: reading them from a GPU would let the host wait at every step."""
        return torch.tensor([self.steps, self.changes, self.active, int(self.ended)])

    def set_extra_state(self, state: Tensor) -> None:
        self.steps, self.changes, self.active, ended = state.tolist()
        self.ended = bool(ended)
        self._tell(True)

    def restart(self) -> None:
        """Begin the schedule anew, for another training that starts with these weights; what was grown counts to the budget."""
        self.steps = self.changes = 0
        self.ended = self.rules.grow == "none"
        for score in self.scores if self.scored else ():
            score.zero_()
        self._tell(True)

    @torch.no_grad()
    def after_backward(self) -> None:
        """Add the whole gradient to the scores, then take absent weights out of it."""
        listening = self.listening
        self.steps += 1
        for i, (weight, mask) in enumerate(zip(self.weights, self.masks)):
            if weight.grad is None:
                continue
            if listening:
                self.scores[i].add_(weight.grad)
            weight.grad.mul_(mask)
            if self.rules.weight_decay:
                weight.grad.add_(weight, alpha=self.rules.weight_decay)  # absent weights are 0
        self._tell(False)

    @torch.no_grad()
    def between_iterations(self, progress: float, optimizer: Optional[torch.optim.Optimizer]) -> None:
        """Change connections if it is time to; `progress` is the share of the training that is done."""
        if self.ended or self.steps < self.rules.interval:
            return
        if progress >= self.rules.start:
            grown = self._add(progress) if self.rules.budget else self._replace(progress)
            if any(bool(g.any()) for g in grown):
                self.changes += 1
                for weight, changed in zip(self.weights, grown):
                    clear_state(optimizer, weight, changed)
            self.ended = progress >= self.rules.stop
        self.steps = 0
        for score in self.scores if self.scored else ():
            score.zero_()
        self._tell(True)

    def _tell(self, anyway: bool) -> None:
        """Layers that compute by what is present want to know when masks change, and when absent weights must have gradients."""
        listening = self.listening
        if anyway or listening != self._told:
            self._told = listening
            for layer in self._layers:
                if hasattr(layer, "told"):
                    layer.told(listening)  # pyright: ignore[reportCallIssue]

    def _add(self, progress: float) -> List[Tensor]:
        """Grow the best absent weights of all layers, as many as are due by now; returns what changed."""
        share = min(1.0, (progress - self.rules.start) / max(self.rules.stop - self.rules.start, 1e-9))
        due = int(self.rules.budget * share + 1e-9) - (self.active - self.start_count)
        flat = torch.cat([candidate_score(score, mask).flatten() for score, mask in zip(self._growth_scores(), self.masks)])
        chosen = top(flat, due) & (flat > 0)  # where nothing ever flows, a connection would be wasted
        changed = [part.view_as(mask) for part, mask in zip(chosen.split([mask.numel() for mask in self.masks]), self.masks)]
        for mask, new in zip(self.masks, changed):
            mask.logical_or_(new)
        self.active += int(chosen.sum())
        return changed

    def _replace(self, progress: float) -> List[Tensor]:
        """In each layer drop the smallest weights and grow as many that were absent; returns what changed."""
        share = self.rules.drop / 2 * (1 + math.cos(math.pi * min(1.0, progress / self.rules.stop)))
        changed = []
        for weight, mask, score in zip(self.weights, self.masks, self._growth_scores()):
            active = int(mask.sum())
            if self.scored and not bool(score.any()):  # not used in the window, so nothing is known
                changed.append(torch.zeros_like(mask))
                continue
            count = min(int(round(share * active)), mask.numel() - active)
            dropped = top(torch.where(mask, -weight.abs(), weight.new_full((), -math.inf)).flatten(), count).view_as(mask)
            grown = top(candidate_score(score, mask & ~dropped if self.rules.regrow else mask).flatten(), count).view_as(mask)
            dropped, grown = dropped & ~grown, grown & ~dropped  # what was both stays as it was
            mask.copy_(mask & ~dropped | grown)
            weight.masked_fill_(dropped, 0.0)
            changed.append(dropped | grown)
        return changed

    def _growth_scores(self) -> List[Tensor]:
        if self.scored:
            return [score.abs() for score in self.scores]
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.changes)
        return [torch.rand(weight.shape, generator=generator).to(weight.device) for weight in self.weights]

    def stats(self) -> Dict[str, float]:
        """Connections there are, and how often they were changed."""
        return {"connections": float(self.active), "topology_changes": float(self.changes)}


def candidate_score(score: Tensor, mask: Tensor) -> Tensor:
    """The score where a weight is absent, minus infinity where it is there already."""
    return score.masked_fill(mask, -math.inf)


def top(score: Tensor, count: int) -> Tensor:
    """Bool [n], set at the `count` largest of scores [n] that are not minus infinity."""
    chosen = torch.zeros_like(score, dtype=torch.bool)
    if count > 0:
        best, index = score.topk(min(count, len(score)))
        chosen[index] = best > -math.inf
    return chosen


def clear_state(optimizer: Optional[torch.optim.Optimizer], weight: Tensor, changed: Tensor) -> None:
    """Forget the optimiser's moments of changed weights: those of a dropped one would move what grows there later."""
    if optimizer is None:
        return
    for value in optimizer.state.get(weight, {}).values():
        if isinstance(value, Tensor) and value.shape == weight.shape:
            value.masked_fill_(changed, 0.0)


# -------------------------------------------------------------------------------------------------- sparse from the start


def erdos_renyi_densities(shapes: Sequence[Sequence[int]], density: float) -> List[float]:
    """Density of each layer: proportional to (I + O) / (I O), at most 1, `density` over all.

    `shapes` are `[..., O, I]`; a stack of matrices counts as one layer. Raises `ValueError` for a density outside of 0 to 1.
    """
    if not 0 < density <= 1:
        raise ValueError(f"The density is {density}; accepted is more than 0, up to 1.")
    sizes = [1] * len(shapes)
    for i, shape in enumerate(shapes):
        for length in shape:
            sizes[i] *= length
    raw = [(shape[-1] + shape[-2]) / (shape[-1] * shape[-2]) for shape in shapes]
    full: set = set()
    while True:  # layers that would be more than full are full, the others share what is left
        wanted = density * sum(sizes) - sum(sizes[i] for i in full)
        weight = sum(raw[i] * sizes[i] for i in range(len(shapes)) if i not in full)
        factor = wanted / weight if weight else 0.0
        over = {i for i in range(len(shapes)) if i not in full and factor * raw[i] > 1}
        if not over:
            return [1.0 if i in full else factor * raw[i] for i in range(len(shapes))]
        full |= over


def maskable_layers(module: nn.Module) -> List[nn.Module]:
    """The linear layers that learn and have no mask: every `nn.Linear`, and what says that it is `maskable`."""

    def fits(layer: nn.Module) -> bool:
        if not (isinstance(layer, nn.Linear) or getattr(layer, "maskable", False)) or hasattr(layer, "mask"):
            return False
        return bool(layer.weight.requires_grad)  # pyright: ignore[reportAttributeAccessIssue]

    return [layer for layer in module.modules() if fits(layer)]


def sparsify(module: nn.Module, sparsity: float, config: SparseConfig, seed: int = 0) -> Topology:
    """Make the linear layers of a module sparse; returns what must be told of gradient steps and iterations.

    A share `sparsity` of their weights is absent, by Erdos-Renyi densities, at places drawn from torch's generator. What is
    left is scaled up, so that outputs vary as much as those of the dense layers.
    Raises `ValueError` for a sparsity outside of 0 to 1, or a module without linear layers.
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"The sparsity is {sparsity}; accepted is 0 up to, but not including, 1.")
    layers = maskable_layers(module)
    if not layers:
        raise ValueError("There is no linear layer to make sparse.")
    weights: List[Tensor] = [layer.weight for layer in layers]  # pyright: ignore[reportAssignmentType]
    for layer, weight, density in zip(layers, weights, erdos_renyi_densities([w.shape for w in weights], 1 - sparsity)):
        mask = torch.zeros(weight.numel(), dtype=torch.bool)
        count = max(1, int(round(density * weight.numel())))
        mask[torch.randperm(weight.numel())[:count]] = True
        give_mask(layer, mask.view(weight.shape))
        with torch.no_grad():
            weight.mul_((weight.numel() / count) ** 0.5)
    grow = {"rigl": "gradient", "set": "random", "static": "none"}[config.method]
    rules = Rules(grow, config.interval, config.window, 0.0, config.stop, config.drop, 0, config.regrow, config.weight_decay)
    return Topology(layers, rules, seed)
