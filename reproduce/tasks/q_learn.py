"""Q-learning on the small tasks: one loop for IQL, VDN and QMIX, with the parts of MAST and of independent communication.

    play whole episodes, epsilon-greedy -> keep them -> a few gradient steps on whole episodes -> now and then copy the target

Agents are recurrent, so that an episode is learned from its beginning. What MAST (arXiv:2409.19391) adds to a sparse learner
are options of their own here: hybrid lambda-returns, Soft Mellowmax, dual buffers, and a topology over agents and mixer.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

from agent.sparse import SparseConfig, sparsify
from engine.config import check_choice, check_range
from reproduce.tasks import make_task
from reproduce.tasks.curve import run_with_curve
from reproduce.tasks.learn import EVALUATION_SEED
from training.run.stopping import TrainingError
from training.value_based.mixers import ALGORITHMS, Mixer, make_mixer
from training.value_based.nets import AgentNets, NetConfig, clip_by_net, parameter_count
from training.value_based.replay import EpisodeReplay
from training.value_based.targets import epsilon_at, greedy_action, lambda_returns, masked_max, soft_mellowmax

OPTIMIZERS = ("rmsprop", "adam")


@dataclass(frozen=True)
class QConfig:
    """One run. `options` and `sparse` are fields of the task's and the sparse training's config."""

    task: str = "spread"
    options: dict[str, Any] = field(default_factory=dict)
    algo: str = "qmix"
    """iql, vdn or qmix. IQL learns from each agent's own reward, the others from the mean over the team."""
    net: NetConfig = NetConfig()
    embed: int = 32
    """Width of QMIX's mixer."""
    hypernet: int = 64
    """Width of its hypernetworks."""
    seed: int = 1
    env_steps: int = 100_000
    """Environment steps; each is a decision of every agent."""
    envs: int = 8
    """Episodes played at once, between learning."""
    updates_per_episode: float = 1.0
    buffer: int = 5000
    """Episodes that the replay holds."""
    batch: int = 32
    """Episodes of a gradient step."""
    recent: int = 0
    """Episodes of the second, short replay (dual buffers; 100 as published); 0 for none."""
    recent_batch: int = 0
    """How many episodes of the batch are from it (8 as published)."""
    optimizer: str = "rmsprop"
    learning_rate: float = 5e-4
    max_grad_norm: float = 10.0
    """Of all parameters; with separate networks of each agent alone."""
    gamma: float = 0.99
    reward_scale: float = 1.0
    """Rewards are multiplied by it in learning; the curve has them as they are."""
    epsilon_start: float = 1.0
    epsilon_end: float = 0.05
    epsilon_steps: int = 50_000
    """Environment steps until it is reached."""
    target_interval: int = 200
    """Gradient steps between copies to the target networks."""
    double_q: bool = False
    """The learning network chooses the next action, the target network judges it."""
    mellow: bool = False
    """Soft Mellowmax of each agent's target values in place of their maximum."""
    alpha: float = 1.0
    omega: float = 10.0
    lam: float = 0.0
    """Of the lambda-returns (0.6 as published)."""
    lam_start: float = 0.0
    """Share of the training before which targets are one-step all the same (3/8 as published)."""
    sparsity: float = 0.0
    """Share of the weights of agents, mixer and hypernetworks, as one network, that is absent; 0 is dense."""
    sparse: dict[str, Any] = field(default_factory=dict)
    evaluations: int = 10
    eval_episodes: int = 64

    def __post_init__(self) -> None:
        for name, known in (("algo", ALGORITHMS), ("optimizer", OPTIMIZERS)):
            check_choice(self, known, name)
        check_range(self, 1, None, "env_steps", "envs", "buffer", "batch")
        check_range(self, 1, None, "epsilon_steps", "target_interval", "evaluations", "eval_episodes")
        check_range(self, 0, 1, "lam", "lam_start", "gamma", "epsilon_start", "epsilon_end")
        if not 0 <= self.recent_batch <= min(self.batch, self.recent) or self.batch - self.recent_batch > self.buffer:
            raise ValueError(
                f"batch is {self.batch} with {self.recent_batch} from a short replay of {self.recent} and the rest from one of "
                f"{self.buffer}; each must fit in its replay, and the first is part of the batch."
            )
        if self.mellow and self.double_q:
            raise ValueError("mellow and double_q are both on; Soft Mellowmax has no chosen action that could be judged.")


