"""M-PPO on tasks: every robot and every factory has its own trajectory, kinds of decisions have networks of their own.

What a trajectory earns is what its side or factory has in the end (`games.outcomes`), undiscounted; nothing is paid on the way. The critic,
fitted to these ends, is the price list: an advantage is what a decision changed in the outcome that is expected.
"""

from __future__ import annotations

import copy
import io
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from agent.plain import to_dict
from agent.tasks.candidates import BUILDING, HEAVY, LIGHT, WATERING
from agent.tasks.heads import HEADS, RULE, save_heads
from engine.config import GameConfig, check_range
from submission.files import write_whole
from training.ppo.loss import explained_variance, ppo_loss
from training.run.lock import locked
from training.run.loggers import Logger, check_logger
from training.run.metrics import MetricsWriter, check_new
from training.run.ready import tell_ready
from training.run.sessions import record_session
from training.run.stopping import Stopped, StopRequest
from training.tasks.games import advantages
from training.tasks.net import TaskNet
from training.tasks.rollout import Policy, Rollout, Starts, play_games, seen, started

KINDS: dict[str, int] = {"lights": LIGHT, "heavies": HEAVY, "watering": WATERING, "building": BUILDING}
FIRST_SEED, SEEDS = 10_000_000, 100_000  # of the maps that a run learns on, by its own seed
HELD_OUT = 5_000_000  # maps from this seed on are evaluated on, and not learned on
WEIGHTS = "heads.pt"
SHORT = 30  # turns in which every kind of decision comes up


@dataclass(frozen=True)
class Options:
    """Options of learning on tasks."""

    kinds: tuple[Literal["lights", "heavies", "watering", "building"], ...] = ("heavies",)
    """Of decisions that are learned: tasks of light and of heavy robots, when factories water and what they build next; the others are made
    by the rule, or as in `start`."""
    bare: bool = False
    """Learn from scratch: there is no rule to follow. Wants all four kinds."""
    objective: Literal["share", "growth"] = "share"
    """What an entity is paid for in the end: its side's share of all lichen, or the lichen of its factory."""
    by_rule: float = 0.0
    """Share of the games in which one side plays by the rule."""
    since: int = 0
    """Turn from which they are made so; until then both sides play by the rule."""
    opened: int = 960
    """Games that are kept with `since` above 0, as they stand in that turn: an iteration goes on from the next of them. Half a MiB each."""
    start: tuple[Path, ...] = ()
    """Heads that are there already: run folders of other runs; of a kind that several have, the last one's."""
    iterations: int = 120
    games: int = 48
    """Of an iteration, both sides learning: each on a map of its own, or, with `since` above 0, from the next of those that are kept."""
    map_size: int = 48
    epochs: int = 3
    batch_rows: int = 4096
    """Decisions of a minibatch."""
    lr: float = 3e-3
    """Of the first iteration; it falls to nothing by the last. The critics' stays."""
    critic_lr: float = 1e-3
    critic_epochs: int = 2
    critic_first: int = 3
    """Iterations in which only the critics learn."""
    gae_lambda: float = 0.9
    clip_coef: float = 0.2
    ent_coef: float = 0.0
    """Of the first iteration; it falls to nothing by the last."""
    rule: float = RULE
    """By which the score of the rule's candidate begins above the others: at 2 half of what heavies sample is the rule's."""
    temperature: float = 0.5
    """With which choices are sampled in play, as in learning at 1; 0 takes the best, which hides what lies between two nearly even ones."""
    leash: float = 0.0
    """Weight of the divergence from where the heads started: the rule, or `start`."""
    target_kl: float = 0.02
    """An iteration's epochs end above it."""
    seed: int = 1
    evaluate_every: int = 10
    """Iterations between evaluations, in which the heads are saved."""
    evaluate_games: int = 64
    """Unseen maps of an evaluation, each from both sides."""

    def check(self) -> None:
        """Raises `ValueError` for what cannot be learned."""
        GameConfig.for_map_size(self.map_size)
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise ValueError(f"kinds is {self.kinds}; name one to four of lights, heavies, watering, building, each once.")
        if self.bare and len(self.kinds) < len(KINDS):
            raise ValueError("From scratch (--bare) all kinds learn; give --kinds lights heavies watering building.")
        if self.bare and self.since:
            raise ValueError("From scratch (--bare) there is no rule that could play until --since; give one of the two.")
        for name in ("iterations", "games", "epochs", "batch_rows", "critic_epochs", "evaluate_every", "opened"):
            check_range(self, 1, 1_000_000, name)
        check_range(self, 2, 10_000, "evaluate_games")
        check_range(self, 0, 1, "lr", "critic_lr", "gae_lambda", "clip_coef", "ent_coef", "leash", "by_rule", "temperature")
        check_range(self, 0, 900, "since")
        check_range(self, 0, 10_000, "seed")
        check_range(self, 0, 20, "rule")


