"""The agents' networks: observation and last action -> ReLU layer -> GRU cell -> a Q-value for each action.

With the message nets of *Fully Independent Communication* (arXiv:2401.15059): agents without common parameters hear the
others detached and themselves attached; agents that share one network are told their seat, hear only the others, and
learn through what they hear.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from agent.backbones import linear_flops
from agent.layers import linear
from engine.config import check_choice, check_range

SHARING = ("shared", "separate")
MESSAGES = ("none", "learned", "frozen")
MESSAGE_HIDDEN = 64  # width of the message net's two hidden layers, as published


@dataclass(frozen=True)
class NetConfig:
    """The agents' networks."""

    sharing: str = "shared"
    """shared: one network that is told the seat. separate: no common parameter."""
    messages: str = "none"
    """none, learned, or frozen: random message nets that never learn, the control that learned ones must beat."""
    message: int = 10
    """Width of a message."""
    hidden: int = 64
    """Width of the layers."""
    recurrent: bool = True
    """Off: a second ReLU layer in place of the GRU cell."""

    def __post_init__(self) -> None:
        for name, known in (("sharing", SHARING), ("messages", MESSAGES)):
            check_choice(self, known, name, prefix="net.")
        check_range(self, 1, None, "message", "hidden", prefix="net.")


class Stack(nn.Module):
    """A linear layer for each of n nets, `[..., N, I] -> [..., N, O]`: one for all N agents (n = 1), or one each (n = N)."""

    maskable = True  # for sparse training: `weight [n, O, I]`, one density over all nets, so that each net's own may change

    def __init__(self, nets: int, inputs: int, outputs: int, gain: float = 2**0.5):
        super().__init__()
        self.weight = nn.Parameter(torch.stack([linear(inputs, outputs, gain).weight.detach() for _ in range(nets)]))
        self.bias = nn.Parameter(torch.zeros(nets, outputs))

    def forward(self, x: Tensor) -> Tensor:
        if len(self.weight) == 1:
            return F.linear(x, self.weight[0], self.bias[0])
        return torch.einsum("...ni,noi->...no", x, self.weight) + self.bias

    @property
    def density(self) -> float:
        """Share of the weights that are there."""
        mask = getattr(self, "mask", None)
        return 1.0 if mask is None else float(mask.float().mean())

    def flops(self) -> float:
        """Of one agent."""
        return linear_flops(self.weight.shape[2], self.weight.shape[1], self.density)


class Memory(nn.Module):
    """A GRU for each of n nets, over time: `[T, B, N, I]`, first state `[B, N, H]` -> states `[T, B, N, H]`."""

    def __init__(self, nets: int, inputs: int, hidden: int):
        super().__init__()
        self.input = Stack(nets, inputs, 3 * hidden, 1.0)
        self.hidden = Stack(nets, hidden, 3 * hidden, 1.0)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        nets = len(self.input.weight)
        parts = [(x.flatten(1, 2), state.flatten(0, 1))] if nets == 1 else zip(x.unbind(2), state.unbind(1))
        out = []
        for net, (seen, first) in enumerate(parts):
            weights = [self.input.weight[net], self.hidden.weight[net], self.input.bias[net], self.hidden.bias[net]]
            out.append(torch.gru(seen, first[None].contiguous(), weights, True, 1, 0.0, self.training, False, False)[0])
        return out[0].view(*x.shape[:3], -1) if nets == 1 else torch.stack(out, 2)

    def flops(self) -> float:
        """`(1 - S) 3 h [2 (h + I) - 1]`, the density taken over both matrices."""
        weights = [self.input.weight, self.hidden.weight]
        present = sum(w.numel() * layer.density for w, layer in zip(weights, (self.input, self.hidden)))
        hidden, inputs = weights[1].shape[2], weights[0].shape[2]
        return present / sum(w.numel() for w in weights) * 3 * hidden * (2 * (hidden + inputs) - 1)


