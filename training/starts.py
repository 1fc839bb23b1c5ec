"""States reached in recorded matches, in which training games can begin."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from engine.config import GameConfig
from engine.state import empty_games
from submission.replay_page.recording import read_recording
from wrappers.judge import JudgeGame


def read_starts(replays: Iterable[str], config: GameConfig, every: int, turns: int) -> np.recarray:
    """Game records [K]: the states of these replays at every `every`-th turn below `turns` in which both sides own a factory.

    The engine plays on from them as from its own; only the totals of the game so far begin anew. Raises `ValueError` for
    a file that is no replay or one of another map size, and if there is no such state.
    """
    found = []
    for path in replays:
        match = read_recording(path)
        judge = JudgeGame(match.env_cfg)
        if judge.config.map_size != config.map_size:
            size = judge.config.map_size
            raise ValueError(f"{path} was played on a {size}x{size} map; this run trains on {config.map_size}x{config.map_size}.")
        for obs in match.observations:
            judge.update(obs)
            game = judge.game
            owners = game["factory_owner"][game["factory_alive"] == 1]
            if 0 < game["real_step"] < turns and game["real_step"] % every == 0 and len(set(owners.tolist())) == 2:
                kept = empty_games(1)
                kept[0] = game
                kept["seed"] = -1 if match.seed is None else match.seed
                kept["fill_dirty"] = 1
                found.append(kept)
    if not found:
        raise ValueError(f"The replays reach no state at every {every}th turn below {turns} in which both sides own a factory.")
    return np.concatenate(found).view(np.recarray)