def against(
    config: GameConfig, policy: Policy, other: Policy, starts: Starts, temperature: float, bare: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Games of two policies, each from both sides: the first one's share of the lichen, and its wins, `[N, side]` each."""
    rng = torch.Generator().manual_seed(HELD_OUT) if temperature else None
    shares, wins = np.zeros((len(starts.games), 2)), np.zeros((len(starts.games), 2))
    for side in range(2):
        policies = (policy, other) if side == 0 else (other, policy)
        bares = (bare and side == 0, bare and side == 1)
        lichen = play_games(config, starts, policies, rng, bares, temperature=temperature).lichen.astype(float)
        own, theirs = lichen[:, side], lichen[:, 1 - side]
        shares[:, side] = own / np.maximum(own + theirs, 1)
        wins[:, side] = (own > theirs) + 0.5 * (own == theirs)
    return shares, wins


class KindLearner:
    """One kind's network and its optimizers."""

    def __init__(self, kind: int, net: TaskNet, options: Options, rng: torch.Generator) -> None:
        self.kind, self.net, self.options, self.rng = kind, net, options, rng
        self.origin = copy.deepcopy(net)
        self.ent_coef = options.ent_coef
        self.actor = torch.optim.Adam(net.actor_parameters(), lr=options.lr)
        self.critic = torch.optim.Adam(net.critic.parameters(), lr=options.critic_lr)

    def anneal(self, share: float) -> None:
        """Set the actor's learning rate and the weight of its entropy to a share of what they were in the beginning."""
        self.actor.param_groups[0]["lr"] = self.options.lr * share
        self.ent_coef = self.options.ent_coef * share

    def update(self, games: Rollout, critic_only: bool) -> dict[str, float]:
        """Learn from whole games; returns metrics."""
        own = np.flatnonzero(games.rows["kind"] == self.kind)
        rows, ghosts = games.rows[own], games.ghosts
        number = np.full(len(games.rows), -1, np.int64)  # of a row among this kind's
        number[own] = np.arange(len(own))
        after = rows["next"].astype(np.int64)
        after = np.where(after >= 0, number[np.maximum(after, 0)], after)
        state, candidates, mask, columns = seen(rows)
        ghost_state = torch.from_numpy(ghosts["state"].copy())
        returns = torch.from_numpy(games.outcome[rows["game"], rows["home"]])
        with torch.inference_mode():
            values = self.net.value(torch.cat([state, ghost_state]))
        advantage = np.zeros(len(rows), np.float32)
        of_rows, of_ghosts = values[: len(rows)].numpy(), values[len(rows) :].numpy()
        advantages(after, of_rows, of_ghosts, returns.numpy(), self.options.gae_lambda, advantage)
        mine = np.flatnonzero(ghosts["kind"] == self.kind)
        ended = torch.from_numpy(games.outcome[ghosts["game"][mine], ghosts["home"][mine]])
        self._fit_critic(torch.cat([state, ghost_state[mine]]), torch.cat([returns, ended]))
        choice = torch.searchsorted(columns, torch.from_numpy(rows["choice"].astype(np.int64)))
        order = torch.nonzero(mask.sum(1) > 1)[:, 0]  # the others cannot choose
        metrics = {
            "charts/decisions": float(len(rows)),
            "charts/as_the_rule": float((columns[choice[order]] == 0).float().mean()),
            "losses/explained_variance": float(explained_variance(values[: len(rows)], returns)),  # of what came: Monte Carlo
        }
        if not critic_only:
            scaled = torch.from_numpy((advantage - advantage.mean()) / (advantage.std() + 1e-8))
            metrics |= self._fit_actor(state, candidates, mask, choice, games.log_prob[own], scaled, order)
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
        told: list[dict[str, torch.Tensor]] = []
        for _ in range(options.epochs):
            told = []
            for batch in order[torch.randperm(len(order), generator=self.rng)].split(options.batch_rows):
                new = self.net(state[batch], candidates[batch], mask[batch])
                entropy = -(new.exp() * new.clamp(min=-50)).sum(1)
                none = torch.zeros(len(batch))  # the critic has a loss of its own
                log_prob = new.gather(1, choice[batch, None])[:, 0]
                clip, ent = options.clip_coef, self.ent_coef
                loss, metrics = ppo_loss(log_prob, old[batch], advantage[batch], none, none, none, entropy, clip, False, 0.0, ent)
                if options.leash:
                    strayed = divergence(new, self.origin(state[batch], candidates[batch], mask[batch]).detach())
                    metrics["losses/strayed"] = strayed.detach()
                    loss = loss + options.leash * strayed
                self.actor.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, 0.5)
                self.actor.step()
                told.append(metrics)
            if torch.stack([metrics["losses/approx_kl"] for metrics in told]).mean() > options.target_kl:
                break
        names = ("losses/policy_loss", "losses/entropy", "losses/approx_kl", "losses/clipfrac", "losses/strayed")
        return {name: float(torch.stack([metrics[name] for metrics in told]).mean()) for name in names if told and name in told[0]}


