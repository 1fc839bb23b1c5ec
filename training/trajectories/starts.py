"""States reached in recorded matches, in which training games can begin."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from arena.replay_page.recording import Recording, read_recording
from engine.config import GameConfig
from engine.state import empty_games
from wrappers.judge import JudgeGame


def read_starts(replays: Iterable[str], config: GameConfig, every: int, turns: int) -> np.recarray:
    """Game records [K]: the states of these replays at every `every`-th turn below `turns` in which both sides own a factory.

    The engine plays on from them as from its own; only the totals of the game so far begin anew. Raises `ValueError` for
    a file that is no replay or one of another map size or other rules, and if there is no such state.
    """
    found: list[np.recarray] = []
    for path in replays:
        match = read_recording(path)
        size = len(match.observations[0]["board"]["rubble"])
        if size != config.map_size:
            raise ValueError(f"{path} was played on a {size}x{size} map; this run trains on {config.map_size}x{config.map_size}.")
        try:
            found += _states(match, config, every, turns)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            what = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split()).rstrip(".")
            raise ValueError(f"Games cannot begin in {path}: {what}.") from error
    if not found:
        raise ValueError(f"The replays reach no state at every {every}th turn below {turns} in which both sides own a factory.")
    return np.concatenate(found).view(np.recarray)


def _states(match: Recording, config: GameConfig, every: int, turns: int) -> Iterator[np.recarray]:
    """The wanted states of one match."""
    judge = JudgeGame({**config.official(), **match.env_cfg})
    factories = {"min_factories": config.min_factories, "max_factories": config.max_factories}
    if dataclasses.replace(judge.config, **factories) != config:
        raise ValueError("it was played by other rules")
    for obs in match.observations:
        judge.update(obs)
        game = judge.game
        owners = game["factory_owner"][game["factory_alive"] == 1]
        if 0 < game["real_step"] < turns and game["real_step"] % every == 0 and len(set(owners.tolist())) == 2:
            kept = empty_games(1)
            kept[0] = game
            kept["seed"] = -1 if match.seed is None else match.seed
            kept["fill_dirty"] = 1
            yield kept
