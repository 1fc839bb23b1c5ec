"""The policy: extractor -> backbone -> heads, one decision and one value for every entity."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

from agent.backbones import Backbone, Entities, Experience, linear_stats
from agent.backbones.adaps import AdapsBackbone, AdapsConfig
from agent.backbones.bun import BUNBackbone, BUNConfig
from agent.backbones.communication import CommunicationBackbone, CommunicationConfig
from agent.backbones.dense import DenseBackbone, DenseConfig
from agent.batch import Batch, plane_block
from agent.extractor import HybridExtractor, PixelExtractor
from agent.heads import LOGITS, ActionHeads, Distribution, advised_logits
from agent.layers import linear
from agent.sparse import SparseConfig, sparsify
from engine.config import check_choice
from engine.parts import is_part, load_part
from wrappers.action import AMOUNT_NAMES, ActionConfig
from wrappers.advice import ADVICE
from wrappers.features import FACTORY_WIDTH, ROBOT_NAMES, ROBOT_WIDTH
from wrappers.observation import GRID, PLANES, SCALARS, Observation
from wrappers.own_features import features_of

BACKBONE = "backbone"  # metadata of a field that is a backbone's config
EXTRACTORS = ("hybrid", "pixel")
ADVISERS = ("farmer", "reaper")
ENTITY_KINDS = 3  # factories, lights, heavies
SAYS_KIND = (0, ROBOT_NAMES.index("crop_blocked[-2,-2]"))  # columns that tell factories, lights and heavies apart: all but the crop


@dataclass(frozen=True)
class PolicyConfig:
    """The network. The observation's sizes are filled in by whoever makes the observations."""

    extractor: str = "hybrid"
    """hybrid: downsampled map, compute follows the entities. pixel: full-resolution residual trunk."""
    backbone: str = "dense"
    """Which method turns entity features into entity features: dense, bun, communication, adaps, or a class of your own as
    package.module:Class or path/to/file.py:Class, which is made with the width."""
    width: int = 128
    """Width H of an entity's features."""
    channels: int = 16
    """Channels of the map encoder."""
    blocks: int = 4
    """Residual blocks of the pixel trunk."""
    sparsity: float = 0.0
    """Share of absent weights in the linear layers of extractor and backbone (dynamic sparse training); 0 is dense."""
    greedy: bool = False
    """Always take the best action: the logits are advantages of Q-values. Set by value-based training (--algo)."""
    adviser: Optional[str] = None
    """farmer, reaper: see with every row what this agent would do, and do that unless something else is better (`wrappers.advice`)."""
    advice_gain: float = 6.0
    """What the advised choice's logit is raised by, at the start of training; the policy learns its own."""
    features: Tuple[str, ...] = ()
    """Functions of your own, as package.module:function or path/to/file.py:function: from a `wrappers.own_features.Seen` to a number
    for each row, which the network sees beside ours."""
    # a backbone is its field here: the name, its config, and of what class it is
    dense: DenseConfig = field(default_factory=DenseConfig, metadata={BACKBONE: DenseBackbone})
    bun: BUNConfig = field(default_factory=BUNConfig, metadata={BACKBONE: BUNBackbone})
    communication: CommunicationConfig = field(default_factory=CommunicationConfig, metadata={BACKBONE: CommunicationBackbone})
    adaps: AdapsConfig = field(default_factory=lambda: AdapsConfig(hidden_features=SAYS_KIND), metadata={BACKBONE: AdapsBackbone})
    sparse: SparseConfig = field(default_factory=SparseConfig)

    def __post_init__(self) -> None:
        check_choice(self, EXTRACTORS, "extractor", prefix="policy.")
        if not is_part(self.backbone):
            check_choice(self, sorted(BACKBONES), "backbone", prefix="policy.")
        if self.adviser is not None and self.adviser not in ADVISERS:
            raise ValueError("policy.adviser is {!r}; accepted are {}, or none.".format(self.adviser, ", ".join(ADVISERS)))
        for name in self.features:
            if not is_part(name):
                raise ValueError(
                    f"policy.features has {name!r}; accepted are functions of your own, as package.module:function or "
                    "path/to/file.py:function."
                )
        if not 0 <= self.sparsity < 1:
            raise ValueError(f"policy.sparsity is {self.sparsity}; accepted is 0 up to, but not including, 1.")
        for name, kinds in (("communication", self.communication.kinds), ("adaps", self.adaps.kinds)):
            if kinds < ENTITY_KINDS:
                raise ValueError(f"{name}.kinds is {kinds}; it must be at least {ENTITY_KINDS}, for factories, lights and heavies.")


