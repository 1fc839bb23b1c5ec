"""The judge's JSON to a game record, on which the same observation, mask and codec code runs, and orders to its JSON.

`JudgeGame` follows one match from its first observation on. Most of a record is in every observation; what is not is
followed or worked out: boards that come as changes only, the slots of robots, their homes, and how many tiles each
factory's lichen could grow on in the last turn, which decides whether the official engine accepts watering.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.config import CELLS, MAX_ROBOTS, QUEUE, SIZE, GameConfig
from engine.state import BUILD_LIGHT, FACTORIES, WATER_LICHEN, empty_games, empty_orders
from wrappers.masks import flood
from wrappers.observation import empty_static, write_static

PLAYERS = ("player_0", "player_1")
FACTIONS = ("AlphaStrike", "MotherMars")
_CARGO = ("ice", "ore", "water", "metal")


def forget(orders: Any) -> None:
    """Empty an orders record."""
    for name in ("queue_len", "factory", "spawn"):
        orders[name] = -1
    for name in ("bid", "spawn_water", "spawn_metal", "lost"):
        orders[name] = 0


class JudgeGame:
    """One match as the judge shows it.

    Args:
        env_cfg: the dict of the official `EnvConfig` (`info["env_cfg"]` of the first message).

    Attributes: `game` (record of `GAME_DTYPE`), `rules`, `static` (record of `STATIC_DTYPE`, once real turns begin),
    `orders` (record of `ORDERS_DTYPE`, to be written and then handed to `actions`).

    Exact but for two coincidences that the judge does not show: a robot of player_1 that dies in the turn in which it is
    built (masks do not allow that) has taken a slot, so a later one may get a lower slot here than in the engine; and on
    a tile of lichen, two light robots that die beside a light one leave the same trace as its digging does.
    """

    def __init__(self, env_cfg: dict[str, Any]) -> None:
        self.config = GameConfig.from_env_cfg(env_cfg)
        self.rules = self.config.rules()
        self.game = empty_games(1)[0]
        self.static = empty_static(1)[0]
        self.orders = empty_orders(1)[0]
        self._seen = False
        self._robots: dict[int, int] = {}  # creation number to robot index
        self._static_made = False
        for name in ("strain", "factory_at", "robot_at"):
            self.game[name] = -1
        self.game["factory_owner"] = -1
        self.game["factory_slot"] = -1

    def update(self, obs: dict[str, Any]) -> None:
        """Take in the next observation: complete at first, later with changed cells of rubble and lichen only.

        Raises `ValueError` if the first observation is not complete.
        """
        game = self.game
        before = None
        if self._seen and game["real_step"] >= 0:
            before = {name: game[name].copy() for name in ("lichen", "strain", "factory_at", "robot_at", "robot_id", "robot_heavy")}
        played = before is not None and int(obs["real_env_steps"]) > int(game["real_step"])
        game["factories_per_team"] = obs["board"]["factories_per_team"]
        game["real_step"] = obs["real_env_steps"]
        game["env_steps"] = game["real_step"] + 2 * game["factories_per_team"] + 1
        self._take_boards(obs["board"])
        self._take_teams(obs["teams"])
        self._take_factories(obs["factories"])
        self._take_robots(obs["units"], int(obs["global_id"]))
        self._sum_lichen()
        if game["real_step"] >= 0 and not self._static_made:
            write_static(game, self.rules, self.static)
            self._static_made = True
        if played and before is not None:
            self._count_growth(before)
        self._seen = True

    def actions(self, player: int, orders: Any = None) -> dict[str, Any]:
        """A side's orders as the JSON-able action of this turn; the orders (default: `self.orders`) are emptied."""
        orders = self.orders if orders is None else orders
        game = self.game
        action: dict[str, Any] = {}
        if game["real_step"] < 0:
            cell = int(orders["spawn"][player])
            if game["env_steps"] == 0:
                action = {"faction": FACTIONS[player], "bid": int(orders["bid"][player])}
            elif cell >= 0:
                action = {
                    "spawn": [cell // SIZE, cell % SIZE],
                    "metal": int(orders["spawn_metal"][player]),
                    "water": int(orders["spawn_water"][player]),
                }
        else:
            length = orders["queue_len"]
            for r in game["robot_order"][player, : int(game["robot_count"][player])].tolist():
                if length[r] >= 0:
                    action[f"unit_{game['robot_id'][r]}"] = orders["queue"][r, : length[r]].tolist()
            for f in range(int(game["factory_count"])):
                order = int(orders["factory"][f])
                if game["factory_owner"][f] == player and game["factory_alive"][f] and BUILD_LIGHT <= order <= WATER_LICHEN:
                    action[f"factory_{f}"] = order
        forget(orders)
        return action

    def forget_orders(self) -> None:
        """Empty the orders without sending them."""
        forget(self.orders)

    def _take_boards(self, shown: dict[str, Any]) -> None:
        game, size = self.game, self.config.map_size
        for name, key in (("rubble", "rubble"), ("lichen", "lichen"), ("strain", "lichen_strains")):
            values = shown[key]
            if isinstance(values, dict):
                if not self._seen:
                    raise ValueError(f"The first observation shows changes of {key} only; it must show the whole board.")
                board = game[name]
                for place, value in values.items():
                    x, y = place.split(",")
                    board[int(x) * SIZE + int(y)] = value
            else:
                game[name].reshape(SIZE, SIZE)[:size, :size] = values
        for name, key in (("ice", "ice"), ("ore", "ore"), ("spawnable", "valid_spawns_mask")):
            if key in shown:
                game[name].reshape(SIZE, SIZE)[:size, :size] = shown[key]
            elif not self._seen:
                raise ValueError(f"The first observation shows no {key}; it must show the whole board.")
        game["lichen_any"] = game["lichen"].any()

    def _take_teams(self, teams: dict[str, Any]) -> None:
        game = self.game
        stock = self.config.init_water_metal_per_factory * int(game["factories_per_team"])
        count = 0
        for player, agent in enumerate(PLAYERS):
            team = teams.get(agent)
            if team is None:
                game["team_water"][player] = game["team_metal"][player] = stock
                game["factories_to_place"][player] = game["factories_per_team"]
                continue
            game["team_water"][player] = team["water"]
            game["team_metal"][player] = team["metal"]
            game["factories_to_place"][player] = team["factories_to_place"]
            game["place_first"][player] = team["place_first"]
            game["bid"][player] = team["bid"]
            count += len(team["factory_strains"])
            for slot, number in enumerate(team["factory_strains"]):
                game["factory_owner"][number] = player
                game["factory_slot"][number] = slot
        game["factory_count"] = count

    def _take_factories(self, factories: dict[str, Any]) -> None:
        game = self.game
        game["factory_alive"] = 0
        game["factory_at"] = -1
        at = game["factory_at"].reshape(SIZE, SIZE)
        for agent in PLAYERS:
            for shown in factories.get(agent, {}).values():
                f = int(shown["strain_id"])
                x, y = int(shown["pos"][0]), int(shown["pos"][1])
                game["factory_alive"][f] = 1
                game["factory_cell"][f] = x * SIZE + y
                game["factory_power"][f] = shown["power"]
                game["factory_cargo"][f] = [shown["cargo"][name] for name in _CARGO]
                at[x - 1 : x + 2, y - 1 : y + 2] = f
                # nothing is left under a factory, and ice and ore are not shown again
                for name in ("ice", "ore"):
                    game[name].reshape(SIZE, SIZE)[x - 1 : x + 2, y - 1 : y + 2] = 0

    def _take_robots(self, units: dict[str, Any], next_id: int) -> None:
        game = self.game
        alive, died = game["robot_alive"], game["robot_died"]
        shown = {int(key[5:]): (player, unit) for player, agent in enumerate(PLAYERS) for key, unit in units.get(agent, {}).items()}
        died[:] = 0
        for number in [number for number in self._robots if number not in shown]:
            r = self._robots.pop(number)
            alive[r] = 0
            died[r] = 1
        game["robot_at"] = -1
        unseen_after = self._unseen(shown, next_id)
        order: list[list[int]] = [[], []]
        for number in sorted(shown):
            player, unit = shown[number]
            r = self._robots.get(number, -1)
            if r < 0:
                r = self._give_slot(number, player, unseen_after.get(number, 0))
                if r < 0:
                    continue
                game["robot_heavy"][r] = unit["unit_type"] == "HEAVY"
                game["robot_home"][r] = self._home(player, unit)
            self._take_robot(r, unit)
            order[player].append(r)
        for player in range(2):
            count = len(order[player])
            game["robot_count"][player] = count
            game["robot_order"][player, :count] = order[player]
            game["robot_slots"][player] = max(order[player]) - player * MAX_ROBOTS + 1 if count else 0
        game["next_id"] = next_id

    def _take_robot(self, r: int, unit: dict[str, Any]) -> None:
        game = self.game
        cell = int(unit["pos"][0]) * SIZE + int(unit["pos"][1])
        game["robot_cell"][r] = cell
        game["robot_at"][cell] = r
        game["robot_power"][r] = unit["power"]
        cargo = unit["cargo"]
        game["robot_cargo"][r] = [cargo[name] for name in _CARGO]
        queue = unit["action_queue"][:QUEUE]
        game["queue_len"][r] = len(queue)
        if len(queue):
            game["queue"][r, : len(queue)] = queue

    def _unseen(self, shown: dict[int, Any], next_id: int) -> dict[int, int]:
        """For every new robot: how many robots of its side were built just before it this turn and died before they were seen."""
        numbers = sorted(number for number in shown if number not in self._robots)
        known = int(self.game["next_id"])
        if not self._seen or len(numbers) == next_id - known:
            return {}
        unseen = {}
        side = 0  # player_0 builds first
        for number in numbers:
            player = shown[number][0]
            # between player_0's last and player_1's first it could be either's; player_0's would change no slot
            unseen[number] = number - known if player == side else 0
            known = number + 1
            side = player
        return unseen

    def _give_slot(self, number: int, player: int, unseen: int) -> int:
        """The lowest slot that is free and was not freed this turn, skipping those of robots built before it and already dead.

        -1 if there is none: a robot beyond the `MAX_ROBOTS` that a record has room for is not seen until there is.
        """
        alive, died = self.game["robot_alive"], self.game["robot_died"]
        first = player * MAX_ROBOTS
        free = np.flatnonzero((alive[first : first + MAX_ROBOTS] == 0) & (died[first : first + MAX_ROBOTS] == 0)) + first
        if len(free) <= unseen:
            return -1
        for r in free[:unseen]:
            died[r] = 1
        r = int(free[unseen])
        alive[r] = 1
        self.game["robot_id"][r] = number
        self._robots[number] = r
        return r

    def _home(self, player: int, unit: dict[str, Any]) -> int:
        """The factory that built a robot: newborn, it stands on its centre; one first seen later gets the nearest."""
        game = self.game
        own = np.flatnonzero(game["factory_owner"][: int(game["factory_count"])] == player)
        x, y = np.divmod(game["factory_cell"][own].astype(int), SIZE)
        distance = np.abs(x - int(unit["pos"][0])) + np.abs(y - int(unit["pos"][1]))
        return int(own[distance.argmin()])

    def _sum_lichen(self) -> None:
        game = self.game
        strain = game["strain"]
        if game["lichen_any"]:
            grown = strain >= 0
            sums = np.bincount(strain[grown], weights=game["lichen"][grown], minlength=FACTORIES)
        else:
            sums = np.zeros(FACTORIES)
        game["factory_lichen"] = sums
        for player in range(2):
            game["lichen_total"][player] = sums[game["factory_owner"] == player].sum()

    def _count_growth(self, before: dict[str, np.ndarray]) -> None:
        """`factory_grow` and `factory_connected` as of the last turn's flood fill, from the boards before and after the turn.

        The fill saw the ground after digging and dying and before watering and decay. Ground first: outside the walls
        rubble has not changed since. Then lichen: on bare ground it is what it was, or what a dig left of it; under
        new rubble it is gone, and so is its strain, unless the rubble is what digging out lichen leaves behind.
        """
        game, config = self.game, self.config
        lichen, strain = before["lichen"].astype(np.int32), before["strain"].copy()
        removed = (config.light.dig_lichen_removed, config.heavy.dig_lichen_removed)
        left_behind = (config.light.dig_resource_gain, config.heavy.dig_resource_gain)
        for cell in np.flatnonzero((strain >= 0) & (game["lichen"] < lichen - 1)):
            digger = before["robot_at"][cell]
            kind = int(before["robot_heavy"][digger]) if digger >= 0 else -1
            if game["rubble"][cell] == 0:
                lichen[cell] = max(int(lichen[cell]) - (removed[kind] if digger >= 0 else 0), 0)
        for cell in np.flatnonzero((strain >= 0) & (game["rubble"] > 0)):
            digger, now = before["robot_at"][cell], game["robot_at"][cell]
            stayed = digger >= 0 and now >= 0 and before["robot_id"][digger] == game["robot_id"][now]
            lichen[cell] = 0
            if not stayed or game["rubble"][cell] != left_behind[int(before["robot_heavy"][digger])]:
                strain[cell] = -1
        nobody = np.full(CELLS, -1, np.int16)
        spread = config.min_lichen_to_spread
        boards = (game["rubble"], game["ice"], game["ore"], lichen, strain, before["factory_at"])
        robots = (nobody, game["robot_heavy"], np.zeros(2, np.int32))
        for f in np.flatnonzero(game["factory_alive"]).tolist():
            found = flood(f, int(game["factory_cell"][f]), config.map_size, spread, *boards, *robots, True, CELLS)
            game["factory_grow"][f], game["factory_connected"][f] = found
