"""Agents of the judge's protocol as a side of games on the fast engine, in this process.

A scripted agent is a function from the judge's message (`{"obs", "step", "remainingOverageTime", "player", "reward",
"info"}`) to its JSON action, one for each match. It sees whole boards every turn, which the protocol allows.
"""

from __future__ import annotations

from typing import Any, Callable, Dict

import numpy as np

from engine.config import SIZE, GameConfig
from engine.official_actions import PLAYERS, actions_to_orders
from engine.state import NO_ACTION, board

Act = Callable[[Dict[str, Any]], Dict[str, Any]]
_CARGO = ("ice", "ore", "water", "metal")


def judge_observation(game: Any, map_size: int) -> dict[str, Any]:
    """What the judge would show of a game record: its `obs`, complete, boards as arrays `[x, y]`."""

    def shown(name: str) -> np.ndarray:
        return board(game, name, map_size)

    units: dict[str, Any] = {}
    factories: dict[str, Any] = {}
    teams: dict[str, Any] = {}
    count = int(game["factory_count"])
    owner, alive = game["factory_owner"].tolist(), game["factory_alive"].tolist()
    stocks = [dict(zip(_CARGO, amounts)) for amounts in game["factory_cargo"][:count].tolist()]
    for player, agent in enumerate(PLAYERS):
        order = game["robot_order"][player, : int(game["robot_count"][player])]
        columns = ("robot_id", "robot_power", "robot_heavy", "robot_cell", "robot_cargo", "queue_len")
        units[agent] = {
            f"unit_{number}": {
                "team_id": player,
                "unit_id": f"unit_{number}",
                "power": power,
                "unit_type": "HEAVY" if heavy else "LIGHT",
                "pos": list(divmod(cell, SIZE)),
                "cargo": dict(zip(_CARGO, amounts)),
                "action_queue": queue[:length].tolist() if length else [],
            }
            for number, power, heavy, cell, amounts, length, queue in zip(
                *(game[name][order].tolist() for name in columns), game["queue"][order]
            )
        }
        own = [f for f in range(count) if owner[f] == player]
        factories[agent] = {
            f"factory_{f}": {
                "pos": list(divmod(int(game["factory_cell"][f]), SIZE)),
                "power": int(game["factory_power"][f]),
                "cargo": stocks[f],
                "unit_id": f"factory_{f}",
                "strain_id": f,
                "team_id": player,
            }
            for f in own
            if alive[f]
        }
        if game["env_steps"] > 0:
            teams[agent] = {
                "team_id": player,
                "faction": "AlphaStrike",
                "water": int(game["team_water"][player]),
                "metal": int(game["team_metal"][player]),
                "factories_to_place": int(game["factories_to_place"][player]),
                "factory_strains": own,
                "place_first": bool(game["place_first"][player]),
                "bid": int(game["bid"][player]),
            }
    return {
        "units": units,
        "teams": teams,
        "factories": factories,
        "board": {
            "rubble": shown("rubble"),
            "ice": shown("ice"),
            "ore": shown("ore"),
            "lichen": shown("lichen"),
            "lichen_strains": shown("strain"),
            "valid_spawns_mask": shown("spawnable"),
            "factories_per_team": int(game["factories_per_team"]),
        },
        "real_env_steps": int(game["real_step"]),
        "global_id": int(game["next_id"]),
    }


class ScriptedSide:
    """A scripted agent that plays one side of one game after the other.

    Args:
        make: makes the agent of a match.
        config: the rules, which the agent is told in its first message.
    """

    def __init__(self, make: Callable[[], Act], config: GameConfig) -> None:
        self.make = make
        self.config = config
        self._act: Act | None = None
        self._told_rules = False

    @property
    def memory(self) -> Any:
        """What the agent keeps of the match, for agents that can say it."""
        return (self._act or self.make()).memory

    @memory.setter
    def memory(self, memory: Any) -> None:
        self._act, self._told_rules = self.make(), False
        self._act.memory = memory

    def write_orders(self, game: Any, rules: Any, player: int, orders: Any) -> None:
        """Ask the agent and put its answer, judged as the official engine judges it, in the place of the side's orders."""
        if self._act is None or int(game["env_steps"]) == 0:
            self._act, self._told_rules = self.make(), False
        message = {
            "obs": judge_observation(game, self.config.map_size),
            "step": int(game["env_steps"]),
            "remainingOverageTime": 60.0,
            "player": PLAYERS[player],
            "reward": float(game["reward"][player]),
            "info": {} if self._told_rules else {"env_cfg": self.config.official()},
        }
        self._told_rules = True
        answer = self._act(message)
        own = game["robot_order"][player, : int(game["robot_count"][player])]
        orders["queue_len"][own] = -1
        orders["factory"][game["factory_owner"] == player] = NO_ACTION
        actions = {key: np.array(value) if isinstance(value, list) else value for key, value in answer.items()}
        actions_to_orders(actions, game, rules, player, orders)
