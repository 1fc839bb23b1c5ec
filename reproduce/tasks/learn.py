"""PPO for the small tasks, with any backbone through the contract's hooks: one loop, one file.

Trajectories are separated as in the game: every agent is a group of its own, with its own reward, value, advantage and
ratio. The policy is a small input layer, the backbone, and a head each for actions and value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from agent.backbones import Backbone, Entities, Experience, linear_stats
from agent.layers import linear, tanh
from agent.policy import BACKBONES, own_backbone
from engine.config import check_choice, check_range
from engine.parts import is_part
from reproduce.tasks import Task, make_task
from reproduce.tasks.curve import run_with_curve
from reproduce.tasks.disturbed import Disturbance
from training.ppo.loss import ppo_loss
from training.trajectories.advantages import gae, normalize

EVALUATION_SEED = 1_000_003  # added to the run's seed: evaluation never shares training's generator


@dataclass(frozen=True)
class LearnConfig:
    """One run. `options`, `method` and `sparse` are fields of the task's, the backbone's and the sparse training's config."""

    task: str = "spread"
    options: dict[str, Any] = field(default_factory=dict)
    backbone: str = "dense"
    """One of ours, or a class of your own as package.module:Class or path/to/file.py:Class."""
    method: dict[str, Any] = field(default_factory=dict)
    sparsity: float = 0.0
    """Share of the weights of input layer and backbone that is absent; 0 is dense."""
    sparse: dict[str, Any] = field(default_factory=dict)
    width: int = 64
    input_layer: bool = True
    """Off: the backbone gets the observation itself, filled up with zeros to the width."""
    separate: bool = False
    """Input layer and heads of each agent are its own; whether the backbone's weights are is the backbone's matter."""
    seed: int = 1
    env_steps: int = 400_000
    """Environment steps; each is a decision of every agent."""
    envs: int = 32
    rollout_steps: int = 25
    epochs: int = 4
    minibatches: int = 4
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    gamma: float = 0.95
    gae_lambda: float = 0.95
    clip_coef: float = 0.2
    ent_coef: float = 0.01
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    reward_scale: float = 0.2
    """Rewards are multiplied by it in learning, so that returns are about 1; the curve has them as they are."""
    evaluations: int = 10
    eval_episodes: int = 64

    def __post_init__(self) -> None:
        if not is_part(self.backbone):
            check_choice(self, sorted(BACKBONES), "backbone")
        check_range(self, 1, None, "width", "env_steps", "envs", "rollout_steps", "epochs", "minibatches", "evaluations", "eval_episodes")
        if self.minibatches > self.envs * self.rollout_steps:
            raise ValueError(
                f"minibatches is {self.minibatches}, but envs {self.envs} x rollout_steps {self.rollout_steps} have fewer teams."
            )


class Separate(nn.Module):
    """A linear layer of its own for each of N agents; rows are teams of N agents in order, `[B * N, I] -> [B * N, O]`."""

    maskable = True  # for sparse training: `weight [N, O, I]`

    def __init__(self, agents: int, inputs: int, outputs: int, gain: float = 2**0.5):
        super().__init__()
        layers = [linear(inputs, outputs, gain) for _ in range(agents)]
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.zeros(agents, outputs))

    def forward(self, x: Tensor) -> Tensor:
        agents, _, inputs = self.weight.shape
        return (torch.einsum("bni,noi->bno", x.reshape(-1, agents, inputs), self.weight) + self.bias).flatten(0, 1)


class Output(NamedTuple):
    logits: Tensor  # [M, A], illegal actions at -inf
    value: Tensor  # [M]
    fields: dict[str, Tensor]  # [M, width] each


def make_backbone(config: LearnConfig) -> Backbone:
    """The backbone by name, or one of the user's own, which has no `method`."""
    if is_part(config.backbone):
        return own_backbone(config.backbone, config.width)
    make, make_config = BACKBONES[config.backbone]
    return make(config.width, make_config(**config.method))


