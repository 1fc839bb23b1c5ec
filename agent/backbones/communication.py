"""Fully independent communication (Pina et al. 2024, arXiv:2401.15059), under PPO.

Agents without common parameters cannot train their messages through those who hear them. So every agent also hears
*itself*: its own message is part of its own input and carries the gradient, what it hears of others is detached.

    message net:  feature -> 64 -> ReLU -> 64 -> ReLU -> message (10)
    policy net:   feature, messages of the others (detached), own message (attached) -> feature

Messages of others are data: they are stored when acting (`incoming`) and not computed again when learning, so that the
probabilities before the first step are exactly those that acted. The paper learns Q-values with a recurrent net; here
the gated cell is left out, since PPO acts on features alone, and the last action is whatever the features say of it.
One Adam over all agents is one an agent, but for the clipping of the gradient's norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Optional, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from agent.backbones import Backbone, Entities
from agent.backbones.grouped import Grouped, grouped_stats
from agent.layers import linear
from engine.config import check_choice, check_range

SHARING = ("kind", "slot", "shared")
MESSAGES = ("learned", "frozen", "none")
HEARING = ("kind", "nearest", "ordered")


@dataclass(frozen=True)
class CommunicationConfig:
    """Who shares networks, what is said and what is heard."""

    sharing: str = "kind"
    """kind: one message and policy net a kind of entity. slot: one a seat in the team (the paper's agents); seats above
    `slots` share by modulo. shared: the paper's shared variant, one net for all that is told the seat, hears only the
    others and learns through what it hears."""
    messages: str = "learned"
    """learned. frozen: random message nets that never learn, the control that learned messages must beat. none."""
    hearing: str = "kind"
    """kind: the mean message of each kind of the others on the side. nearest: the messages of the nearest seats before and
    after. ordered: every other seat's message in a fixed order (the paper's), for teams of at most `slots` seats."""
    kinds: int = 3
    """Kinds of entities; the game has three."""
    slots: int = 32
    """Seats that `sharing` slot and shared and `hearing` ordered tell apart."""
    neighbours: int = 4
    """Seats that `nearest` hears; even, half of them before and half after."""
    message: int = 10
    """Width of a message."""
    message_hidden: int = 64
    """Width of the message net's two hidden layers."""
    layers: int = 1
    """Layers of the policy net, the last of the feature's width."""
    hidden: int = 128
    """Width of the policy net's layers before the last."""

    def __post_init__(self) -> None:
        for name, known in (("sharing", SHARING), ("messages", MESSAGES), ("hearing", HEARING)):
            check_choice(self, known, name, prefix="communication.")
        check_range(self, 1, None, "kinds", "slots", "message", "message_hidden", "layers", "hidden", prefix="communication.")
        if self.neighbours < 2 or self.neighbours % 2:
            raise ValueError(f"communication.neighbours is {self.neighbours}; accepted are even numbers from 2.")


class CommunicationBackbone(Backbone):
    """Entities of a side send each other messages, one round a turn."""

    def __init__(self, width: int, config: CommunicationConfig):
        super().__init__()
        self.config = config
        nets = {"kind": config.kinds, "slot": config.slots, "shared": 1}[config.sharing]
        shared, silent = config.sharing == "shared", config.messages == "none"
        heard = 0 if silent else config.message * self._heard()
        told = config.slots if shared else 0 if silent else config.message
        if not silent:
            self.message_net = Grouped(nets, lambda: message_net(width, config))
            if config.messages == "frozen":
                self.message_net.requires_grad_(False)
        self.policy_net = Grouped(nets, lambda: policy_net(width + heard + told, width, config))
        self.fields = {} if silent or shared else {"incoming": heard}
        self._norms: Dict[str, Tensor] = {}

    def _heard(self) -> int:
        config = self.config
        return {"kind": config.kinds, "nearest": config.neighbours, "ordered": config.slots - 1}[config.hearing]

    def forward(self, feature: Tensor, entities: Entities, stored: Optional[Dict[str, Tensor]] = None) -> Tuple[Tensor, Dict[str, Tensor]]:
        """[M, H] -> [M, H], and `incoming` [M, messages heard * width] where messages of others are data.

        In the shared variant the messages are computed anew when learning, so a batch must hold whole sides.
        Raises `ValueError` if `hearing` is ordered and a seat is not below `slots`.
        """
        config = self.config
        shared = config.sharing == "shared"
        net = {"kind": entities.kind, "slot": entities.slot % config.slots, "shared": torch.zeros_like(entities.slot)}[config.sharing]
        parts = [feature]
        fields: Dict[str, Tensor] = {}
        if config.messages != "none":
            # what is frozen must not learn by way of the feature either
            own = self.message_net(feature.detach() if config.messages == "frozen" else feature, net)
            if shared:
                incoming = self.hear(own.float(), entities)
            elif stored is None:
                incoming = self.hear(own.detach().float(), entities)
            else:
                incoming = stored["incoming"]
            parts.append(incoming)
            if not shared:
                parts.append(own)
                fields = {"incoming": incoming}
            self._norms = {"message_norm": own.detach().norm(dim=1).mean(), "incoming_norm": incoming.detach().norm(dim=1).mean()}
        if shared:
            parts.append(F.one_hot(entities.slot % config.slots, config.slots).to(feature.dtype))
        return self.policy_net(torch.cat([part.to(feature.dtype) for part in parts], 1), net), fields

    def hear(self, message: Tensor, entities: Entities) -> Tensor:
        """What each row hears of the others' messages [M, W] on its side: [M, W * messages heard]; silence is 0."""
        if self.config.hearing == "kind":
            return mean_by_kind(message, entities, self.config.kinds)
        if self.config.hearing == "nearest":
            return nearest_seats(message, entities, self.config.neighbours)
        return ordered_seats(message, entities, self.config.slots)

    def stats(self) -> Dict[str, float]:
        """Also the mean norms of the messages said and heard in the last pass."""
        return {**grouped_stats(self), **{name: float(norm) for name, norm in self._norms.items()}}