class AgentNets(nn.Module):
    """Q-values of N agents.

    Args:
        agents, features, actions: N, width D of an observation, A.
        config: the networks.
    """

    def __init__(self, agents: int, features: int, actions: int, config: NetConfig):
        super().__init__()
        self.config, self.agents, self.actions = config, agents, actions
        shared = config.sharing == "shared"
        nets, hidden = 1 if shared else agents, config.hidden
        heard = 0 if config.messages == "none" else config.message * (agents - shared)  # those of all others, and one's own
        self.message_net: nn.Sequential | None = None
        if config.messages != "none":
            sizes = (features, MESSAGE_HIDDEN, MESSAGE_HIDDEN, config.message)
            layers = [Stack(nets, *pair) for pair in zip(sizes, sizes[1:])]
            self.message_net = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
            self.message_net.requires_grad_(config.messages == "learned")
        self.enter = Stack(nets, features + actions + heard + agents * shared, hidden)
        self.memory = Memory(nets, hidden, hidden) if config.recurrent else None
        self.second = None if config.recurrent else Stack(nets, hidden, hidden)
        self.leave = Stack(nets, hidden, actions, 0.1)
        # the others of each agent, in the order of the seats
        others = torch.tensor([[j for j in range(agents) if j != i] for i in range(agents)], dtype=torch.int64)
        self.register_buffer("others", others.view(agents, agents - 1), persistent=False)
        self.others: Tensor

    def start(self, teams: int) -> Tensor:
        """The memory `[B, N, H]` before an episode."""
        return torch.zeros(teams, self.agents, self.config.hidden)

    def forward(self, obs: Tensor, last_action: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Q-values `[T, B, N, A]` and the last memory.

        `obs [T, B, N, D]`; `last_action [T, B, N]` int64, -1 for none; `state [B, N, H]`, the memory before the first step.
        """
        played = F.one_hot(last_action + 1, self.actions + 1)[..., 1:].to(obs.dtype)
        hidden = self.enter(torch.cat([obs, played, *self.heard(obs)], -1)).relu()
        if self.memory is None:
            assert self.second is not None
            return self.leave(self.second(hidden).relu()), state
        hidden = self.memory(hidden, state)
        return self.leave(hidden), hidden[-1]

    def heard(self, obs: Tensor) -> list[Tensor]:
        """What the agents hear, and which seat they have where they cannot know it."""
        shared = self.config.sharing == "shared"
        parts = []
        if self.message_net is not None:
            own = self.message_net(obs)
            others = (own if shared else own.detach())[..., self.others, :].flatten(-2)
            parts = [others] if shared else [others, own]
        if shared:
            parts.append(torch.eye(self.agents).expand(*obs.shape[:2], -1, -1))
        return parts

    def flops(self) -> float:
        """Multiplications and additions of one agent's decision."""
        layers = [layer for layer in (self.enter, self.memory, self.second, self.leave) if layer is not None]
        if self.message_net is not None:
            layers += [layer for layer in self.message_net if isinstance(layer, Stack)]
        return sum(layer.flops() for layer in layers)


def clip_by_net(nets: nn.Module, count: int, max_norm: float) -> None:
    """Clip the norm of each of `count` nets' gradients alone: every parameter is a stack of them, one net a slice."""
    gradients = [p.grad for p in nets.parameters() if p.grad is not None]
    norm = torch.stack([g.reshape(count, -1).square().sum(1) for g in gradients]).sum(0).sqrt()
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale.view(-1, *[1] * (gradient.dim() - 1)))


def parameter_count(module: nn.Module) -> int:
    """Weights that learn and are there."""
    count = sum(p.numel() for p in module.parameters() if p.requires_grad)
    for layer in module.modules():
        mask = getattr(layer, "mask", None)
        if mask is not None:
            count -= int((~mask).sum())
    return count


def layer_flops(module: nn.Module) -> float:
    """Of a module that uses each of its `nn.Linear` layers once."""
    total = 0.0
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            mask = getattr(layer, "mask", None)
            total += linear_flops(layer.in_features, layer.out_features, 1.0 if mask is None else float(mask.float().mean()))
    return total
