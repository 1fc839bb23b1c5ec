"""What a run needs of the algorithm that learns in it, and what every such algorithm starts from."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from agent.lichen_opening import opening_of
from agent.policy import Policy, policy_sizes
from agent.sparse import Topology
from agent.stored import Agent
from engine.maps import MapPool
from training.config import TrainConfig
from training.run import parallel
from training.run.progress import Clock
from training.run.transfer import Transfer
from training.trajectories.starts import read_starts
from wrappers.own_features import features_of
from wrappers.vec_env import VecEnv

SHUFFLE = 0x5AFF1E  # tells the stream that orders minibatches from that of the games, which has the same seed


class Learner(Protocol):
    """An algorithm and everything that it learns with; the same on every rank of `torchrun`, but for the games."""

    config: TrainConfig
    policy: Policy
    options: str
    """Name of its own part of the config: `ppo`, as in `--ppo.learning-rate`."""
    env_steps: int
    """Environment steps so far, those of all ranks counted."""

    @property
    def iteration_steps(self) -> int:
        """Environment steps of one iteration, all ranks together."""
        ...

    @property
    def learning_rate(self) -> float:
        """Of the next step of the optimiser."""
        ...

    def begin_with(self, weights: dict[str, Tensor]) -> None:
        """Start a run that has not begun with a policy's weights from elsewhere."""
        ...

    def step_iteration(self) -> dict[str, float]:
        """Play some turns and learn from them; returns metrics, the means over all ranks.

        Raises `TrainingError` on a number that is not finite, on all ranks; it never reaches the weights.
        """
        ...

    def measure(self, agent: Agent) -> dict[str, float]:
        """What an evaluation is to tell of the policy as it is, beyond the scores of its games with itself."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything beside the policy's weights that the next iteration depends on; called by all ranks, whole on rank 0."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from `state`, made by a run with the same config. Raises `ValueError` for another number of ranks."""
        ...


class Outfit(NamedTuple):
    """What every learner starts from: a new policy and games of its own, all from the run's seed."""

    device: torch.device
    generator: torch.Generator
    """Samples actions, on the device."""
    shuffle: np.random.Generator
    """Orders minibatches."""
    policy: Policy
    sizes: dict[str, Any]
    env: VecEnv
    transfer: Transfer
    seed: int
    """This rank's own."""


def outfit(config: TrainConfig, games: int, clock: Clock, greedy: bool = False) -> Outfit:
    """Make the policy (which always plays its best action if `greedy`) and this rank's `games`."""
    device = choose_device(config.device)
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    seed = parallel.seed_of(config.seed, parallel.rank())
    generator = torch.Generator(device).manual_seed(seed)
    policy, sizes = make_policy(config, greedy)
    policy.to(device)
    env = make_env(config, games, sizes, seed, clock)
    return Outfit(device, generator, np.random.default_rng([seed, SHUFFLE]), policy, sizes, env, Transfer(device), seed)


def begin_with(policy: Policy, weights: dict[str, Tensor]) -> None:
    """Give a new policy weights from elsewhere; which of a sparse layer's are present comes with them."""
    policy.load_state_dict(weights)
    for module in policy.modules():
        if isinstance(module, Topology):
            module.restart()


def choose_device(name: str) -> torch.device:
    """`auto` is a GPU if there is one. Raises `ValueError` for `cuda` without a GPU."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch finds no GPU; accepted here are auto and cpu.")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", parallel.local_rank())


def make_policy(config: TrainConfig, greedy: bool = False) -> tuple[Policy, dict[str, Any]]:
    """A new policy, which always plays its best action if `greedy`, and the sizes that it was built for."""
    sizes = policy_sizes(config.actions, config.policy, config.map_size)
    return Policy(dataclasses.replace(config.policy, greedy=greedy), sizes), sizes


def make_env(config: TrainConfig, games: int, sizes: dict[str, Any], seed: int, clock: Clock) -> VecEnv:
    """The games of this rank, on the maps of the run or out of its replays."""
    game, curriculum = config.training_game(), config.curriculum
    turns = config.max_turns or game.max_episode_length
    starts = read_starts(curriculum.replays, game, curriculum.every, turns) if curriculum.replays else None
    with parallel.first_here():
        pool = MapPool(game, range(config.train_maps))
    return VecEnv(
        game,
        games,
        pool,
        opening_of(config.actions),
        reward=config.reward,
        actions=config.actions,
        seed=seed,
        max_turns=config.max_turns,
        stagger=config.stagger,
        grid=sizes["plane_size"],
        columns=sizes["advice"],
        own=features_of(config.policy.features),
        clock=clock,
        starts=starts,
        start_share=curriculum.share,
    )