def message_net(width: int, config: CommunicationConfig) -> nn.Module:
    """feature [M, width] -> message [M, W], as published."""
    hidden = config.message_hidden
    return nn.Sequential(linear(width, hidden), nn.ReLU(), linear(hidden, hidden), nn.ReLU(), linear(hidden, config.message, 1.0))


def policy_net(inputs: int, width: int, config: CommunicationConfig) -> nn.Module:
    """[M, inputs] -> feature [M, width]."""
    widths = [inputs] + [config.hidden] * (config.layers - 1)
    before = [module for pair in zip(widths[:-1], widths[1:]) for module in (linear(*pair), nn.ReLU())]
    return nn.Sequential(*before, linear(widths[-1], width), nn.Tanh())


def mean_by_kind(message: Tensor, entities: Entities, kinds: int) -> Tensor:
    """The mean message of each kind over the *other* entities of the side, [M, kinds * W]; 0 where there is none."""
    place = entities.side * kinds + entities.kind
    sums = message.new_zeros(entities.sides * kinds, message.shape[1]).index_add(0, place, message)
    counts = message.new_zeros(entities.sides * kinds).index_add(0, place, torch.ones_like(message[:, 0]))
    own = F.one_hot(entities.kind, kinds).to(message.dtype)
    others = sums.view(entities.sides, kinds, -1)[entities.side] - own[:, :, None] * message[:, None]
    number = counts.view(entities.sides, kinds)[entities.side] - own
    # where nobody is left the difference is rounding, not a message
    return (others / number.clamp(min=1)[:, :, None] * (number > 0)[:, :, None]).flatten(1)


def nearest_seats(message: Tensor, entities: Entities, neighbours: int) -> Tensor:
    """Messages of the next living seats before and after on the side, nearest first, [M, neighbours * W]."""
    rows = len(message)
    order = torch.sort(entities.slot, stable=True)[1]
    order = order[torch.sort(entities.side[order], stable=True)[1]]
    side, said = entities.side[order], message[order]
    place = torch.arange(rows, device=order.device)
    heard = []
    for step in range(1, neighbours // 2 + 1):
        for other in (place - step, place + step):
            there = other.clamp(0, max(rows - 1, 0))
            same = (other == there) & (side[there] == side)
            heard.append(said[there] * same[:, None].to(said.dtype))
    back = torch.empty_like(order)
    back[order] = place
    return torch.cat(heard, 1)[back]


def ordered_seats(message: Tensor, entities: Entities, slots: int) -> Tensor:
    """Messages of all other seats of the side in the order of the seats, [M, (slots - 1) * W]."""
    if len(message) and int(entities.slot.max()) >= slots:
        raise ValueError(f"A seat is {int(entities.slot.max())}; with hearing ordered seats must be below slots, {slots}.")
    place = entities.side * slots + entities.slot
    table = message.new_zeros(entities.sides * slots, message.shape[1]).index_add(0, place, message)
    other = torch.arange(slots - 1, device=place.device)[None]
    other = other + (other >= entities.slot[:, None]).long()
    return table[entities.side[:, None] * slots + other].flatten(1)
