"""What most programs want: games, agents, training, evaluation and matches, each in one call with the command line's defaults."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agent.lichen_opening import opening_of
from agent.stored import load_agent
from arena.evaluate import Rival, evaluate_checkpoint, opponent_named
from arena.match import MatchResult, play_match
from arena.replay_page import write_page
from engine.config import GameConfig
from engine.maps import MapPool
from training.config import TrainConfig
from training.presets import PRESETS
from training.run.loggers import Logger
from training.train import train as run_training
from wrappers.action import ActionConfig
from wrappers.adapters.padding import list_choices
from wrappers.rewards import RewardConfig
from wrappers.vec_env import Opening, VecEnv


def make(
    num_games: int = 1,
    map_size: int = 48,
    maps: Iterable[int] = range(64),
    seed: int = 0,
    actions: ActionConfig | None = None,
    reward: RewardConfig | None = None,
    max_turns: int | None = None,
    opening: Opening | None = None,
) -> VecEnv:
    """Games side by side, both sides of each decided by rows (`wrappers.vec_env.VecEnv`).

    Args:
        num_games: N.
        map_size: 12 to 64; 48 plays 2-5 factories a side, 64 plays 4-10.
        maps: seeds of the official generator; each game that begins draws one of them.
        seed: of these draws.
        actions, reward: what is offered, and what is rewarded (default: everything useful, the survival shaping).
        max_turns: truncate games after so many turns.
        opening: writes bids and placements (default: the rule that goes with `actions`).
    """
    config, actions = GameConfig.for_map_size(map_size), actions or ActionConfig()
    pool = MapPool(config, maps)
    return VecEnv(config, num_games, pool, opening or opening_of(actions), reward, actions, seed, max_turns)


def random_actions(env: VecEnv, rng: np.random.Generator) -> np.ndarray:
    """An action `[M, 4]` for every row of `env.obs`, evenly drawn from all that its mask allows."""
    choices = list_choices(env.actions)
    legal = choices.legal(env.obs.mask[: env.obs.rows])
    return choices.action[np.argmax(rng.random(legal.shape) * legal, axis=1)]


class Actor:
    """A trained agent that acts in games of this engine; it sees them in its own way, whatever the environment shows others.

    Attributes: `policy` (the network), `actions` (what it is offered), `config` (the rules it was trained by) and `opening`.
    """

    def __init__(self, path: Path | str = "shipped", seed: int = 0, greedy: bool = False) -> None:
        self.agent, self.config, _ = load_agent(path)
        self.greedy = greedy
        device = next(self.policy.parameters()).device
        self._generator = torch.Generator(device).manual_seed(seed)
        self._env: VecEnv | None = None
        self._sides: list[int] = []
        self._turn = np.zeros(0, np.int32)  # of each game when it acted last

    @property
    def policy(self) -> Any:
        return self.agent.policy

    @property
    def actions(self) -> ActionConfig:
        return self.agent.actions

    @property
    def opening(self) -> Opening:
        return opening_of(self.actions)

    def act(self, env: VecEnv, sides: Iterable[int] | None = None) -> np.ndarray:
        """Its actions `[M, 4]` for the rows of `env.obs`; to be asked once a turn.

        `sides` (side `2 * game + player`; default: all) are those that it plays. Rows of others get WAIT, for the caller to
        overwrite. An agent on advice remembers the match and supposes that what it says is done.
        """
        wanted = list(range(2 * env.num_games) if sides is None else sides)
        if env is not self._env or wanted != self._sides:
            self._env, self._sides = env, wanted
            self._rival = Rival(self.agent, env.config, wanted)
            self._turn = env.games["real_step"] - 1
        turn = env.games["real_step"].copy()
        if self._rival.advice is not None:
            for game in np.flatnonzero(turn != self._turn + 1):  # another one than last turn
                self._rival.advice.forget(int(game))
        self._turn = turn
        action = np.zeros((env.obs.rows, 4), np.int64)
        self._rival.decide(env, self._generator, self.greedy, action)
        return action


def load(path: Path | str = "shipped", seed: int = 0, greedy: bool = False) -> Actor:
    """An agent that is ready to act: a checkpoint, a run folder (its best checkpoint), `latest` or `shipped`.

    `seed` is of the sampling of its actions; `greedy` takes the likeliest instead. Raises `CheckpointError`.
    """
    return Actor(path, seed, greedy)


def train(
    run_dir: Path | str,
    config: TrainConfig | str = "demo",
    callback: Callable[[int, dict[str, float]], bool | None] | None = None,
    resume: bool = False,
    init: str | None = None,
    logger: Logger = "tensorboard",
    **changes: Any,
) -> dict[str, float]:
    """Train an agent, as `luxs2 train` does, and return the scores of the last evaluation.

    Args:
        run_dir: the run's folder.
        config: a config, or the name of a preset.
        callback: called after every iteration with the environment step and the metrics; `False` ends and saves the run.
        resume: go on with the run in `run_dir`; `config` must be the one that it began with.
        init: a checkpoint or run folder whose weights it starts with.
        logger: where curves go besides metrics.jsonl: "tensorboard", "wandb" (offline unless WANDB_MODE=online is set) or "none".
        changes: fields of the config to replace, such as `env_steps=10_000`.

    Raises `ValueError` for a config or a folder that cannot be used.
    """
    if isinstance(config, str):
        if config not in PRESETS:
            raise ValueError(f"There is no preset {config!r}; accepted are {', '.join(PRESETS)}.")
        config = PRESETS[config]
    return run_training(dataclasses.replace(config, **changes), Path(run_dir), resume, init, callback, logger)


def evaluate(
    path: Path | str = "shipped",
    maps: int = 32,
    map_size: int | None = None,
    opponent: str | None = None,
    seed: int = 0,
    greedy: bool = False,
) -> dict[str, float]:
    """Mean scores of an agent on unseen maps, against an opponent (a built-in one, a checkpoint) or itself; whole games."""
    rival = None if opponent is None else opponent_named(opponent)
    return evaluate_checkpoint(str(path), maps, map_size, seed, rival, greedy)


def play(
    left: Path | str = "shipped",
    right: Path | str = "farmer",
    seed: int = 0,
    map_size: int = 48,
    page: Path | str | None = None,
    replay: Path | str | None = None,
) -> MatchResult:
    """One match on the official engine, each side a process of its own; `page` is the HTML file to watch it in.

    Players are what `luxs2 play` takes: built-in opponents, tarballs, folders with `main.py`, checkpoints, run folders.
    """
    with tempfile.TemporaryDirectory(prefix="lux-replay-") as folder:
        kept = Path(replay) if replay is not None else Path(folder) / "replay.json.gz" if page is not None else None
        result = play_match(left, right, seed, map_size, replay=kept)
        if page is not None and kept is not None:
            write_page(kept, page)
    return dataclasses.replace(result, replay=None) if replay is None else result
