"""Speed of a whole training beside what a stock library on the official engine reaches, in one run.

Ours is `PPOLearner` with the demo preset, past the first learning, so that robots live and games are long. Its peer is
sb3-contrib's `MaskablePPO` with a policy for whole teams, on the official engine through the same wrappers
(`benchmarks.official_games`), with as many games and turns a rollout; its games begin where our trained policy has played
them for a while. It is measured twice: as it comes (but for the length of the rollout), with 10 passes and minibatches of 64,
and with our passes, minibatches and rates. All run in this process on one thread and take turns, round by round; the medians are
compared. An environment step is one turn of one game, both sides deciding; an entity step is one decision of one row.

As measured at 13 entities a step, with one other process on the other of two cores: ours does 4,189 environment steps/s, 24 times
the peer as it comes (167) and 7.0 times the peer with our settings (567). What holds ours is the network: of its time the update
takes 55 %, acting 27 %, observation and masks 10 % and the engine 2 %. The matrix products are 5.9 MFLOP an environment step
(`torch.utils.flop_counter`); at the 85 to 98 GFLOP/s of most of them alone on such a core that is 14,000 to 17,000 steps/s (both by
scripts that are not kept). The rest are many
small operations, which larger minibatches would spread over more rows, and learn less from a step (docs/results/survival.md). What
holds the peer as it comes is its update (77 %); with our settings it is its engine (36 %) and the records made of the engine's state
(26 %, with observation and masks). With the few robots of the survival skill an official turn costs under 1 ms
(`benchmarks.engine` has the loads at which it costs much more).

Beside them trains the level of tasks (`python main.py tasks`, all four kinds, from the rule): whole games of the farm, of which a turn
takes a decision of few entities. Its rows are other than those of the primitive level, so only its turns compare.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch

from agent.opening import opening
from benchmarks.official_games import OfficialGames
from engine.config import MAX_FACTORIES, MAX_ROBOTS, GameConfig
from engine.maps import MapPool
from training.config import TrainConfig
from training.ppo.learner import PPOLearner
from training.presets import PRESETS
from training.run.progress import Clock
from training.tasks.learner import FIRST_SEED, KINDS, KindLearner
from training.tasks.learner import Options as TaskOptions
from training.tasks.net import TaskNet
from training.tasks.rollout import play_games, started
from training.trajectories.rollout import Rollout
from wrappers.adapters.sb3_vec_env import TeamVecEnv

ROUNDS = 5
WARM_UP = 6_400  # environment steps before ours is measured: 200 turns of every game
HEAD_START = 100  # turns of the peer's games that our trained policy plays
TASK_GAMES = 32  # whole ones, of an iteration on tasks
SLOTS = 16  # entities of a side that the peer's padded policy has room for
# names that are printed, and the sections of the clock in each; what is in none of them is the rest
PARTS = {
    "engine": ("engine",),
    "observation and masks": ("observation",),
    "forward": ("forward",),
    "update": ("update",),
}
PEER_PARTS = {"engine": ("engine", "reset"), "observation and masks": ("record", "observation"), "update": ("update",)}
TASK_PARTS = {"games": ("games",), "update": ("update",)}
PEERS = {"peer_": False, "tuned_peer_": True}  # beginning of its keys, and whether it has our settings


@dataclass
class Rounds:
    """What a contestant did in each round."""

    env_steps: list[int] = field(default_factory=list)
    entity_steps: list[int] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def speed(self, what: str = "env_steps", clock: str = "wall") -> float:
        """Median over rounds, a second."""
        return statistics.median(n / seconds for n, seconds in zip(getattr(self, what), getattr(self, clock)))


class Contestant:
    """A training that can go on for a while, and whose rounds are recorded.

    Args:
        iterate: one rollout and one update; returns its environment steps and entity steps.
        clock: is charged by it.
    """

    def __init__(self, iterate: Callable[[], tuple[int, int]], clock: Clock) -> None:
        self.iterate, self.clock = iterate, clock
        self.rounds = Rounds()
        self.seconds: dict[str, float] = {}  # by section of the clock, in measured rounds only

    def play(self, seconds: float) -> None:
        """A round of about `seconds`, at least one rollout."""
        self.clock.charge()
        before = dict(self.clock.seconds)
        wall, cpu = time.perf_counter(), time.process_time()
        env_steps = entity_steps = 0
        while not env_steps or time.perf_counter() - wall < seconds:
            more = self.iterate()
            env_steps, entity_steps = env_steps + more[0], entity_steps + more[1]
        self.rounds.env_steps.append(env_steps)
        self.rounds.entity_steps.append(entity_steps)
        self.rounds.wall.append(time.perf_counter() - wall)
        self.rounds.cpu.append(time.process_time() - cpu)
        self.clock.charge()
        for name, total in self.clock.seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + total - before.get(name, 0.0)

    def split(self, parts: dict[str, tuple[str, ...]]) -> dict[str, float]:
        """Share of each part of the measured time, and of the rest; they add up to 1."""
        total = sum(self.seconds.values())
        shares = {name: sum(self.seconds.get(section, 0.0) for section in sections) / total for name, sections in parts.items()}
        return {**shares, "rest": 1.0 - sum(shares.values())}


def make_ours(config: TrainConfig, warm_up: int) -> tuple[Contestant, PPOLearner]:
    """Our training, compiled and `warm_up` environment steps on."""
    clock = Clock()
    trainer = PPOLearner(config, clock)
    size = config.ppo.num_games * config.ppo.rollout_steps

    def iterate() -> tuple[int, int]:
        trainer.step_iteration()
        return size, trainer.rollout.acted

    while trainer.env_steps < warm_up:
        iterate()
    return Contestant(iterate, clock), trainer


def make_peer(config: TrainConfig, trainer: PPOLearner, turns: int, tuned: bool) -> Contestant:
    """`MaskablePPO` on the official engine, as it comes or `tuned` like ours.

    Its games are begun by the policy of `trainer`, which plays their first `turns` turns.
    """
    from sb3_contrib import MaskablePPO

    clock, ppo = Clock(), config.ppo
    env = TeamVecEnv(MapPool(config.game(), range(1)), ppo.num_games, opening, SLOTS, config.reward, config.actions)
    official = OfficialGames(
        config.game(), ppo.num_games, opening, config.reward, config.actions, 0, lambda obs: trainer.policy.act(obs), turns, clock
    )
    padded: Any = env.padded
    padded.games = official
    size = ppo.num_games * ppo.rollout_steps
    settings: dict[str, Any] = {}
    if tuned:
        settings = {
            "batch_size": -(-2 * size // ppo.minibatches),
            "n_epochs": ppo.epochs,
            "learning_rate": ppo.learning_rate,
            "gamma": ppo.gamma,
            "gae_lambda": ppo.gae_lambda,
            "clip_range": ppo.clip_coef,
            "ent_coef": ppo.ent_coef,
            "max_grad_norm": ppo.max_grad_norm,
        }
    model = MaskablePPO("MultiInputPolicy", env, n_steps=ppo.rollout_steps, seed=config.seed, device="cpu", **settings)
    update = model.train

    def timed_update() -> None:
        with clock("update"):
            update()

    model.train = timed_update  # pyright: ignore[reportAttributeAccessIssue]

    def iterate() -> tuple[int, int]:
        rows = official.rows_acted
        model.learn(2 * size, reset_num_timesteps=False, log_interval=None)  # type: ignore[arg-type]
        return size, official.rows_acted - rows

    iterate()  # the first call resets the games, which plays the head start
    return Contestant(iterate, clock)


def make_tasks(games: int) -> Contestant:
    """Our training on tasks, `games` whole games an iteration, compiled."""
    clock, rng, config = Clock(), torch.Generator().manual_seed(0), GameConfig.for_map_size(48)
    heads = {kind: TaskNet() for kind in KINDS.values()}
    learners = [KindLearner(kind, net, TaskOptions(kinds=tuple(KINDS)), rng) for kind, net in heads.items()]  # type: ignore[arg-type]
    seeds = count(FIRST_SEED, games)

    def iterate() -> tuple[int, int]:
        first = next(seeds)
        with clock("games"):
            played = play_games(config, started(config, range(first, first + games)), (heads, heads), rng)
        with clock("update"):
            for learner in learners:
                learner.update(played, critic_only=False)
        return played.turns, len(played.rows)

    iterate()
    return Contestant(iterate, clock)


def rollout_memory(rollout: Rollout) -> dict[str, float]:
    """Bytes that a rollout holds now, those of a row, and what they could become at most.

    Boards are fixed by steps and games. Rows are as many as entities lived: room for them grows by half when it runs out and is
    kept, so it stays below 1.5 times the largest rollout seen; no side has more than `MAX_FACTORIES + MAX_ROBOTS` rows a step.
    """
    boards = rollout.planes.nbytes + rollout.scalar.nbytes
    room = len(rollout.reward)
    row = (rollout.nbytes - boards) / room
    most = 2 * rollout.games * (rollout.steps + 1) * (MAX_FACTORIES + MAX_ROBOTS)
    return {"bytes": rollout.nbytes, "rows": rollout.count, "room": room, "row_bytes": row, "most_bytes": boards + 1.5 * most * row}


def bench_train(
    seconds: float = 10.0,
    config: TrainConfig = PRESETS["demo"],
    rounds: int = ROUNDS,
    warm_up: int = WARM_UP,
    head_start: int = HEAD_START,
    task_games: int = TASK_GAMES,
) -> dict[str, Any]:
    """Train all four for about `seconds` each, in turns.

    Returns `env_steps_per_s`, `entity_steps_per_s`, `ratio` to the peer as it comes (by the wall clock; the median of the rounds'
    ratios), `ratio_cpu` (by processor time), `split` (shares of time), `entities_per_env_step`, `rollout_bytes`, `rollout` (see
    `rollout_memory`), `threads`, `load`; the speeds, split and entities of the peer begin with `peer_`; all that of the peer
    with our settings, with its `ratio`, begins with `tuned_peer_`, that of our training on tasks with `tasks_`.
    """
    config = dataclasses.replace(config, device="cpu", threads=1)
    ours, trainer = make_ours(config, warm_up)
    peers = {prefix: make_peer(config, trainer, head_start, tuned) for prefix, tuned in PEERS.items()}
    tasks = make_tasks(task_games)
    for _ in range(rounds):
        for contestant in (ours, *peers.values(), tasks):
            contestant.play(seconds / rounds)

    def ratio(peer: Contestant, clock: str) -> float:
        pairs = zip(ours.rounds.env_steps, getattr(ours.rounds, clock), peer.rounds.env_steps, getattr(peer.rounds, clock))
        return statistics.median((n / t) / (peer_n / peer_t) for n, t, peer_n, peer_t in pairs)

    found: dict[str, Any] = {}
    others = [(prefix, peer, PEER_PARTS) for prefix, peer in peers.items()]
    for prefix, contestant, parts in [("", ours, PARTS), *others, ("tasks_", tasks, TASK_PARTS)]:
        done = contestant.rounds
        found[f"{prefix}env_steps_per_s"] = done.speed()
        found[f"{prefix}entity_steps_per_s"] = done.speed("entity_steps")
        found[f"{prefix}env_steps_per_cpu_s"] = done.speed("env_steps", "cpu")
        found[f"{prefix}entities_per_env_step"] = sum(done.entity_steps) / sum(done.env_steps)
        found[f"{prefix}split"] = contestant.split(parts)
    stock, tuned_peer = peers.values()
    memory = rollout_memory(trainer.rollout)
    return {
        **found,
        "ratio": ratio(stock, "wall"),
        "ratio_cpu": ratio(stock, "cpu"),
        "tuned_peer_ratio": ratio(tuned_peer, "wall"),
        "tuned_peer_ratio_cpu": ratio(tuned_peer, "cpu"),
        "rollout_bytes": memory["bytes"],
        "rollout": memory,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
    }


def main(seconds: float = 10.0, **options: Any) -> dict[str, Any]:
    """Measure, print, and return the numbers (see `bench_train`)."""
    found = bench_train(seconds, **options)
    print("Training on 48 x 48, demo preset, one thread each; medians of rounds in which all trained in turn.")
    print("The peer is MaskablePPO on the official engine, as it comes, and with our passes, minibatches and rates.")
    print(f"{'':26s} {'env steps/s':>12s} {'entity steps/s':>15s} {'entities a step':>16s} {'ours is':>8s}")
    for name, key, ratio in (("ours", "", ""), ("peer", "peer_", "ratio"), ("peer with our settings", "tuned_peer_", "tuned_peer_ratio")):
        speed, entity, entities = (found[key + what] for what in ("env_steps_per_s", "entity_steps_per_s", "entities_per_env_step"))
        times = f"{found[ratio]:7.1f}x" if ratio else ""
        print(f"{name:26s} {speed:12,.0f} {entity:15,.0f} {entities:16.1f} {times:>8s}")
    speed, turns = found["tasks_env_steps_per_s"], found["tasks_env_steps_per_cpu_s"]
    print(f"{'ours, on tasks':26s} {speed:12,.0f} {found['tasks_entity_steps_per_s']:15,.0f} {found['tasks_entities_per_env_step']:16.1f}")
    print(
        f"on tasks by processor time: {turns:,.0f} turns a second, {turns / found['env_steps_per_cpu_s']:.2f}x those of the primitive level"
    )
    print(f"by processor time {found['ratio_cpu']:.1f}x and {found['tuned_peer_ratio_cpu']:.1f}x; load average {found['load']:.1f}")
    for name, key in (("ours", "split"), ("peer", "peer_split"), ("peer with our settings", "tuned_peer_split"), ("tasks", "tasks_split")):
        print(f"time, {name}: " + ", ".join(f"{part} {share:.0%}" for part, share in found[key].items()))
    memory = found["rollout"]
    print(
        f"A rollout holds {memory['bytes'] / 1e6:.1f} MB: {memory['rows']:,} rows in room for {memory['room']:,} "
        f"at {memory['row_bytes']:,.0f} bytes each, and the boards. Room follows the entities that live; "
        f"with every robot slot of the rules taken it would be {memory['most_bytes'] / 1e9:.1f} GB."
    )
    return found


if __name__ == "__main__":
    main()
