"""PettingZoo: the two-player game as a `ParallelEnv`, each side a team of padded slots."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from engine.config import CELLS
from engine.maps import MapPool
from wrappers.action import ActionConfig
from wrappers.adapters.padding import LIMIT, PaddedGames
from wrappers.rewards import RewardConfig
from wrappers.vec_env import Opening

PLAYERS = ["player_0", "player_1"]


class TwoPlayerEnv(ParallelEnv[str, dict[str, Any], np.ndarray]):
    """One game of two teams of S slots; the bid and the placement are played by `opening` in `reset`.

    Args: as those of `PaddedGames`, for one game.

    Observation, for D features, K choices, C planes of P x P, G scalars (`PaddedGames` says more):
    `feature [S, D]`, `alive [S]`, `kind`, `cell`, `ident`, `home` `[S]` (-1 where nobody is), `planes [C, P, P]`, `scalar [G]`,
    and `action_mask`, S arrays of K bits, as `action_space(agent).sample(mask=...)` takes it (`np.stack` makes it one array).
    Action: `MultiDiscrete([K] * S)`, a number of `choices.names` for each slot. One that the mask forbids becomes WAIT.
    Reward: the sum of the side's row rewards (with `RewardConfig(result=...)`, winning and losing).
    `info`: `illegal`, choices that became WAIT; `beyond`, entities so far in both teams that had no slot; `turn`; at
    the end `result`, the `GameResult`. Equal seeds of `reset` give equal games.
    """

    metadata: dict[str, Any] = {"name": "lux_s2_v0", "render_modes": [], "is_parallelizable": True}

    def __init__(
        self,
        pool: MapPool,
        opening: Opening,
        slots: int = 64,
        reward: RewardConfig | None = None,
        actions: ActionConfig | None = None,
        seed: int = 0,
        max_turns: int | None = None,
    ) -> None:
        self.padded = PaddedGames(pool, 1, opening, slots, reward, actions, seed, max_turns)
        self.choices = self.padded.choices
        self.render_mode = None
        self.possible_agents = list(PLAYERS)
        self.agents: list[str] = []
        shapes = self.padded.shapes

        def real(name: str) -> spaces.Box:
            return spaces.Box(-LIMIT, LIMIT, shapes[name], np.float32)

        def whole(most: int, kind: type[np.signedinteger]) -> spaces.Box:
            return spaces.Box(-1, most, (slots,), kind)

        def observation() -> spaces.Dict:
            masks = [spaces.MultiBinary(len(self.choices)) for _ in range(slots)]
            return spaces.Dict(
                {
                    "feature": real("feature"),
                    "alive": spaces.MultiBinary(slots),
                    "kind": whole(2, np.int8),
                    "cell": whole(CELLS - 1, np.int16),
                    "ident": whole(np.iinfo(np.int32).max, np.int32),
                    "home": whole(np.iinfo(np.int16).max, np.int16),
                    "planes": real("planes"),
                    "scalar": real("scalar"),
                    "action_mask": spaces.Tuple(masks),
                }
            )

        # PettingZoo wants the same objects at every call, and a space of its own for each agent
        self.observation_spaces = {agent: observation() for agent in PLAYERS}
        self.action_spaces = {agent: spaces.MultiDiscrete([len(self.choices)] * slots) for agent in PLAYERS}

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
        """Begin a game on a newly drawn map. There are no options."""
        self.padded.reset(seed)
        self.agents = list(PLAYERS)
        return self._observations(), self._infos(np.zeros(2, np.int64))

    def step(
        self, actions: dict[str, np.ndarray]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        if not self.agents:
            raise RuntimeError("The game is over (or has not begun); call reset() before step().")
        missing = [agent for agent in PLAYERS if agent not in actions]
        if missing:
            raise ValueError(f"There is no action of {' and '.join(missing)}; both players act in every turn.")
        step = self.padded.step(np.stack([actions[agent] for agent in PLAYERS]))
        infos = self._infos(step.illegal)
        for ended in step.finished:
            for agent in PLAYERS:
                infos[agent]["result"] = ended
            self.agents = []
        return (
            self._observations(),
            {agent: float(step.reward[b]) for b, agent in enumerate(PLAYERS)},
            {agent: bool(step.done[b]) for b, agent in enumerate(PLAYERS)},
            {agent: bool(step.truncated[b]) for b, agent in enumerate(PLAYERS)},
            infos,
        )

    def _observations(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for b, agent in enumerate(PLAYERS):
            found[agent] = {name: values[b] for name, values in self.padded.now.items()}
            found[agent]["action_mask"] = tuple(found[agent]["action_mask"])
        return found

    def _infos(self, illegal: np.ndarray) -> dict[str, dict[str, Any]]:
        turn = int(self.padded.games.games[0]["real_step"])
        return {agent: {"turn": turn, "illegal": int(illegal[b]), "beyond": self.padded.beyond} for b, agent in enumerate(PLAYERS)}