class TaskPolicy(nn.Module):
    """Input layer -> backbone -> action logits and value. Rows are agents, ordered by environment, then slot."""

    def __init__(self, config: LearnConfig, task: Task):
        super().__init__()
        agents, width = task.agents, config.width

        def layer(inputs: int, outputs: int, gain: float = 2**0.5) -> nn.Module:
            return Separate(agents, inputs, outputs, gain) if config.separate else linear(inputs, outputs, gain)

        if not config.input_layer and task.features > width:
            raise ValueError(f"width is {width}, but without an input layer it must be at least the observation's {task.features}.")
        self.fill = width - task.features
        self.enter = layer(task.features, width) if config.input_layer else None
        self.backbone: Backbone = make_backbone(config)
        self.actor = layer(width, task.actions, 0.01)
        self.critic = layer(width, 1, 0.01)
        self.kinds = torch.from_numpy(task.kinds)

    def entities(self, teams: int) -> Entities:
        """Who the rows of so many teams are. An agent belongs to itself."""
        agents = len(self.kinds)
        slot = torch.arange(agents).repeat(teams)
        return Entities(torch.arange(teams).repeat_interleave(agents), slot, self.kinds.repeat(teams), slot, teams)

    def forward(self, feature: Tensor, mask: Tensor, stored: dict[str, Tensor] | None = None) -> Output:
        """`feature [M, D]`, `mask [M, A]`; `stored` as for a backbone."""
        entities = self.entities(len(feature) // len(self.kinds))
        entered = F.pad(feature, (0, self.fill)) if self.enter is None else tanh(self.enter(feature))
        hidden, fields = self.backbone(entered, entities, stored)
        return Output(self.actor(hidden).masked_fill(~mask, -torch.inf), self.critic(hidden)[:, 0], fields)

    def stats(self) -> dict[str, float]:
        """The backbone's, with parameters and flops those of the whole policy."""
        stats = dict(self.backbone.stats())
        for part in (self.enter, self.actor, self.critic):
            if part is None:
                continue
            own = linear_stats(part)
            stats["parameters"] += own["parameters"]
            stats["flops"] += own["flops"]
        return stats


def sample(logits: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Actions `[M]` and their log-probs `[M]`."""
    log_probs = logits.log_softmax(-1)
    action = torch.multinomial(log_probs.exp(), 1, generator=generator)
    return action[:, 0], log_probs.gather(1, action)[:, 0]


class Learner:
    """A task, a policy and their training. `run` is the loop; everything it does is deterministic at a seed."""

    def __init__(self, config: LearnConfig):
        self.config = config
        torch.manual_seed(config.seed)  # initial weights and masks
        self.generator = torch.Generator().manual_seed(config.seed)
        self.task = make_task(config.task, config.envs, config.seed, **config.options)
        self.policy = TaskPolicy(config, self.task)
        self.topology = None
        if config.sparsity > 0.0:
            from agent.sparse import SparseConfig, sparsify

            body = [part for part in (self.policy.enter, self.policy.backbone) if part is not None]
            self.topology = sparsify(nn.ModuleList(body), config.sparsity, SparseConfig(**config.sparse), config.seed)
        trained = [p for p in self.policy.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr=config.learning_rate, eps=1e-5, weight_decay=config.weight_decay)
        self.env_steps = 0
        steps, rows = config.rollout_steps, config.envs * self.task.agents
        self.rows = rows  # a step
        self.feature = torch.zeros(steps, rows, self.task.features)
        self.mask = torch.zeros(steps, rows, self.task.actions, dtype=torch.bool)
        self.action = torch.zeros(steps, rows, dtype=torch.int64)
        self.log_prob = torch.zeros(steps, rows)
        self.value = torch.zeros(steps + 1, rows)
        self.fields = {name: torch.zeros(steps, rows, width) for name, width in self.policy.backbone.fields.items()}
        self.reward = np.zeros((steps, rows), np.float32)
        self.ended = np.zeros((steps, rows), np.bool_)
        self.bootstrap = np.zeros((steps, rows), np.float32)  # value that follows where an episode was truncated

    def run(self, each: Callable[[int, float], object] | None = None) -> dict[str, Any]:
        """Train to the end; returns curve, stats and seconds as plain values. `each(env_steps, return)` after an evaluation."""
        curve = run_with_curve(self, each)
        return {"curve": curve, "stats": self.policy.stats(), "train_seconds": curve["cpu_seconds"][-1]}

    def iterate(self) -> dict[str, float]:
        """Collect one rollout and learn from it; returns the losses."""
        config = self.config
        self.collect()
        metrics = self.learn()
        self.env_steps += config.envs * config.rollout_steps
        progress = min(1.0, self.env_steps / config.env_steps)
        self.policy.backbone.between_iterations(progress, self.optimizer, self.experience)
        if self.topology is not None:
            self.topology.between_iterations(progress, self.optimizer)
        return metrics

    @torch.no_grad()
    def collect(self) -> None:
        """T steps of all environments with the current policy."""
        task = self.task
        for t in range(self.config.rollout_steps):
            self.look(self.feature[t], self.mask[t])
            output = self.policy(self.feature[t], self.mask[t])
            self.action[t], self.log_prob[t] = sample(output.logits, self.generator)
            self.value[t] = output.value
            for name, column in self.fields.items():
                column[t] = output.fields[name]
            step = task.step(self.action[t].view(task.envs, task.agents).numpy())
            over = step.done | step.truncated
            self.reward[t] = step.reward.reshape(-1)
            self.ended[t] = np.repeat(over, task.agents)
            self.bootstrap[t] = 0.0
            if step.truncated.any():
                feature, mask = torch.empty_like(self.feature[t]), torch.empty_like(self.mask[t])
                self.look(feature, mask)
                final = self.policy(feature, mask).value.numpy()
                self.bootstrap[t] = np.where(np.repeat(step.truncated, task.agents), final, 0.0)
            if over.any():
                task.restart(over)
        feature, mask = torch.empty_like(self.feature[0]), torch.empty_like(self.mask[0])
        self.look(feature, mask)
        self.value[-1] = self.policy(feature, mask).value

    def look(self, feature: Tensor, mask: Tensor) -> None:
        """Write the current observation and mask."""
        feature.copy_(torch.from_numpy(self.task.observe()).view(feature.shape))
        mask.copy_(torch.from_numpy(self.task.mask()).view(mask.shape))

    def links(self) -> np.ndarray:
        """`[(T + 1) * rows]`: row of the same agent one step later in the same episode, else -1; step T has no next."""
        steps, rows = self.ended.shape
        later = (np.arange(steps * rows) + rows).reshape(steps, rows)
        return np.concatenate([np.where(self.ended, -1, later).reshape(-1), np.full(rows, -1)])

    def experience(self) -> Experience:
        """The last rollout for a backbone that asks for it; copies."""
        steps, rows = self.reward.shape
        who, links = self.policy.entities(self.task.envs), self.links()[: steps * rows]
        kind, slot, group = (np.tile(part.numpy(), steps) for part in (who.kind, who.slot, who.group))
        return Experience(
            feature=self.feature.reshape(steps * rows, -1).numpy().copy(),
            kind=kind,
            slot=slot,
            group=group,
            action=self.action.reshape(-1, 1).numpy().copy(),
            reward=self.reward.reshape(-1).copy(),
            next=np.where(links < steps * rows, links, -1),
        )

    def learn(self) -> dict[str, float]:
        """Epochs of minibatches over the rollout; a minibatch is whole teams, since a backbone may join their agents."""
        config, task = self.config, self.task
        teams = config.rollout_steps * config.envs
        acted = teams * task.agents
        tail = np.zeros(self.rows, np.float32)
        value = self.value.reshape(-1).numpy()
        advantage = gae(
            np.concatenate([config.reward_scale * self.reward.reshape(-1), tail]),
            value,
            self.links(),
            np.concatenate([self.bootstrap.reshape(-1), tail]),
            config.gamma,
            config.gae_lambda,
            acted,
        )[:acted]
        columns = {
            "feature": self.feature,
            "mask": self.mask,
            "action": self.action,
            "log_prob": self.log_prob,
            "value": self.value[:-1],
            "advantage": torch.from_numpy(advantage.astype(np.float32)),
            "returns": torch.from_numpy((advantage + value[:acted]).astype(np.float32)),
            **{f"field {name}": column for name, column in self.fields.items()},
        }
        by_team = {name: column.reshape(teams, task.agents, *column.shape[2:]) for name, column in columns.items() if column.dim() > 1}
        by_team |= {name: column.view(teams, task.agents) for name, column in columns.items() if column.dim() == 1}
        metrics: dict[str, list[float]] = {}
        for _ in range(config.epochs):
            for part in torch.randperm(teams, generator=self.generator).chunk(config.minibatches):
                for name, number in self.descend({name: column[part].flatten(0, 1) for name, column in by_team.items()}).items():
                    metrics.setdefault(name, []).append(float(number))
        return {name: float(np.mean(numbers)) for name, numbers in metrics.items()}

    def descend(self, part: dict[str, Tensor]) -> dict[str, Tensor]:
        """One step of the optimiser on a minibatch."""
        config = self.config
        stored = {name: part[f"field {name}"] for name in self.fields}
        output = self.policy(part["feature"], part["mask"], stored)
        log_probs = output.logits.log_softmax(-1)
        new_log_prob = log_probs.gather(1, part["action"][:, None])[:, 0]
        # 0 log 0 is 0
        entropy = -(log_probs.exp() * log_probs.masked_fill(~part["mask"], 0.0)).sum(-1)
        loss, metrics = ppo_loss(
            new_log_prob,
            part["log_prob"],
            normalize(part["advantage"]),
            output.value,
            part["value"],
            part["returns"],
            entropy,
            config.clip_coef,
            False,
            config.vf_coef,
            config.ent_coef,
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.policy.backbone.after_backward()
        if self.topology is not None:
            self.topology.after_backward()
        nn.utils.clip_grad_norm_(self.policy.parameters(), config.max_grad_norm)
        self.optimizer.step()
        return metrics

    def evaluate(
        self, episodes: int | None = None, disturb: Disturbance | None = None, seed: int = 0, greedy: bool = False, anyhow: bool = False
    ) -> float:
        """Mean over agents of the return of whole episodes of unseen environments; leaves training as it was.

        `disturb` changes what the policy sees (`reproduce.tasks.disturbed`). Environments, actions and disturbances depend on
        the run's seed and `seed` only, so that disturbances are compared on the same environments. With `anyhow` the policy
        is not asked: every legal action is as likely.
        """
        return float(np.mean(self.returns(episodes, disturb, seed, greedy, anyhow)))

    def random_return(self, episodes: int, seed: int) -> float:
        """What play without a policy gets, every legal action being as likely: the zero of a scale."""
        return self.evaluate(episodes, seed=seed, anyhow=True)

    @torch.no_grad()
    def returns(
        self, episodes: int | None = None, disturb: Disturbance | None = None, seed: int = 0, greedy: bool = False, anyhow: bool = False
    ) -> np.ndarray:
        """`[episodes, N]` returns, see `evaluate`."""
        config = self.config
        seed = EVALUATION_SEED + 1000 * seed + config.seed
        task = make_task(config.task, episodes or config.eval_episodes, seed, **config.options)
        generator, shaken = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1)
        total = np.zeros((task.envs, task.agents))
        running = np.ones(task.envs, np.bool_)
        while running.any():
            feature, mask = torch.from_numpy(task.observe()).flatten(0, 1), torch.from_numpy(task.mask()).flatten(0, 1)
            if disturb is not None:
                feature = disturb(self.policy, feature, mask, shaken)
            logits = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf) if anyhow else self.policy(feature, mask).logits
            action = logits.argmax(-1) if greedy else sample(logits, generator)[0]
            step = task.step(action.view(task.envs, task.agents).numpy())
            total += step.reward * running[:, None]
            running &= ~(step.done | step.truncated)
        return total
