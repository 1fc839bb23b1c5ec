"""Bottom-up network (BUN, arXiv:2410.02516): the team is one network, at first without connections between its agents.

The weight matrices of the team's network are block-diagonal at the start: an agent's block sees that agent only. While
learning, the absent weights between agents whose gradient is largest are added, within a budget, at value 0: agents get
connected where that helps most, and only there. Grown connections stay.

An agent is a *seat*. With `agents = "groups"` a group of entities is one agent (in the game a factory and the robots at
home there): its input is the feature of the group's head, the entity whose slot is the group's number, joined with the
mean over the other members, and its output goes back to all of them. With `agents = "slots"` every entity is one.
The paper leaves open the sizes, the start and the schedule; what is chosen for them is said at the settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from agent.backbones import Backbone, Entities, Experience, linear_flops, linear_stats
from agent.layers import linear, tanh
from agent.sparse import MaskedLinear, Rules, Topology
from engine.config import check_choice, check_range

AGENTS = ("groups", "slots")
CONNECTIONS = ("grow", "blocks", "dense")
GROW_IN = ("input", "all")
GROW_BY = ("gradient", "random")
START = 0.1  # scale of the team's first output beside the shared layer: an untrained network of ten agents is mostly noise
FEW = 0.01  # below this share of present weights between agents they are computed one by one, which is faster


@dataclass(frozen=True)
class BUNConfig:
    """The team's network and how it grows."""

    agents: str = "groups"
    """groups: a group of entities (in the game a factory and its robots) is one agent. slots: every entity is one."""
    seats: int = 10
    """Agents of a team; entities of groups (or slots) with a higher number have the shared part only."""
    hidden: int = 32
    """Width of an agent's hidden layers."""
    layers: int = 2
    """Layers of the team's network, the last one included."""
    shared: bool = True
    """Add a layer on an entity's own feature, the same for all, to the team's output; without it only the team's network decides."""
    connections: str = "grow"
    """Between agents. grow: added while learning. blocks: never any. dense: all from the start (the network that BUN is compared with)."""
    grow_in: str = "input"
    """Layers that grow connections between agents. input: the first. all: every one."""
    grow_by: str = "gradient"
    """Which connections are added. gradient: those whose gradients sum to most. random: any, to know what the choice is worth."""
    budget: float = 0.005
    """Connections that may be added, as a share of all there could be between agents in those layers."""
    interval: int = 128
    """Gradient steps between two additions (rounded up to whole PPO iterations)."""
    window: int = 32
    """Gradient steps before an addition whose gradients are summed, to judge what to add."""
    start: float = 0.0
    """Share of the training before which nothing is added."""
    stop: float = 0.5
    """Share of the training at which the budget is used up."""

    def __post_init__(self) -> None:
        for name, accepted in (("agents", AGENTS), ("connections", CONNECTIONS), ("grow_in", GROW_IN), ("grow_by", GROW_BY)):
            check_choice(self, accepted, name, prefix="bun.")
        check_range(self, 1, None, "seats", "hidden", "layers", "interval", "window", prefix="bun.")
        check_range(self, 0, 1, "budget", prefix="bun.")
        if not 0 <= self.start < self.stop <= 1:
            raise ValueError(f"bun.start is {self.start} and bun.stop is {self.stop}; accepted are 0 <= start < stop <= 1.")


