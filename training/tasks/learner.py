"""M-PPO on tasks: every robot and every factory has its own trajectory, kinds of entities have networks of their own.

What a trajectory earns is what its factory has in the end (`games.outcomes`), undiscounted; nothing is paid on the way. The critic, fitted
to these ends, is the price list: an advantage is what a decision changed in the outcome that is expected.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agent.tasks.candidates import FACTORY, HEAVY, LIGHT
from engine.config import GameConfig
from training.ppo.loss import ppo_loss
from training.tasks.games import advantages
from training.tasks.net import TaskNet
from training.tasks.rollout import Policy, Rollout, play_games, seen

KINDS = {"lights": LIGHT, "heavies": HEAVY, "factories": FACTORY}
HELD_OUT = 5_000_000  # maps from this seed on are not learned on
CHUNK = 65536  # rows that are looked at at once where nothing is learned


@dataclass(frozen=True)
class Options:
    """Options of learning on tasks."""

    kinds: tuple[str, ...] = ("heavies",)
    """Of entities that learn: lights, heavies, factories; the others play by the rule, or as in `start`."""
    start: Path | None = None
    """Heads that are there already, a file that this wrote."""
    iterations: int = 100
    games: int = 48
    """Of an iteration, each with a map of its own, both sides learning."""
    map_size: int = 48
    epochs: int = 3
    batch_rows: int = 4096
    lr: float = 3e-3
    """Of the first iteration; it falls to nothing by the last, as the critics' does not."""
    critic_lr: float = 1e-3
    critic_epochs: int = 2
    critic_first: int = 3
    """Iterations in which only the critics learn."""
    gae_lambda: float = 0.9
    clip_coef: float = 0.2
    ent_coef: float = 0.0
    target_kl: float = 0.02
    seed: int = 1
    evaluate_every: int = 10
    evaluate_games: int = 64
    """Unseen maps of an evaluation, each from both sides."""
    out: Path = field(default_factory=lambda: Path("runs/tasks"))


def against(config: GameConfig, policy: Policy, other: Policy, games: int, first: int = HELD_OUT) -> tuple[np.ndarray, np.ndarray]:
    """Greedy games of two policies, every map from both sides: the first one's share of the lichen, and its wins, `[games, side]` each."""
    shares, wins = np.zeros((games, 2)), np.zeros((games, 2))
    for side in range(2):
        policies = (policy, other) if side == 0 else (other, policy)
        lichen = play_games(config, range(first, first + games), policies, None).lichen.astype(float)
        own, theirs = lichen[:, side], lichen[:, 1 - side]
        shares[:, side] = own / np.maximum(own + theirs, 1)
        wins[:, side] = (own > theirs) + 0.5 * (own == theirs)
    return shares, wins


def told(values: np.ndarray) -> str:
    """The mean over maps, with its standard error."""
    by_map = values.mean(1)
    return f"{by_map.mean():.3f} +- {by_map.std(ddof=1) / len(by_map) ** 0.5:.3f}"


