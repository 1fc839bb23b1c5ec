"""Adaptive parameter sharing (AdaPS, Li et al. 2023, arXiv:2312.09009): alike entities share a part of one network.

1. Until `warmup` of the training, all share the whole network, and transitions are collected.
2. A variational autoencoder learns an identity vector for every *key* (who an entity is, for longer than its life) from
   what its actions bring; K-means finds K clusters of them (`agent.backbones.adaps_cluster`).
3. A random mapping net that never learns makes of each cluster's centre a binary mask over the network's neurons.
4. From then on an entity uses only its cluster's neurons. Masks and clusters are frozen.

So the network has the parameters of full sharing, alike entities learn from each other's experience, and others differ.
The baselines of the paper are modes of the same config. Networks, sizes and the scale of the masks' logits are choices
made here or in the closest published code; the paper is silent.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from agent.backbones import Backbone, Entities, Experience, linear_flops
from agent.backbones.adaps_cluster import FEW, Transitions, find_clusters, learn_identities, nearest, neuron_masks
from agent.backbones.grouped import GroupedLinear, NeuronGate, grouped_stats
from agent.layers import tanh
from engine.config import check_choice, check_range

SHARING = ("adaps", "full", "full_id", "none", "selective")
KEYS = ("kind_group", "slot")
IDENTITIES = ("learned", "random")


@dataclass(frozen=True)
class AdapsConfig:
    """Who shares what with whom, and how that is found out."""

    sharing: str = "adaps"
    """adaps: one network, a neuron mask a cluster. full: one network. full_id: one network that is told the key. none: a
    network a key. selective: a network a cluster; when the clusters are found each starts as a copy of the common one."""
    layers: int = 1
    """Layers of the feature's width, each followed by tanh (and the mask)."""
    key: str = "kind_group"
    """Whose identity is learned: kind_group, entities of a kind that belong to the same seat (`group`), or slot, a seat."""
    kinds: int = 3
    """Kinds of entities; the game has three."""
    groups: int = 10
    """Seats that others belong to; seats above share a key by modulo."""
    slots: int = 32
    """Keys with `key` slot; seats above share a key by modulo."""
    warmup: float = 0.05
    """Share of the training that collects transitions before the clusters are found."""
    samples: int = 10_000
    """Transitions kept, the newest."""
    clusters: int = 0
    """K; 0 chooses it by the Davies-Bouldin score."""
    max_clusters: int = 8
    """Largest K that may be chosen; masks (or networks) are kept for so many."""
    threshold: float = 0.4
    """Neurons whose sigmoid is above it stay: 0.4 keeps two thirds, 0.5 half."""
    hidden_features: Tuple[int, int] = (0, 0)
    """First and after-last column of the observation that the decoder is not told, since they say who acts; it has to
    foretell them all the same, from the identity vector."""
    identities: str = "learned"
    """Identity vectors. learned: by the autoencoder. random: drawn, so that the clusters mean nothing (a control; with as many clusters
    as keys every key has a random mask of its own)."""
    latent: int = 10
    """Width of an identity vector."""
    epochs: int = 10
    """Passes of the autoencoder over a full store of transitions; one that is not full is passed over more often."""
    learning_rate: float = 3e-4
    """Of the autoencoder; what tells identities apart may be a small part of its error, and needs many or large steps."""
    seed: int = 0
    """Of the autoencoder, the clustering and the mapping net."""

    def __post_init__(self) -> None:
        for name, known in (("sharing", SHARING), ("key", KEYS), ("identities", IDENTITIES)):
            check_choice(self, known, name, prefix="adaps.")
        check_range(self, 1, None, "layers", "kinds", "groups", "slots", "samples", "latent", "epochs", prefix="adaps.")
        check_range(self, 2, None, "max_clusters", prefix="adaps.")
        if not 0 <= self.clusters <= self.max_clusters:
            raise ValueError(f"adaps.clusters is {self.clusters}; accepted are 0 to adaps.max_clusters, {self.max_clusters}.")
        for name in ("warmup", "threshold"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"adaps.{name} is {getattr(self, name)}; accepted are 0 to below 1.")

    def keys(self) -> int:
        """Number of identity keys."""
        return self.kinds * self.groups if self.key == "kind_group" else self.slots