class BlockLinear(nn.Module):
    """A layer of its own for each of N agents: [B, N, I] -> [B, N, O]. Each block starts by its own fan-in."""

    maskable = True  # by dynamic sparse training

    def __init__(self, agents: int, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(orthogonal_blocks(agents, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(agents, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bni,noi->bno", x, self.weight) + self.bias


class TeamLinear(MaskedLinear):
    """A layer of the team's network: [B, N, I] -> [B, N, O] by one weight [N O, N I] over all agents.

    At first only the blocks on the diagonal are present (all of it if `dense`). What is computed follows what is present,
    but for the gradient steps in which the gradients of absent weights are asked for (`listening`).
    """

    training_only = ()  # the mask is needed for playing too: it says what is to be computed

    def __init__(self, agents: int, inputs: int, outputs: int, dense: bool):
        block = torch.eye(agents, dtype=torch.bool)[:, None, :, None].expand(agents, outputs, agents, inputs)
        super().__init__(agents * inputs, agents * outputs, block.reshape(agents * outputs, agents * inputs) | dense)
        self.training_only = ()
        self.agents, self.dense = agents, dense
        self.listening = False
        self._between: Optional[Tuple[Tensor, Tensor]] = None  # outputs and inputs of present weights between agents
        with torch.no_grad():
            nn.init.zeros_(self.bias)
            if dense:
                nn.init.orthogonal_(self.weight, 2**0.5)
            else:
                self.blocks().copy_(orthogonal_blocks(agents, inputs, outputs).permute(1, 2, 0))

    def blocks(self) -> Tensor:
        """The blocks on the diagonal [O, I, N], a view of the weight."""
        agents = self.agents
        return self.weight.view(agents, -1, agents, self.in_features // agents).diagonal(dim1=0, dim2=2)

    def between(self) -> Tuple[Tensor, Tensor]:
        """Rows and columns of the weight where two different agents are connected, each [C] int64."""
        if self._between is None or self._between[0].device != self.weight.device:
            places = self.mask.clone()
            agents = self.agents
            places.view(agents, -1, agents, self.in_features // agents).diagonal(dim1=0, dim2=2).fill_(False)
            target, source = places.nonzero(as_tuple=True)
            self._between = target, source
        return self._between

    def told(self, listening: bool) -> None:
        """By the topology, when its answer or the mask may have changed."""
        self.listening = listening
        self._between = None

    def forward(self, x: Tensor) -> Tensor:
        target, source = self.between()
        flat = x.flatten(1)
        if self.dense or len(target) > FEW * self.mask.numel() or (self.listening and torch.is_grad_enabled()):
            return F.linear(flat, self.weight, self.bias).view(len(x), self.agents, -1)
        y = torch.einsum("bni,oin->bno", x, self.blocks()).flatten(1) + self.bias
        if len(target):
            y = y.index_add(1, target, (flat[:, source] * self.weight[target, source]).to(y.dtype))
        return y.view(len(x), self.agents, -1)

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        super()._load_from_state_dict(*args, **kwargs)  # pyright: ignore[reportArgumentType]
        self._between = None


def orthogonal_blocks(agents: int, inputs: int, outputs: int) -> Tensor:
    """[N, O, I], each block orthogonal."""
    blocks = torch.empty(agents, outputs, inputs)
    for block in blocks:
        nn.init.orthogonal_(block, 2**0.5)
    return blocks


class BUNBackbone(Backbone):
    """[M, H] -> tanh(team's output at the entity's seat + shared layer of its own feature), [M, H]."""

    def __init__(self, width: int, config: BUNConfig):
        super().__init__()
        self.config = config
        inputs = 2 * width if config.agents == "groups" else width
        self.widths = [inputs] + [config.hidden] * (config.layers - 1) + [width]  # of an agent
        dense = config.connections == "dense"
        growing: List[TeamLinear] = []
        self.team = nn.ModuleList()
        for i, (before, after) in enumerate(zip(self.widths, self.widths[1:])):
            grows = config.connections == "grow" and (i == 0 or config.grow_in == "all")
            layer = TeamLinear(config.seats, before, after, dense) if dense or grows else BlockLinear(config.seats, before, after)
            self.team.append(layer)
            if isinstance(layer, TeamLinear):
                growing.append(layer)
        self.shared = linear(width, width) if config.shared else None
        if config.shared:
            with torch.no_grad():
                self.team[-1].weight.mul_(START)  # pyright: ignore[reportCallIssue]
        places = sum(layer.mask.numel() - int(layer.mask.sum()) for layer in growing)
        budget = int(round(config.budget * places))
        grow = config.grow_by if config.connections == "grow" and budget else "none"
        self.topology = Topology(growing, Rules(grow, config.interval, config.window, config.start, config.stop, budget=budget))
        self._growing = growing

    def forward(self, feature: Tensor, entities: Entities, stored: Optional[Dict[str, Tensor]] = None) -> Tuple[Tensor, Dict[str, Tensor]]:
        """[M, H] -> [M, H], and no fields. Absent agents are zeros to the others."""
        seats = self.config.seats
        groups = self.config.agents == "groups"
        seat = entities.group if groups else entities.slot
        nobody = entities.sides * seats  # one more place than there are, for entities without a seat
        place = torch.where(seat < seats, entities.side * seats + seat, nobody)
        if groups:
            head = entities.slot == entities.group
            joined = torch.cat(
                [
                    gathered(feature, torch.where(head, place, nobody), nobody, False)[:-1],
                    gathered(feature, torch.where(head, nobody, place), nobody, True)[:-1],
                ],
                1,
            )
        else:
            joined = gathered(feature, place, nobody, False)[:-1]
        x = joined.view(entities.sides, seats, -1)
        for layer in self.team[:-1]:
            x = tanh(layer(x))
        out = self.team[-1](x).flatten(0, 1)
        out = torch.cat([out, out.new_zeros(1, out.shape[1])])[place]
        if self.shared is not None:
            out = out + self.shared(feature)
        return tanh(out), {}

    def after_backward(self) -> None:
        self.topology.after_backward()

    def between_iterations(self, progress: float, optimizer: Optional[torch.optim.Optimizer], experience: Callable[[], Experience]) -> bool:
        self.topology.between_iterations(progress, optimizer)  # by gradients that were averaged over the ranks
        return False

    def edges(self) -> Tensor:
        """Connections [N, N] int64 from agent j (column) to agent i (row), over all layers that grow; 0 on the diagonal."""
        seats = self.config.seats
        total = torch.zeros(seats, seats, dtype=torch.long)
        for layer in self._growing:
            total += layer.mask.view(seats, -1, seats, layer.in_features // seats).sum((1, 3)).cpu()
        return total.fill_diagonal_(0)

    def stats(self) -> Dict[str, float]:
        """`flops` of a decision are an agent's share of the team's network and the shared layer; `flops_dense_team` are those of
        the same network with every weight present; `density` is over the team's network."""
        seats = self.config.seats
        flops = dense = active = places = 0.0
        for layer, inputs, outputs in zip(self.team, self.widths, self.widths[1:]):
            weight = layer.weight
            assert isinstance(weight, Tensor)
            present = float(layer.mask.sum()) if hasattr(layer, "mask") else float(weight.numel())  # pyright: ignore[reportCallIssue]
            whole = seats * inputs * seats * outputs
            active += present
            places += whole
            flops += linear_flops(seats * inputs, seats * outputs, present / whole) / seats
            dense += linear_flops(seats * inputs, seats * outputs) / seats
        stats = linear_stats(self)
        shared = linear_stats(self.shared)["flops"] if self.shared is not None else 0.0
        edges = self.edges()
        return {
            "parameters": stats["parameters"],
            "density": active / places,
            "flops": flops + shared,
            "flops_dense_team": dense + shared,
            "edges": float(edges.sum()),
            "connected_pairs": float((edges > 0).sum()),
            "budget": float(self.topology.rules.budget),
        }


def gathered(feature: Tensor, place: Tensor, places: int, mean: bool) -> Tensor:
    """Rows [M, H] added up (or averaged) at their places: [places + 1, H], zeros where there are none."""
    total = feature.new_zeros(places + 1, feature.shape[1]).index_add(0, place, feature)
    if not mean:
        return total
    count = torch.zeros(places + 1, device=feature.device).index_add(0, place, torch.ones(len(place), device=feature.device))
    return total / count.clamp_min(1.0)[:, None]