class KindLearner:
    """One kind's network and its optimizers."""

    def __init__(self, kind: int, net: TaskNet, options: Options, rng: torch.Generator) -> None:
        self.kind, self.net, self.options, self.rng = kind, net, options, rng
        self.actor = torch.optim.Adam(net.actor_parameters(), lr=options.lr)
        self.critic = torch.optim.Adam(net.critic.parameters(), lr=options.critic_lr)

    def update(self, games: Rollout, critic_only: bool) -> dict[str, float]:
        """Learn from whole games; returns metrics."""
        options, net = self.options, self.net
        own = np.flatnonzero(games.rows["kind"] == self.kind)
        new_number = np.full(len(games.rows), -1, np.int64)
        new_number[own] = np.arange(len(own))
        rows, ghosts = games.rows[own], games.ghosts
        after = rows["next"].astype(np.int64)
        after = np.where(after >= 0, new_number[np.maximum(after, 0)], after)
        state, candidates, mask = seen(rows)
        ghost_state = torch.from_numpy(ghosts["state"].copy())
        returns = torch.from_numpy(games.outcome[rows["game"], rows["home"]])
        with torch.inference_mode():
            values = net.value(torch.cat([state, ghost_state]))
        advantage = np.zeros(len(rows), np.float32)
        advantages(after, values[: len(rows)].numpy(), values[len(rows) :].numpy(), returns.numpy(), options.gae_lambda, advantage)
        metrics = {"rows": len(rows), "explained": float(1 - (returns - values[: len(rows)]).var() / returns.var())}
        mine = np.flatnonzero(ghosts["kind"] == self.kind)
        ended = torch.from_numpy(games.outcome[ghosts["game"][mine], ghosts["home"][mine]])
        self._fit_critic(torch.cat([state, ghost_state[mine]]), torch.cat([returns, ended]))
        chooses = mask.sum(1) > 1
        choice = torch.from_numpy(rows["choice"].astype(np.int64))
        metrics["rule"] = float((choice[chooses] == 0).float().mean())
        if not critic_only:
            scaled = torch.from_numpy((advantage - advantage.mean()) / (advantage.std() + 1e-8))
            metrics |= self._fit_actor(state, candidates, mask, choice, games.log_prob[own], scaled, torch.nonzero(chooses)[:, 0])
        return metrics

    def _fit_critic(self, state: torch.Tensor, returns: torch.Tensor) -> None:
        for _ in range(self.options.critic_epochs):
            for batch in torch.randperm(len(state), generator=self.rng).split(self.options.batch_rows):
                loss = (self.net.value(state[batch]) - returns[batch]).square().mean()
                self.critic.zero_grad()
                loss.backward()
                self.critic.step()

    def _fit_actor(self, state: Any, candidates: Any, mask: Any, choice: Any, old: Any, advantage: Any, order: Any) -> dict[str, float]:
        options, parameters = self.options, self.net.actor_parameters()
        kls, entropies = [0.0], [0.0]
        for _ in range(options.epochs):
            kls, entropies = [], []
            for batch in order[torch.randperm(len(order), generator=self.rng)].split(options.batch_rows):
                new = self.net(state[batch], candidates[batch], mask[batch])
                entropy = -(new.exp() * new.clamp(min=-50)).sum(1)
                none = torch.zeros(len(batch))
                log_prob = new.gather(1, choice[batch, None])[:, 0]
                clip, ent = options.clip_coef, options.ent_coef
                loss, metrics = ppo_loss(log_prob, old[batch], advantage[batch], none, none, none, entropy, clip, False, 0.0, ent)
                self.actor.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, 0.5)
                self.actor.step()
                kls.append(float(metrics["losses/approx_kl"]))
                entropies.append(float(entropy.detach().mean()))
            if np.mean(kls) > options.target_kl:
                break
        return {"kl": float(np.mean(kls)), "entropy": float(np.mean(entropies))}


def load(path: Path) -> dict[int, TaskNet]:
    """Heads that `save` wrote, by kind."""
    heads = {}
    for kind, weights in torch.load(path, weights_only=True).items():
        heads[kind] = TaskNet(len(weights["hidden.weight"]))
        heads[kind].load_state_dict(weights)
    return heads


def save(heads: Policy, path: Path) -> None:
    """Write heads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({kind: net.state_dict() for kind, net in heads.items()}, path)


def learn(options: Options) -> dict[int, TaskNet]:
    """Learn; tells an iteration a line, and keeps the heads in `out`."""
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    rng = torch.Generator().manual_seed(options.seed)
    config = GameConfig.for_map_size(options.map_size)
    heads = load(options.start) if options.start else {}
    started = load(options.start) if options.start else {}
    learners = []
    for name in options.kinds:
        net = heads.setdefault(KINDS[name], TaskNet())
        learners.append((name, KindLearner(KINDS[name], net, options, rng)))
    for iteration in range(options.iterations + 1):
        if iteration % options.evaluate_every == 0 and iteration:
            shares, wins = against(config, heads, {}, options.evaluate_games)
            line = f"  {iteration}: against the rule: share {told(shares)}, wins {told(wins)}"
            if started:
                shares, wins = against(config, heads, started, options.evaluate_games)
                line += f"; against the start: share {told(shares)}, wins {told(wins)}"
            print(line, flush=True)
            save(heads, options.out / f"heads-{options.seed}-{iteration}.pt")
        if iteration == options.iterations:
            break
        began = time.process_time()
        start = 1_000_000 * options.seed + iteration * options.games
        for _, learner in learners:
            learner.actor.param_groups[0]["lr"] = options.lr * (1 - iteration / options.iterations)
        games = play_games(config, range(start, start + options.games), (heads, heads), rng)
        played = time.process_time() - began
        line = f"{iteration} lichen {games.lichen.mean():,.0f}"
        for name, learner in learners:
            metrics = learner.update(games, iteration < options.critic_first)
            line += f" | {name} " + " ".join(f"{key} {value:.4g}" for key, value in metrics.items())
        took = time.process_time() - began
        print(f"{line} | played {played:.1f} s, all {took:.1f} s, {games.turns / took:,.0f} turns a second", flush=True)
    return heads


if __name__ == "__main__":
    import tyro

    learn(tyro.cli(Options, description=__doc__))