class AdapsBackbone(Backbone):
    """A shared network of which each cluster of entities uses its own neurons; or one of its baselines.

    A key with too few transitions for an identity vector (never seen, or hardly) takes the mean identity of the keys of
    its kind that have one, or of all keys if none of its kind has, and the cluster whose centre is nearest to that.
    """

    clusters: Tensor
    cluster: Tensor
    centres: Tensor
    identity: Tensor
    collected: Tensor
    widths: Tensor
    mapping_inner: Tensor
    mapping_bias: Tensor
    mapping_outer: Tensor
    training_only = ("collected", "widths", "identity", "centres", "mapping_inner", "mapping_bias", "mapping_outer")

    def __init__(self, width: int, config: AdapsConfig):
        super().__init__()
        self.config = config
        keys, most = config.keys(), config.max_clusters
        nets = {"none": keys, "selective": most}.get(config.sharing, 1)
        told = keys if config.sharing == "full_id" else 0
        inputs = [width + told] + [width] * (config.layers - 1)
        self.layers = nn.ModuleList([GroupedLinear(nets, i, width) for i in inputs])
        gates = config.layers if config.sharing == "adaps" else 0
        self.gates = nn.ModuleList([NeuronGate(most, width) for _ in range(gates)])
        self.width = width
        self._buffer("clusters", torch.tensor(0))  # found; 0 before
        self._buffer("cluster", torch.zeros(keys, dtype=torch.int64))  # of each key
        self._buffer("centres", torch.zeros(most, config.latent))
        self._buffer("identity", torch.zeros(keys, config.latent))  # of each key, to look at
        self._buffer("collected", torch.zeros(0, 0))  # transitions, a row each: key, feature, action, reward, next feature
        self._buffer("widths", torch.zeros(5, dtype=torch.int64))  # of these five
        generator = torch.Generator().manual_seed(config.seed)
        hidden = 64 if gates else 0
        for name, shape in (
            ("mapping_inner", (hidden, config.latent)),
            ("mapping_bias", (hidden,)),
            ("mapping_outer", (gates * width, hidden)),
        ):
            self._buffer(name, torch.randn(shape, generator=generator))

    def _buffer(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value)

    def key(self, entities: Entities) -> Tensor:
        """The identity key of each row, [M] int64."""
        if self.config.key == "slot":
            return entities.slot % self.config.slots
        return entities.kind * self.config.groups + entities.group % self.config.groups

    def forward(self, feature: Tensor, entities: Entities, stored: Optional[Dict[str, Tensor]] = None) -> Tuple[Tensor, Dict[str, Tensor]]:
        """[M, H] -> [M, H], and no fields."""
        key = self.key(entities)
        cluster = self.cluster[key]
        net = {"none": key, "selective": cluster}.get(self.config.sharing, torch.zeros_like(key))
        if self.config.sharing == "full_id":
            feature = torch.cat([feature, F.one_hot(key, self.config.keys()).to(feature.dtype)], 1)
        for number, layer in enumerate(self.layers):
            feature = tanh(layer(feature, net))
            if len(self.gates):
                feature = self.gates[number](feature, cluster)
        return feature, {}

    def between_iterations(self, progress: float, optimizer: Optional[torch.optim.Optimizer], experience: Callable[[], Experience]) -> bool:
        """Collects until `warmup`, then finds the clusters, once; returns whether it did, since every rank's autoencoder learns alone."""
        if self.config.sharing not in ("adaps", "selective") or int(self.clusters):
            return False
        self.collect(experience())
        if progress >= self.config.warmup and len(self.collected):
            self.adapt(optimizer)
        return bool(self.clusters)

    def collect(self, seen: Experience) -> None:
        """Keep the newest transitions; of a rollout that is larger than the store, rows evenly spread."""
        rows = torch.from_numpy(seen.next >= 0).nonzero()[:, 0]
        if len(rows) > self.config.samples:
            rows = rows[torch.linspace(0, len(rows) - 1, self.config.samples).round().long()]
        columns = {name: torch.from_numpy(value)[rows] for name, value in seen._asdict().items()}
        entities = Entities(columns["slot"], columns["slot"], columns["kind"], columns["group"], 1)
        after = torch.from_numpy(seen.feature)[columns["next"]]
        parts = [self.key(entities)[:, None], columns["feature"], columns["action"], columns["reward"][:, None], after]
        fresh = torch.cat([part.float() for part in parts], 1).to(self.collected.device)
        kept = self.collected.reshape(len(self.collected), fresh.shape[1])
        self.collected = torch.cat([kept, fresh])[-self.config.samples :]
        self.widths.copy_(torch.tensor([part.shape[1] for part in parts]))

    def transitions(self) -> Transitions:
        """What was collected, on the CPU."""
        key, before, action, reward, after = self.collected.cpu().split(self.widths.tolist(), 1)
        return Transitions(key[:, 0].long(), before, action.long(), reward[:, 0], after)

    def adapt(self, optimizer: Optional[torch.optim.Optimizer]) -> None:
        """Find identities and clusters in what was collected, freeze masks or nets, and forget what was collected.

        While no key has enough transitions it changes nothing, and collecting goes on.
        """
        config, data = self.config, self.transitions()
        known = torch.bincount(data.key, minlength=config.keys()) >= FEW
        if not known.any():
            return
        identity = self.identities(data)
        identity = with_unknown(identity, known, config.groups if config.key == "kind_group" else config.slots)
        label, centres = find_clusters(identity[known], config.clusters, config.max_clusters, config.seed)
        cluster = nearest(identity, centres)
        cluster[known] = label
        self.cluster.copy_(cluster)
        self.identity.copy_(identity)
        self.centres[: len(centres)] = centres.to(self.centres.device)
        self.clusters.fill_(len(centres))
        if len(self.gates):
            mapping = [tensor.cpu() for tensor in (self.mapping_inner, self.mapping_bias, self.mapping_outer)]
            masks = neuron_masks(centres, mapping, config.threshold).split(self.width, 1)
            for gate, mask in zip(self.every_gate(), masks):
                gate.mask[: len(centres)] = mask.to(gate.mask.device)
        else:
            self.copy_first_net(optimizer)
        self.collected = self.collected[:0, :0].clone()

    def identities(self, data: Transitions) -> Tensor:
        """The identity vector of every key, [keys, z]."""
        config = self.config
        if config.identities == "random":
            return torch.randn(config.keys(), config.latent, generator=torch.Generator().manual_seed(config.seed))
        epochs = -(-config.epochs * config.samples // len(data.key))
        return learn_identities(
            data, config.keys(), config.hidden_features, config.latent, epochs, learning_rate=config.learning_rate, seed=config.seed
        )

    def every_gate(self) -> List[NeuronGate]:
        """The masks, by layer."""
        return [gate for gate in self.gates if isinstance(gate, NeuronGate)]

    def copy_first_net(self, optimizer: Optional[torch.optim.Optimizer]) -> None:
        """The net that all shared becomes every cluster's own, with the optimiser's state of it."""
        for layer in self.modules():
            if not isinstance(layer, GroupedLinear):
                continue
            first = layer.of_group[0]
            for other in list(layer.of_group)[1:]:
                other.load_state_dict(first.state_dict())
                for source, target in zip(first.parameters(), other.parameters()):
                    if optimizer is not None and source in optimizer.state:
                        optimizer.state[target] = copy.deepcopy(optimizer.state[source])

    def _load_from_state_dict(self, state_dict: Dict[str, Any], prefix: str, *rest: Any) -> None:
        stored = state_dict.get(prefix + "collected")
        if stored is not None:
            self.collected = stored.new_zeros(stored.shape).to(self.collected.device)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def stats(self) -> Dict[str, float]:
        """Also `clusters` (0 until they are found) and `neurons`, the mean share of the neurons that a cluster uses."""
        stats = grouped_stats(self)
        found = int(self.clusters)
        stats["clusters"] = float(found)
        if self.config.sharing == "selective":
            stats["parameters"] *= max(found, 1) / self.config.max_clusters
        if len(self.gates):
            masks = torch.stack([gate.mask for gate in self.every_gate()])[:, : max(found, 1)].cpu()  # [L, K, H]
            stats["neurons"] = float(masks.mean())
            active = [[float(self.width)] * masks.shape[1]] + masks.sum(2).tolist()
            costs = [linear_flops(i, o, stats["density"]) for ins, outs in zip(active[:-1], active[1:]) for i, o in zip(ins, outs)]
            stats["flops"] = sum(costs) / masks.shape[1]
        return stats


def with_unknown(identity: Tensor, known: Tensor, per_kind: int) -> Tensor:
    """Identity vectors [keys, z] with those that are not `known` [keys] replaced by the mean of the known ones of the same
    kind (`per_kind` keys in a row), or of all."""
    filled = identity.clone()
    for first in range(0, len(identity), per_kind):
        block = slice(first, first + per_kind)
        of_kind = identity[block][known[block]]
        filled[block][~known[block]] = (of_kind if len(of_kind) else identity[known]).mean(0)
    return filled
