"""PettingZoo: one agent for every robot and factory, as independent and centralised multi-agent learners want it.

Entities come and go, so do agents. A name is one entity's for a whole game and is not given again after its end.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from engine.config import MAX_FACTORIES
from engine.maps import MapPool
from wrappers.action import BUILD_HEAVY, BUILD_LIGHT, WAIT, WATER, ActionConfig
from wrappers.adapters.padding import LIMIT, ROBOT_KINDS, list_choices
from wrappers.adapters.rival import Rival, with_rival
from wrappers.features import FACTORY_WIDTH, ROBOT_WIDTH
from wrappers.observation import GRID, PLANES, SCALARS
from wrappers.rewards import RewardConfig
from wrappers.vec_env import Opening, VecEnv

PLAYERS = ("player_0", "player_1")
FACTORY_KINDS = (WAIT, BUILD_LIGHT, BUILD_HEAVY, WATER)


class EntityEnv(ParallelEnv[str, Any, Any]):
    """One game, an agent an entity: `player_0_factory_1`, `player_1_robot_12` (robots are numbered as they are built).

    Args:
        pool, opening, reward, actions, seed, max_turns: as in `VecEnv`, for one game.
        robots: most robots a side that are agents in a game. Those built later wait; a warning and `info["beyond"]` count them.
        rival: plays player_1, whose entities are no agents then.

    Observation: `observation [D + G] float32`, the entity's own features and its side's scalars, and `action_mask [K] int8`.
    Action: a number of `robot_choices.names` or `factory_choices.names`. One that the mask forbids becomes WAIT (0) and is
    counted in `info["illegal"]`. Reward: that of the entity's row. An agent is terminated when its entity dies or the game
    ends; a dead one's last observation is zero. `state()`: the map and the scalars seen from player_0, `[C * P * P + G]`.
    `info` has `turn`, and at the end of the game `result`.
    """

    metadata: dict[str, Any] = {"name": "lux_s2_entities_v0", "render_modes": [], "is_parallelizable": True}

    def __init__(
        self,
        pool: MapPool,
        opening: Opening,
        robots: int = 64,
        reward: RewardConfig | None = None,
        actions: ActionConfig | None = None,
        seed: int = 0,
        max_turns: int | None = None,
        rival: Rival | None = None,
    ) -> None:
        actions = actions or ActionConfig()
        self.games = VecEnv(pool.config, 1, pool, with_rival(opening, rival), reward, actions, seed, max_turns)
        self.rival, self.robots = rival, robots
        self.robot_choices, self.factory_choices = list_choices(actions, ROBOT_KINDS), list_choices(actions, FACTORY_KINDS)
        self.render_mode = None
        self.beyond = 0
        players = PLAYERS if rival is None else PLAYERS[:1]
        factories = [f"{player}_factory_{i}" for player in players for i in range(pool.config.max_factories)]
        units = [f"{player}_robot_{i}" for player in players for i in range(robots)]
        self.possible_agents = factories + units
        self.agents: list[str] = []
        # PettingZoo wants the same objects at every call, and a space of its own for each agent
        self._widths = kinds = {**dict.fromkeys(factories, FACTORY_WIDTH), **dict.fromkeys(units, ROBOT_WIDTH)}
        self.action_spaces = {agent: spaces.Discrete(self._number(agent)) for agent in kinds}
        self.observation_spaces = {
            agent: spaces.Dict(
                {
                    "observation": spaces.Box(-LIMIT, LIMIT, (width + SCALARS,), np.float32),
                    "action_mask": spaces.Box(0, 1, (self._number(agent),), np.int8),
                }
            )
            for agent, width in kinds.items()
        }
        self.state_space = spaces.Box(-LIMIT, LIMIT, (PLANES * GRID * GRID + SCALARS,), np.float32)
        self._names: dict[tuple[int, int], str] = {}  # of robots: (player, ident)
        self._rows: dict[str, int] = {}  # row of each living agent

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, dict[str, Any]]]:
        """Begin a game on a newly drawn map; equal seeds give equal games. There are no options."""
        if seed is not None:
            self.games.rng = np.random.default_rng(seed)
        self.games.reset()
        self._names, self.beyond = {}, 0
        self._rows = self._find()
        self.agents = list(self._rows)
        return {agent: self._look(agent) for agent in self.agents}, self._infos(self.agents, set())

    def step(
        self, actions: dict[str, int]
    ) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        if not self.agents:
            raise RuntimeError("The game is over (or has not begun); call reset() before step().")
        missing = [agent for agent in self.agents if agent not in actions]
        if missing:
            raise ValueError(f"There is no action of {', '.join(missing)}; all agents act in every turn.")
        acting = self._rows
        chosen = np.zeros((self.games.obs.rows, 4), np.int64)
        illegal: set[str] = set()
        for agent, row in acting.items():
            number = int(actions[agent])
            if self._mask(agent, row)[number]:
                chosen[row] = self._choices(agent).action[number]
            else:
                illegal.add(agent)
        step = self.games.step(chosen, self._override)
        ended, cut = bool(step.done[0]), bool(step.truncated[0])
        self._rows = {} if ended else self._find()
        told = [*acting, *(agent for agent in self._rows if agent not in acting and not cut)]  # who is born at the cut never acts
        terminations = {agent: ended or agent not in self._rows for agent in told}
        truncations = {agent: cut and not terminations[agent] for agent in told}
        infos = self._infos(told, illegal)
        for result in step.finished:
            for agent in told:
                infos[agent]["result"] = result
        rewards = {agent: float(step.reward[acting[agent]]) if agent in acting else 0.0 for agent in told}
        observations = {agent: self._look(agent) for agent in told}
        self.agents = [agent for agent in told if not (terminations[agent] or truncations[agent])]
        if not self.agents and not (ended or cut):
            raise RuntimeError("All agents are gone and the game goes on, which the rules do not have.")
        return observations, rewards, terminations, truncations, infos

    def state(self) -> np.ndarray:
        """The whole map, downsampled, and the scalars, as player_0 sees them."""
        obs = self.games.obs
        return np.clip(np.concatenate([obs.planes[0].ravel(), obs.scalar[0]]), -LIMIT, LIMIT)

    def _override(self, games: np.recarray, orders: np.recarray) -> None:
        if self.rival is not None and not games[0]["done"]:
            self.rival.write_orders(games[0], self.games.rules, 1, orders[0])

    def _find(self) -> dict[str, int]:
        """The row of every agent that is alive now; robots without a name get the next one."""
        obs = self.games.obs
        rows: dict[str, int] = {}
        for row in range(obs.rows):
            player, slot = int(obs.side[row]), int(obs.slot[row])
            if player == 1 and self.rival is not None:
                continue
            if slot < MAX_FACTORIES:
                rows[f"{PLAYERS[player]}_factory_{slot}"] = row
                continue
            key = player, int(obs.ident[row])
            if key not in self._names:
                self._names[key] = self._name(player)
            if self._names[key]:
                rows[self._names[key]] = row
        return rows

    def _name(self, player: int) -> str:
        """A new robot's name; none beyond the last."""
        built = sum(owner == player for owner, _ in self._names)
        if built < self.robots:
            return f"{PLAYERS[player]}_robot_{built}"
        self.beyond += 1
        if self.beyond == 1:
            warnings.warn(
                f"More than {self.robots} robots of a side are built in this game; later ones wait.", RuntimeWarning, stacklevel=4
            )
        return ""

    def _choices(self, agent: str) -> Any:
        return self.factory_choices if "_factory_" in agent else self.robot_choices

    def _number(self, agent: str) -> int:
        return len(self._choices(agent))

    def _mask(self, agent: str, row: int) -> np.ndarray:
        return self._choices(agent).legal(self.games.obs.mask[row : row + 1])[0]

    def _look(self, agent: str) -> dict[str, np.ndarray]:
        """What an agent sees; zero, and nothing but waiting, once it is gone."""
        width = self._widths[agent]
        if agent not in self._rows:
            mask = np.arange(self._number(agent)) == 0
            return {"observation": np.zeros(width + SCALARS, np.float32), "action_mask": mask.astype(np.int8)}
        obs, row = self.games.obs, self._rows[agent]
        own = obs.feature[row, :width]
        seen = np.clip(np.concatenate([own, obs.scalar[obs.side[row]]]), -LIMIT, LIMIT)
        return {"observation": seen, "action_mask": self._mask(agent, row).astype(np.int8)}

    def _infos(self, agents: list[str], illegal: set[str]) -> dict[str, dict[str, Any]]:
        turn = int(self.games.games[0]["real_step"])
        return {agent: {"turn": turn, "illegal": int(agent in illegal), "beyond": self.beyond} for agent in agents}
