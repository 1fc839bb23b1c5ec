"""stable-baselines3: N games as a `VecEnv` of 2 * N environments, each one side of a game as a whole team.

Environment `2 * game + player` is that player's side, so one policy plays itself from both sides. The two environments of
a game end together and restart by themselves. `sb3_contrib.MaskablePPO("MultiInputPolicy", ...)` trains on it as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv as StableVecEnv

from engine.maps import MapPool
from wrappers.action import ActionConfig
from wrappers.adapters.padding import SEEN, PaddedGames, team_space
from wrappers.rewards import RewardConfig
from wrappers.vec_env import Opening


class TeamVecEnv(StableVecEnv):
    """The sides of N games.

    Args: as those of `PaddedGames`.

    Observation: a dict of `feature [S, D]`, `alive [S]`, `planes [C, P, P]`, `scalar [G]`.
    Action: `MultiDiscrete([K] * S)`, a number of `choices.names` for each slot; `action_masks()` (also through `env_method`)
    gives `[2 * N, S * K] bool`. A choice that it forbids becomes WAIT and is counted in `info["illegal"]`.
    Reward: the sum of the side's row rewards. At the end of a game `info` has `terminal_observation`,
    `TimeLimit.truncated` and `result`, the `GameResult`.
    `seed(s)` takes effect at the next `reset`; all games draw their maps from the one generator that it seeds.
    """

    def __init__(
        self,
        pool: MapPool,
        num_games: int,
        opening: Opening,
        slots: int = 64,
        reward: RewardConfig | None = None,
        actions: ActionConfig | None = None,
        seed: int = 0,
        max_turns: int | None = None,
        threads: int = 1,
    ) -> None:
        self.padded = PaddedGames(pool, num_games, opening, slots, reward, actions, seed, max_turns, threads)
        self.choices = self.padded.choices
        self.render_mode = None
        super().__init__(2 * num_games, team_space(self.padded), spaces.MultiDiscrete([len(self.choices)] * slots))
        self._actions: np.ndarray | None = None

    def reset(self) -> dict[str, np.ndarray]:
        self.padded.reset(self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [{} for _ in range(self.num_envs)]
        return self._observations()

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, list[dict[str, Any]]]:
        if self._actions is None:
            raise RuntimeError("There are no actions; call step_async() before step_wait(), or step().")
        step = self.padded.step(self._actions)
        self._actions = None
        over = step.done | step.truncated
        infos: list[dict[str, Any]] = [
            {"illegal": int(step.illegal[b]), "TimeLimit.truncated": bool(step.truncated[b])} for b in range(self.num_envs)
        ]
        last = self._observations()
        for ended in step.finished:
            for b in (2 * ended.game, 2 * ended.game + 1):
                infos[b]["terminal_observation"] = {name: values[b] for name, values in last.items()}
                infos[b]["result"] = ended
        self.padded.reset_done()
        return self._observations(), step.reward, over, infos

    def action_masks(self) -> np.ndarray:
        """What is legal now, `[2 * N, S * K] bool`."""
        return self.padded.now["action_mask"].reshape(self.num_envs, -1) != 0

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Results by environment; `action_masks` is the one method that a single side has."""
        if method_name != "action_masks":
            raise AttributeError(f"The sides have no method {method_name!r}; they have 'action_masks'.")
        masks = self.action_masks()
        return [masks[b] for b in self._get_indices(indices)]

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute of the whole batch, once for each environment asked for."""
        value = getattr(self, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set it for the whole batch. Raises `ValueError` for single environments, which share everything."""
        if indices is not None and len(set(self._get_indices(indices))) != self.num_envs:
            raise ValueError(f"{attr_name} cannot be set for environments {indices} alone; they are one batch.")
        setattr(self, attr_name, value)

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[np.ndarray | None]:
        return [None] * self.num_envs

    def close(self) -> None:
        """Nothing is held open."""

    def _observations(self) -> dict[str, np.ndarray]:
        return {name: self.padded.now[name] for name in SEEN}