# name -> class and class of its config, both taken from the fields of `PolicyConfig`
BACKBONES = {
    f.name: (f.metadata[BACKBONE], type(f.default_factory()))  # pyright: ignore[reportCallIssue]
    for f in dataclasses.fields(PolicyConfig)
    if BACKBONE in f.metadata
}


def make_backbone(config: PolicyConfig) -> Any:
    """The `Backbone` that the config names. Raises `ValueError` for one of the user's own that is no `Backbone`."""
    if is_part(config.backbone):
        return own_backbone(config.backbone, config.width)
    make, _ = BACKBONES[config.backbone]
    return make(config.width, getattr(config, config.backbone))


def own_backbone(name: str, width: int) -> Any:
    """A backbone of the user's own, package.module:Class or path/to/file.py:Class. Raises `ValueError` if it is no `Backbone`."""
    own = load_part(name)
    if not (isinstance(own, type) and issubclass(own, Backbone)):
        raise ValueError(f"{name} is no class of agent.backbones.Backbone.")
    return own(width)


def policy_sizes(actions: ActionConfig, config: PolicyConfig = PolicyConfig(), map_size: int = 48) -> Dict[str, Any]:
    """What a policy must know of the observations and of what is on offer; `pixel` sees every cell of a map of this size."""
    return {
        "entity": ROBOT_WIDTH,
        "own": len(config.features),
        "advice": ADVICE if config.adviser is not None else 0,
        "factory": FACTORY_WIDTH,
        "planes": PLANES,
        "plane_size": map_size if config.extractor == "pixel" else GRID,
        "scalars": SCALARS,
        "amounts": actions.amounts_offered(),
        "resources": max(len(actions.transfer), len(actions.pickup)),
    }


def check_sizes(sizes: Any) -> None:
    """Raises `ValueError` for what `policy_sizes` did not make."""
    made = policy_sizes(ActionConfig())
    if not isinstance(sizes, dict) or set(sizes) | {"advice", "own"} != set(made):  # older policies had neither
        raise ValueError(f"The policy config's sizes are {sizes!r}, not an object with {', '.join(made)}.")
    for name, size in sizes.items():
        flags = isinstance(size, list) and len(size) == len(AMOUNT_NAMES) and all(type(offered) is bool for offered in size)
        if not (flags if name == "amounts" else type(size) is int and size >= 0):
            raise ValueError(f"The policy config's sizes.{name} is {size!r}.")


class Output(NamedTuple):
    """What the policy says of M rows."""

    logits: Tensor  # [M, LOGITS]
    value: Tensor  # [M] float32
    fields: Dict[str, Tensor]  # of `Policy.fields`, [M, width] each; to be stored when acting