def divergence(log_prob: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The mean Kullback-Leibler divergence of choices with these log-probabilities `[M, K]` from others `[M, K]`."""
    return (log_prob.exp() * (log_prob - other)).sum(1).mean()


def load(run_dir: Path) -> dict[int, TaskNet]:
    """The heads of a run folder, by kind, with their critics. Raises `ValueError` where there are none."""
    path = run_dir / WEIGHTS
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give the folder of a run of `tasks`.")
    heads = {}
    for kind, weights in torch.load(path, weights_only=True).items():
        heads[kind] = TaskNet(len(weights["hidden.weight"]))
        heads[kind].load_state_dict(weights)
    return heads


def save(heads: Policy, options: Options, run_dir: Path) -> None:
    """Write heads with their critics, and beside them what plays (`agent.tasks.heads`)."""
    with io.BytesIO() as file:
        torch.save({kind: net.state_dict() for kind, net in heads.items()}, file)
        write_whole(run_dir / WEIGHTS, file.getvalue())
    write_whole(
        (run_dir / WEIGHTS).with_suffix(HEADS),
        save_heads({kind: net.head(options.bare, options.temperature) for kind, net in heads.items()}),
    )


def get_ready(options: Options) -> None:
    """Play and learn from some turns with networks that are thrown away: that compiles all, or reads it from disk, before a clock runs."""
    options.check()
    began = time.perf_counter()
    heads = {KINDS[name]: TaskNet() for name in options.kinds}
    config = GameConfig.for_map_size(options.map_size, max_episode_length=SHORT)
    rng, bare = torch.Generator().manual_seed(1), (options.bare, options.bare)
    games = play_games(config, started(config, range(FIRST_SEED, FIRST_SEED + 1)), (heads, heads), rng, bare)
    for kind, net in heads.items():
        if (games.rows["kind"] == kind).any():
            KindLearner(kind, net, options, rng).update(games, critic_only=True)
    tell_ready(began)


def learn(options: Options, run_dir: Path, logger: Logger = "tensorboard") -> dict[int, TaskNet]:
    """Learn into a new run folder; tells a line an iteration. Raises `ValueError`, and `Stopped` after it saved if it was asked to end."""
    options.check()
    check_logger(logger)
    heads, origin = ({kind: net for folder in options.start for kind, net in load(folder).items()} for _ in range(2))
    check_new(run_dir)
    torch.set_num_threads(1)
    get_ready(options)
    torch.manual_seed(options.seed)
    rng = torch.Generator().manual_seed(options.seed)
    config = GameConfig.for_map_size(options.map_size)
    for name in options.kinds:
        heads.setdefault(KINDS[name], TaskNet(rule=options.rule)).since.fill_(options.since)
    learners = {name: KindLearner(KINDS[name], heads[KINDS[name]], options, rng) for name in options.kinds}
    with locked(run_dir), MetricsWriter(run_dir, None, logger, to_dict(options)) as metrics, StopRequest() as stop:
        record_session(run_dir)
        write_whole(run_dir / "config.json", json.dumps({"tasks": to_dict(options)}, indent=2, default=str) + "\n")
        first = FIRST_SEED + SEEDS * options.seed
        kept = started(config, range(first, first + options.opened), options.since) if options.since else None
        unseen = started(config, range(HELD_OUT, HELD_OUT + options.evaluate_games), options.since)
        turns, paid = 0, (options.objective == "share", round(options.by_rule * options.games))
        for iteration in range(options.iterations):
            began = time.process_time()
            for learner in learners.values():
                learner.anneal(1 - iteration / options.iterations)
            number, bare = np.arange(options.games) + iteration * options.games, (options.bare, options.bare)
            seeds = range(first + int(number[0]), first + int(number[-1]) + 1)
            starts = kept.of(number % len(kept.games)) if kept else started(config, seeds)
            games = play_games(config, starts, (heads, heads), rng, bare, *paid)
            told: dict[str, float] = {"charts/lichen": float(games.lichen.mean())}
            if paid[1]:
                told["charts/share_rule"] = share_against_rule(games.lichen[: paid[1]])
            for name, learner in learners.items():
                told |= {f"{key}/{name}": value for key, value in learner.update(games, iteration < options.critic_first).items()}
            told["charts/turns_a_second"] = games.turns / (time.process_time() - began)
            turns += games.turns
            done = iteration + 1
            last = done == options.iterations or stop.requested
            if done % options.evaluate_every == 0 or last:
                save(heads, options, run_dir)
            if (done % options.evaluate_every == 0 or last) and not stop.requested:
                told |= evaluate(config, options, heads, origin, unseen)
            metrics.write(turns, told)
            print(line(done, told), flush=True)
            if stop.requested:
                raise Stopped(f"Stopped after iteration {done}; the heads are in {run_dir}.")
    return heads


def share_against_rule(lichen: np.ndarray) -> float:
    """The learning side's share of the lichen `[N, 2]` against the rule, which was player_0 first, then in turns."""
    number = np.arange(len(lichen))
    own, theirs = lichen[number, 1 - number % 2].astype(float), lichen[number, number % 2]
    return float((own / np.maximum(own + theirs, 1)).mean())


def evaluate(config: GameConfig, options: Options, heads: Policy, origin: Policy, starts: Starts) -> dict[str, float]:
    """The heads as they play in unseen games: against the rule, against where they started, and against themselves if there is no rule."""
    told: dict[str, float] = {}
    for name, other in (("rule", {}), ("start", origin)):
        if name == "rule" or other:
            shares, wins = against(config, heads, other, starts, options.temperature, options.bare)
            by_map = shares.mean(1)
            error = float(by_map.std(ddof=1) / len(by_map) ** 0.5)
            told |= {f"eval/share_{name}": float(by_map.mean()), f"eval/share_{name}_error": error, f"eval/wins_{name}": float(wins.mean())}
    if options.bare:
        rng = torch.Generator().manual_seed(options.seed) if options.temperature else None
        told["eval/lichen"] = float(
            play_games(config, starts, (heads, heads), rng, (True, True), temperature=options.temperature).lichen.mean()
        )
    return told


def line(done: int, told: Mapping[str, float]) -> str:
    """An iteration for readers, and its evaluations below it."""
    text = f"{done}: lichen {told['charts/lichen']:,.0f}, "
    if "charts/share_rule" in told:
        text += f"{told['charts/share_rule']:.3f} of it against the rule, "
    text += f"{told['charts/turns_a_second']:,.0f} turns a second"
    for name in ("rule", "start"):
        if f"eval/wins_{name}" in told:
            share, error, wins = (told[f"eval/{what}"] for what in (f"share_{name}", f"share_{name}_error", f"wins_{name}"))
            text += f"\n  against the {name}: {wins:.1%} won, {share:.3f} +- {error:.3f} of the lichen"
    if "eval/lichen" in told:
        text += f"\n  against itself: {told['eval/lichen']:,.0f} lichen"
    return text