RIGL = {"method": "rigl", "interval": 200, "window": 1, "drop": 0.5, "stop": 1.0, "weight_decay": 0.0}
"""Topology as MAST publishes it; `method` may be set or static as well."""
MAST = {"mellow": True, "lam": 0.6, "lam_start": 0.375, "recent": 100, "recent_batch": 8}
"""What MAST adds to it."""


class Team(nn.Module):
    """All that learns: the agents and the mixer, one network to a topology."""

    def __init__(self, agent: AgentNets, mixer: Mixer):
        super().__init__()
        self.agent, self.mixer = agent, mixer


class QLearner:
    """A task, the networks and their training. `run` is the loop; everything it does is deterministic at a seed."""

    def __init__(self, config: QConfig):
        self.config = config
        torch.manual_seed(config.seed)  # initial weights and masks
        self.random = np.random.default_rng(config.seed)  # exploration and replay
        task = self.task = make_task(config.task, config.envs, config.seed, **config.options)
        self.agent = AgentNets(task.agents, task.features, task.actions, config.net)
        self.mixer = make_mixer(config.algo, task.agents, task.states, config.embed, config.hypernet)
        self.online = Team(self.agent, self.mixer)
        self.topology = None
        if config.sparsity > 0.0:
            self.topology = sparsify(self.online, config.sparsity, SparseConfig(**config.sparse), config.seed)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        trained = [p for p in self.online.parameters() if p.requires_grad]
        if config.optimizer == "adam":
            self.optimizer: torch.optim.Optimizer = torch.optim.Adam(trained, lr=config.learning_rate, eps=1e-5)
        else:
            self.optimizer = torch.optim.RMSprop(trained, lr=config.learning_rate, alpha=0.99, eps=1e-5)
        sizes = (task.horizon, task.agents, task.features, task.actions, task.states)
        self.replay = EpisodeReplay(config.buffer, config.recent, *sizes)
        self.env_steps = self.updates = 0
        self.owed = 0.0  # gradient steps that the episodes so far ask for

    # ------------------------------------------------------------------------------------------------------------ loop

    def run(self, each: Callable[[int, float], object] | None = None) -> dict[str, Any]:
        """Train to the end; returns curve, stats and seconds as plain values. `each(env_steps, return)` after an evaluation."""
        curve = run_with_curve(self, each)
        return {"curve": curve, "stats": self.stats(), "train_seconds": curve["cpu_seconds"][-1]}

    def iterate(self) -> dict[str, float]:
        """Play episodes, then learn as many times as they ask for; returns the mean losses. Raises `TrainingError`."""
        config = self.config
        self.replay.add(self.play())
        self.owed += config.envs * config.updates_per_episode
        losses = []
        while self.owed >= 1.0:
            self.owed -= 1.0
            if len(self.replay) >= config.batch:
                losses.append(self.update())
        return {"losses/td": float(np.mean(losses))} if losses else {}

    @torch.no_grad()
    def play(self) -> dict[str, np.ndarray]:
        """One episode in every environment, epsilon-greedy; returns the replay's columns."""
        config, task, replay = self.config, self.task, self.replay
        task.restart(np.ones(task.envs, np.bool_))
        out = {name: np.zeros((task.envs, *column.shape[1:]), column.dtype) for name, column in replay.columns.items()}
        shown = running = np.ones(task.envs, np.bool_)
        action = np.full((task.envs, task.agents), -1)
        memory = self.agent.start(task.envs)
        for t in range(task.horizon + 1):
            obs, legal = task.observe(), task.mask()
            for name, seen in (("obs", obs), ("state", task.state()), ("legal", legal)):
                out[name][shown, t] = seen[shown]
            if not running.any():
                break
            q_values, memory = self.agent(torch.from_numpy(obs)[None], torch.from_numpy(action)[None], memory)
            action = greedy_action(q_values[0], torch.from_numpy(legal)).numpy()
            epsilon = epsilon_at(self.env_steps, config.epsilon_start, config.epsilon_end, config.epsilon_steps)
            action = explored(action, legal, epsilon, self.random)
            step = task.step(action)
            for name, what in (("action", action), ("reward", step.reward), ("done", step.done)):
                out[name][running, t] = what[running]
            out["length"] += running
            self.env_steps += int(running.sum())
            shown, running = running, running & ~(step.done | step.truncated)  # what just ended shows its last state, too
        return out

    def update(self) -> float:
        """One gradient step on a batch of episodes; returns the loss."""
        config = self.config
        new = min(config.recent_batch, len(self.replay))
        batch = self.replay.batch(self.replay.sample(config.batch - new, new, self.random))
        loss = self.loss(batch)
        if not torch.isfinite(loss):
            raise TrainingError(f"The loss is {loss.item()} after {self.env_steps} environment steps.")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.topology is not None:
            self.topology.after_backward()
        if config.net.sharing == "separate":
            clip_by_net(self.agent, self.task.agents, config.max_grad_norm)
            if config.algo == "qmix":
                nn.utils.clip_grad_norm_(self.mixer.parameters(), config.max_grad_norm)
        else:
            nn.utils.clip_grad_norm_(self.online.parameters(), config.max_grad_norm)
        self.optimizer.step()
        self.updates += 1
        if self.topology is not None:
            changes = self.topology.changes
            self.topology.between_iterations(self.progress, self.optimizer)
            if self.topology.changes > changes:
                share_masks(self.online, self.target)
        if self.updates % config.target_interval == 0:
            self.target.load_state_dict(self.online.state_dict())
        return float(loss.detach())

    @property
    def progress(self) -> float:
        """Share of the training that is done."""
        return min(1.0, self.env_steps / self.config.env_steps)

    # ------------------------------------------------------------------------------------------------------------ loss

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Mean squared temporal difference over the steps of agents (IQL) or teams that are there.

        With separate networks it is the sum of the agents' own means, so that each one's gradient is that of its own loss.
        """
        chosen, target, valid = self.differences(batch)
        error = (chosen - target).square() * valid
        if self.config.net.sharing == "separate":
            return (error.sum((0, 1)) / valid.sum((0, 1)).clamp(min=1.0)).sum()
        return error.sum() / valid.sum().clamp(min=1.0)

    def differences(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Values of what was done, their targets (no gradient), and whether they count; all `[T, B, K]`, K agents or 1 team."""
        config = self.config
        obs, legal, state = batch["obs"], batch["legal"], batch["state"]
        action = batch["action"].long()
        steps, teams, agents = action.shape
        last_action = torch.cat([torch.full((1, teams, agents), -1), action])
        q_values, _ = self.agent(obs, last_action, self.agent.start(teams))
        alive = legal.any(-1)  # [T + 1, B, N]
        chosen = q_values[:-1].gather(-1, action[..., None])[..., 0] * alive[:-1]
        chosen = self.mixer(chosen, state[:-1])
        with torch.no_grad():
            value = self.next_value(obs, last_action, legal, state, q_values.detach())
            if config.algo == "iql":
                reward, here = batch["reward"], alive
            else:
                reward, here = batch["reward"].mean(-1, keepdim=True), alive.any(-1, keepdim=True)
            length = batch["length"]
            time_left = length - 1 - torch.arange(steps)[:, None]  # [T, B]
            goes_on = (~batch["done"])[..., None] & here[1:]
            lam = config.lam if self.progress >= config.lam_start else 0.0
            last = (time_left <= 0)[..., None].expand_as(value)
            target = lambda_returns(config.reward_scale * reward, value, goes_on, last, config.gamma, lam)
        return chosen, target, ((time_left >= 0)[..., None] & here[:-1]).to(chosen.dtype)

    def next_value(self, obs: Tensor, last_action: Tensor, legal: Tensor, state: Tensor, online_q: Tensor) -> Tensor:
        """`V_{t+1} [T, B, K]` by the target networks, message nets and mixer included."""
        config = self.config
        agent, mixer = self.target.agent, self.target.mixer
        q_values, _ = agent(obs, last_action, agent.start(obs.shape[1]))
        q_values, legal = q_values[1:], legal[1:]
        if config.mellow:
            value = soft_mellowmax(q_values, legal, config.alpha, config.omega)
        elif config.double_q:
            best = greedy_action(online_q[1:], legal)
            value = q_values.gather(-1, best[..., None])[..., 0] * legal.any(-1)
        else:
            value = masked_max(q_values, legal)
        return mixer(value, state[1:])

    # ------------------------------------------------------------------------------------------------- looking at it

    def evaluate(self, episodes: int | None = None, seed: int = 0, epsilon: float = 0.0) -> float:
        """Mean over agents of the return of whole episodes of unseen environments; leaves training as it was.

        Play is greedy but for a share `epsilon` of random legal actions.
        """
        return float(np.mean(self.returns(episodes, seed, epsilon)))

    def random_return(self, episodes: int, seed: int) -> float:
        """What play without a policy gets, every legal action being as likely: the zero of a scale."""
        return self.evaluate(episodes, seed, epsilon=1.0)

    @torch.no_grad()
    def returns(self, episodes: int | None = None, seed: int = 0, epsilon: float = 0.0) -> np.ndarray:
        """`[episodes, N]` returns, see `evaluate`."""
        config = self.config
        seed = EVALUATION_SEED + 1000 * seed + config.seed
        task = make_task(config.task, episodes or config.eval_episodes, seed, **config.options)
        total = np.zeros((task.envs, task.agents))
        running = np.ones(task.envs, np.bool_)
        action = np.full((task.envs, task.agents), -1)
        memory = self.agent.start(task.envs)
        random = np.random.default_rng(seed)
        while running.any():
            legal = task.mask()
            q_values, memory = self.agent(torch.from_numpy(task.observe())[None], torch.from_numpy(action)[None], memory)
            action = explored(greedy_action(q_values[0], torch.from_numpy(legal)).numpy(), legal, epsilon, random)
            step = task.step(action)
            total += step.reward * running[:, None]
            running &= ~(step.done | step.truncated)
        return total

    def stats(self) -> dict[str, float]:
        """`parameters` that learn and are there (agents and mixer), `flops` of one agent's decision, and `update_flops`: of a
        gradient step, for each step of its episodes, `4 B (A + M)` with all agents' and the mixer's (MAST, appendix)."""
        agents, mixer = self.task.agents * self.agent.flops(), self.mixer.flops()
        stats = {
            "parameters": float(parameter_count(self.online)),
            "flops": self.agent.flops(),
            "update_flops": 4.0 * self.config.batch * (agents + mixer),
            "replay_bytes": float(self.replay.nbytes),
        }
        return {**stats, **self.topology.stats()} if self.topology is not None else stats

    # -------------------------------------------------------------------------------------------------------- resuming

    def state(self) -> dict[str, Any]:
        """All that going on needs, the replay included; between two iterations. Environments start anew with each iteration,
        so that of the task only its random state counts."""
        return {
            "config": dataclasses.asdict(self.config),
            "online": self.online.state_dict(),
            "target": self.target.state_dict(),
            "topology": None if self.topology is None else self.topology.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": copy.deepcopy(self.random),
            "task": copy.deepcopy(self.task),
            "replay": self.replay.state(),
            "counts": (self.env_steps, self.updates, self.owed),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from `state`. Raises `ValueError` if another config made it."""
        if state["config"] != dataclasses.asdict(self.config):
            raise ValueError("The state is of a run with another config; to go on, start with the same.")
        self.online.load_state_dict(state["online"])
        self.target.load_state_dict(state["target"])
        if self.topology is not None:
            self.topology.load_state_dict(state["topology"])
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self.random, self.task = copy.deepcopy(state["random"]), copy.deepcopy(state["task"])
        self.replay.load_state(state["replay"])
        self.env_steps, self.updates, self.owed = state["counts"]


def explored(action: np.ndarray, legal: np.ndarray, epsilon: float, random: np.random.Generator) -> np.ndarray:
    """`action [E, N]`, a share `epsilon` of them replaced by any legal one."""
    anything = np.where(legal, random.random(legal.shape), -1.0).argmax(-1)
    return np.where(random.random(action.shape) < epsilon, anything, action)


@torch.no_grad()
def share_masks(online: nn.Module, target: nn.Module) -> None:
    """Give the target network the masks of the online one; what it has outside of them becomes 0."""
    for one, other in zip(online.modules(), target.modules()):
        mask = getattr(one, "mask", None)
        if mask is not None:
            other.mask.copy_(mask)  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
            other.weight.mul_(mask)  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