class Policy(nn.Module):
    """Decides for every entity of every side at once.

    Args:
        config: the network.
        sizes: as `policy_sizes` makes them: widths of the observation, a bool for each amount on offer, and the most
            resources that a transfer or a pickup can choose from.

    Raises `ValueError` for an adviser or features of one's own without room for them in the observation.
    """

    def __init__(self, config: PolicyConfig, sizes: Dict[str, Any]):
        super().__init__()
        if config.adviser is not None and not sizes.get("advice"):
            raise ValueError(f"adviser is {config.adviser}, and the sizes have no room for advice; policy_sizes(actions, config) makes it.")
        if len(config.features) != sizes.get("own", 0):
            raise ValueError(f"features are {config.features}, and the sizes have room for {sizes.get('own', 0)} of one's own.")
        self.config = config
        self.sizes = dict(sizes)
        self.own_features = features_of(config.features)
        if config.extractor == "pixel":
            self.extractor = PixelExtractor(sizes["planes"], sizes["scalars"], config.width, config.channels, config.blocks)
        else:
            self.extractor = HybridExtractor(
                sizes["planes"], sizes["plane_size"], sizes["scalars"], sizes["entity"], sizes["factory"], config.width, config.channels
            )
        self.backbone = make_backbone(config)
        body = nn.ModuleList([self.extractor, self.backbone])  # the heads stay dense: they are small and everything passes them
        self.topology = sparsify(body, config.sparsity, config.sparse) if config.sparsity else None
        self.heads = ActionHeads(config.width)
        if config.features:
            self.own = linear(len(config.features), config.width)
        if config.adviser is not None:
            self.advised = linear(LOGITS, config.width, 0.01)
            self.advice_gain = nn.Parameter(torch.full((LOGITS,), config.advice_gain))
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
        values["features"] = tuple(values.get("features", ()))
        if "sparse" in values:
            values["sparse"] = SparseConfig(**values["sparse"])
        return cls(PolicyConfig(**values), sizes)

    def full_config(self) -> Dict[str, Any]:
        """Everything needed to build this policy again, as plain values."""
        values = dataclasses.asdict(self.config)
        values["sizes"] = self.sizes
        return values

    def load_state_dict(self, state_dict: Any, strict: bool = True, **options: Any) -> Any:
        """As of every module; a state that is another policy's, or holds numbers that are not finite, is a `ValueError` in a sentence."""
        for name, own in self.state_dict().items():
            given = state_dict.get(name, own)
            if given.dtype != own.dtype:  # torch would convert it without a word
                raise ValueError(f"The weights {name} are {given.dtype}; expected is {own.dtype}.")
            if not torch.isfinite(given).all():
                raise ValueError(f"The weights {name} hold numbers that are not finite.")
        try:
            return super().load_state_dict(state_dict, strict, **options)
        except RuntimeError as error:
            odd = sorted(set(self.state_dict()) ^ set(state_dict))
            what = f"{odd[0]} and {len(odd) - 1} more tensors are in one and not in the other." if odd else str(error)
            name = f"backbone {self.config.backbone} and sparsity {self.config.sparsity:g}"
            raise ValueError(f"The weights are not those of a policy with {name}: {what}") from error

    @property
    def fields(self) -> Dict[str, int]:
        """What acting makes and learning must see again: name and width."""
        return self.backbone.fields

    def forward(self, batch: Batch, stored: Optional[Dict[str, Tensor]] = None) -> Output:
        """The policy's output; when learning, `stored` holds the `fields` that acting returned for these rows."""
        entities = Entities(batch.side, batch.slot, batch.kind, batch.home, len(batch.scalar))
        width = self.sizes["entity"]
        more = batch.feature[:, width:]  # perhaps of somebody else who sees the same observation
        seen = self.extractor(batch if more.shape[1] == 0 else batch._replace(feature=batch.feature[:, :width]))
        if self.own_features:
            seen = seen + self.own(more[:, : len(self.own_features)])
        hot = None
        if self.config.adviser is not None:
            hot = advised_logits(more[:, -ADVICE:])
            seen = seen + self.advised(hot)
        feature, fields = self.backbone(seen, entities, stored)
        logits = self.heads(feature)
        if hot is not None:
            logits = logits + self.advice_gain * hot
        return Output(logits, self.value(feature)[:, 0].float(), fields)

    def after_backward(self) -> None:
        """After a backward pass, gradients averaged over the ranks and not clipped yet (see `agent.backbones`)."""
        self.backbone.after_backward()
        if self.topology is not None:
            self.topology.after_backward()

    def between_iterations(self, progress: float, optimizer: Optional[torch.optim.Optimizer], experience: Callable[[], Experience]) -> bool:
        """Between two iterations of PPO; returns whether ranks may have come to different results (see `agent.backbones`)."""
        alone = self.backbone.between_iterations(progress, optimizer, experience)
        if self.topology is not None:
            self.topology.between_iterations(progress, optimizer)
        return bool(alone)

    def stats(self) -> Dict[str, float]:
        """The backbone's figures, and of the whole policy the weights that are present and the density of its linear layers."""
        whole = linear_stats(self)
        stats = {**self.backbone.stats(), "policy_parameters": whole["parameters"], "policy_density": whole["density"]}
        return {**stats, **self.topology.stats()} if self.topology is not None else stats

    def distribution(self, logits: Tensor, mask: Tensor) -> Distribution:
        """What the policy may choose for rows with these logits and mask bits."""
        return Distribution(logits, mask, self.amounts, self.free, self.config.greedy)

    def observation(self, sides: int) -> Observation:
        """Buffers for what this policy wants to see of B sides."""
        return Observation(sides, self.sizes["plane_size"], self.sizes.get("advice", 0), self.own_features)

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
            planes=self.extractor.arrange(torch.from_numpy(obs.planes)),
            scalar=torch.from_numpy(obs.scalar),
            robots=torch.from_numpy(np.flatnonzero(obs.kind[:rows] != 0)),
            factories=torch.from_numpy(np.flatnonzero(obs.kind[:rows] == 0)),
        )

    @torch.no_grad()
    def act(self, obs: Any, generator: torch.Generator | None = None, greedy: bool = False) -> np.ndarray:
        """Actions [M, 4] int64 for the rows of an observation."""
        batch = self.batch(obs).to(self.amounts.device)
        action, _ = self.distribution(self(batch).logits, batch.mask).sample(generator, greedy)
        return action.cpu().numpy()
