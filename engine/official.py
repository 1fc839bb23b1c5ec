"""Between this engine and the official one, `luxai_s2`: states into game records, and the comparison of the two.

`make_official` makes an official environment, `load_official` a game record from its state at any time, and `compare`
lists every difference between the two. The actions are in `engine.official_actions` and are offered here as well.
`luxai_s2` is imported only when it is needed.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from engine.config import MAX_ROBOTS, QUEUE, SIZE, GameConfig
from engine.official_actions import INT16, MISSING, PLAYERS, actions_to_orders, entry, orders_to_actions, step_orders
from engine.state import FACTORIES, GAME_DTYPE, board

__all__ = [
    "MISSING",
    "PLAYERS",
    "actions_to_orders",
    "compare",
    "load_official",
    "make_official",
    "orders_to_actions",
    "step_orders",
]

CARGO = ("ice", "ore", "water", "metal")
INT32_MAX = np.iinfo(np.int32).max


def make_official(config: GameConfig, seed: int, validate: bool = True) -> Any:
    """An official environment by these rules, reset to this seed; `validate` is its own check of the action space."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    from luxai_s2.env import LuxAI_S2

    env = LuxAI_S2(collect_stats=False, verbose=0, validate_action_space=validate, **config.env_cfg())
    env.reset(seed=seed)
    return env


def load_official(games: np.ndarray, i: int, env: Any) -> None:
    """Fill game `i` from the state of an official environment, at any time after its reset.

    Exact in everything that play depends on. What an official state does not hold is filled in: a robot's home is the
    nearest factory of its side, events and totals are zero, a dead factory keeps only owner and slot, and of an ended game
    only the loss of all factories is known as a failure. Raises `ValueError` if a side has more than `MAX_ROBOTS` robots.
    """
    state, config = env.state, env.env_cfg
    games[i] = np.zeros(1, GAME_DTYPE)[0]
    game = games[i]
    per_team = int(state.board.factories_per_team)
    game["seed"] = env.seed_val
    game["env_steps"] = state.env_steps
    game["real_step"] = state.real_env_steps
    game["factories_per_team"] = per_team
    game["next_id"] = state.global_id
    game["done"] = not env.agents
    game["fill_dirty"] = 1
    for name in ("factory_at", "strain", "robot_at"):
        game[name] = -1
    for name, values in _official_boards(env).items():
        board(games[i : i + 1], name, config.map_size)[0] = values
    game["lichen_any"] = state.board.lichen.any()
    game["factory_owner"] = -1
    game["factory_slot"] = -1
    for player, agent in enumerate(PLAYERS):
        _load_team(game, player, state.teams.get(agent), config.INIT_WATER_METAL_PER_FACTORY * per_team)
        _load_factories(game, player, state.factories[agent].values())
        _load_robots(game, player, list(state.units[agent].values()))
        for number in state.teams[agent].factory_strains if agent in state.teams else []:
            game["factory_lichen"][number] = state.board.lichen[state.board.lichen_strains == number].sum()
            game["lichen_total"][player] += game["factory_lichen"][number]
        failed = game["real_step"] > 0 and not state.factories[agent]
        game["failed"][player] = failed
        game["reward"][player] = -1000 if failed else game["lichen_total"][player]


def _official_boards(env: Any) -> dict[str, np.ndarray]:
    """Boards `[W, W]` of the official state by their names in a game record."""
    source = env.state.board
    return {
        "rubble": source.rubble,
        "ice": source.ice,
        "ore": source.ore,
        "lichen": source.lichen,
        "strain": source.lichen_strains,
        "factory_at": source.factory_occupancy_map,
        "spawnable": source.valid_spawns_mask,
    }


def _load_team(game: Any, player: int, team: Any, stock: int) -> None:
    """The side's opening; before its bid a side has the `stock` of water and metal that its bid will be paid from."""
    if team is None:
        game["team_water"][player] = game["team_metal"][player] = stock
        game["factories_to_place"][player] = game["factories_per_team"]
        return
    game["bid"][player] = int(np.clip(int(team.bid), -INT32_MAX, INT32_MAX))
    game["place_first"][player] = team.place_first
    game["team_water"][player] = team.init_water
    game["team_metal"][player] = team.init_metal
    game["factories_to_place"][player] = team.factories_to_place
    game["factory_count"] += len(team.factory_strains)
    for slot, number in enumerate(team.factory_strains):
        game["factory_owner"][number] = player
        game["factory_slot"][number] = slot


def _load_factories(game: Any, player: int, factories: Any) -> None:
    for factory in factories:
        number = factory.num_id
        game["factory_alive"][number] = 1
        game["factory_owner"][number] = player
        game["factory_cell"][number] = factory.pos.x * SIZE + factory.pos.y
        game["factory_power"][number] = factory.power
        game["factory_cargo"][number] = [getattr(factory.cargo, name) for name in CARGO]
        game["factory_grow"][number] = len(factory.grow_lichen_positions)
        game["factory_connected"][number] = len(factory.connected_lichen_positions)


def _load_robots(game: Any, player: int, units: list[Any]) -> None:
    if len(units) > MAX_ROBOTS:
        raise ValueError(f"player_{player} has {len(units)} robots; a game record has room for {MAX_ROBOTS} a side.")
    if not units:
        return
    robots = _robot_arrays(units)
    first, count = player * MAX_ROBOTS, len(units)
    rows = slice(first, first + count)
    game["robot_count"][player] = count
    game["robot_slots"][player] = count
    game["robot_order"][player, :count] = np.arange(first, first + count)
    game["robot_alive"][rows] = 1
    for name, values in robots.items():
        game[name][rows] = values
    game["robot_at"][robots["robot_cell"]] = np.arange(first, first + count)
    for r, unit in enumerate(units, first):
        game["queue_len"][r] = len(unit.action_queue)
        for k, action in enumerate(unit.action_queue[:QUEUE]):
            game["queue"][r, k] = np.clip(entry(action), INT16.min, INT16.max)
    own = np.flatnonzero((game["factory_owner"] == player) & (game["factory_alive"] == 1))
    if not len(own):
        own = np.flatnonzero(game["factory_owner"] == player)
    x, y = np.divmod(robots["robot_cell"].astype(int), SIZE)
    fx, fy = np.divmod(game["factory_cell"][own].astype(int), SIZE)
    distance = np.abs(x[:, None] - fx) + np.abs(y[:, None] - fy)  # [robots, factories]
    game["robot_home"][rows] = own[distance.argmin(1)]


def _robot_arrays(units: list[Any]) -> dict[str, np.ndarray]:
    """Fields of a side's robots in the official order, by their names in a game record."""
    return {
        "robot_id": np.array([int(u.unit_id[5:]) for u in units], np.int32),
        "robot_heavy": np.array([u.unit_type.name == "HEAVY" for u in units], np.uint8),
        "robot_cell": np.array([u.pos.pos for u in units], int).reshape(-1, 2) @ np.array([SIZE, 1]),
        "robot_power": np.array([u.power for u in units], np.int32),
        "robot_cargo": np.array([(u.cargo.ice, u.cargo.ore, u.cargo.water, u.cargo.metal) for u in units], np.int32).reshape(-1, 4),
    }


# ------------------------------------------------------------------------------------------------------------ comparison


def compare(
    game: Any,
    env: Any,
    rewards: dict[str, Any] | None = None,
    terminations: dict[str, bool] | None = None,
    truncations: dict[str, bool] | None = None,
) -> list[str]:
    """Every difference between a game record and the state of an official environment, in words; empty if they are equal.

    With what the official `step` returned, rewards and the ends of the game are compared too. A game that ended in the
    bid has no teams to compare.
    """
    state = env.state
    found = [
        f"{name}: {int(game[name])}, official {int(wanted)}"
        for name, wanted in (
            ("env_steps", state.env_steps),
            ("real_step", state.real_env_steps),
            ("factories_per_team", state.board.factories_per_team),
            ("next_id", state.global_id),
            ("done", not env.agents),
            ("lichen_any", state.board.lichen.any()),
        )
        if int(game[name]) != int(wanted)
    ]
    found += _compare_boards(game, env)
    for player, agent in enumerate(PLAYERS):
        ended_in_bid = not env.agents and state.env_steps == 1
        if agent in state.teams and not ended_in_bid:
            found += _compare_team(game, player, state.teams[agent])
        found += _compare_factories(game, player, state.factories[agent])
        found += _compare_robots(game, player, list(state.units[agent].values()))
        strains = state.teams[agent].factory_strains if agent in state.teams else []
        lichen = int(state.board.lichen[np.isin(state.board.lichen_strains, strains)].sum())
        if int(game["lichen_total"][player]) != lichen:
            found.append(f"lichen_total of {agent}: {int(game['lichen_total'][player])}, official {lichen}")
        if rewards is not None and float(rewards[agent]) != float(game["reward"][player]):
            found.append(f"reward of {agent}: {int(game['reward'][player])}, official {float(rewards[agent])}")
        if truncations is not None and bool(truncations[agent]) != bool(game["failed"][player]):
            found.append(f"failed of {agent}: {bool(game['failed'][player])}, official {bool(truncations[agent])}")
        if terminations is not None and bool(terminations[agent]) != bool(game["done"]):
            found.append(f"done: {bool(game['done'])}, official termination of {agent} {bool(terminations[agent])}")
    return found


def _compare_boards(game: Any, env: Any) -> list[str]:
    found = []
    size = env.env_cfg.map_size
    for name, wanted in _official_boards(env).items():
        ours = game[name].reshape(SIZE, SIZE)[:size, :size]
        wrong = np.argwhere(ours != wanted)
        for x, y in wrong[:5]:
            found.append(f"{name} at [{x}, {y}]: {ours[x, y]}, official {int(wanted[x, y])}")
        if len(wrong) > 5:
            found.append(f"{name}: {len(wrong) - 5} more cells differ")
    return found


def _compare_team(game: Any, player: int, team: Any) -> list[str]:
    wanted = {
        "bid": int(team.bid),
        "place_first": int(team.place_first),
        "team_water": team.init_water,
        "team_metal": team.init_metal,
        "factories_to_place": team.factories_to_place,
    }
    found = [
        f"{name} of player_{player}: {int(game[name][player])}, official {value}"
        for name, value in wanted.items()
        if int(game[name][player]) != value
    ]
    count = int(game["factory_count"])
    mine = np.flatnonzero(game["factory_owner"][:count] == player)
    strains = mine[np.argsort(game["factory_slot"][mine])].tolist()
    if strains != list(team.factory_strains):
        found.append(f"factories of player_{player}: {strains}, official {team.factory_strains}")
    return found


def _compare_factories(game: Any, player: int, factories: dict[str, Any]) -> list[str]:
    found = []
    count = int(game["factory_count"])
    alive = np.flatnonzero((game["factory_alive"] == 1) & (game["factory_owner"] == player) & (np.arange(FACTORIES) < count)).tolist()
    numbers = [f.num_id for f in factories.values()]
    if alive != numbers:
        return [f"living factories of player_{player}: {alive}, official {numbers}"]
    for factory in factories.values():
        number = factory.num_id
        wanted = {
            "factory_cell": factory.pos.x * SIZE + factory.pos.y,
            "factory_power": factory.power,
            "factory_grow": len(factory.grow_lichen_positions),
            "factory_connected": len(factory.connected_lichen_positions),
        }
        for name, value in wanted.items():
            if int(game[name][number]) != int(value):
                found.append(f"{name} of factory_{number}: {int(game[name][number])}, official {int(value)}")
        cargo = [int(getattr(factory.cargo, name)) for name in CARGO]
        if game["factory_cargo"][number].tolist() != cargo:
            found.append(f"factory_cargo of factory_{number}: {game['factory_cargo'][number].tolist()}, official {cargo}")
    return found


def _compare_robots(game: Any, player: int, units: list[Any]) -> list[str]:
    first = player * MAX_ROBOTS
    order = game["robot_order"][player, : int(game["robot_count"][player])].astype(int)
    alive = np.flatnonzero(game["robot_alive"][first : first + MAX_ROBOTS]) + first
    if sorted(order.tolist()) != alive.tolist():
        return [f"robot_order of player_{player} is {order.tolist()}, but alive are {alive.tolist()}"]
    wanted = _robot_arrays(units)
    if game["robot_id"][order].tolist() != wanted["robot_id"].tolist():
        return [f"robots of player_{player} in order: {game['robot_id'][order].tolist()}, official {wanted['robot_id'].tolist()}"]
    found = []
    on_board = game["robot_at"].reshape(SIZE, SIZE)
    standing = int(((on_board >= first) & (on_board < first + MAX_ROBOTS)).sum())
    if standing != len(units):
        found.append(f"robot_at shows {standing} robots of player_{player}, official {len(units)}")
    if not units:
        return found
    for name, values in wanted.items():
        ours = game[name][order]
        for k in np.flatnonzero((ours != values).reshape(len(units), -1).any(1)):
            found.append(f"{name} of unit_{wanted['robot_id'][k]}: {ours[k].tolist()}, official {values[k].tolist()}")
    at = game["robot_at"][wanted["robot_cell"]]
    for k in np.flatnonzero(at != order):
        found.append(f"robot_at of the cell of unit_{wanted['robot_id'][k]}: {at[k]}, its robot is {order[k]}")
    lengths = np.array([len(u.action_queue) for u in units], int)
    for k in np.flatnonzero(game["queue_len"][order] != lengths):
        found.append(f"queue_len of unit_{wanted['robot_id'][k]}: {game['queue_len'][order[k]]}, official {lengths[k]}")
    if (game["queue_len"][order] == lengths).all() and lengths.sum():
        entries = np.array([entry(a) for u in units for a in u.action_queue])
        entries = entries.clip(INT16.min, INT16.max)
        rows, places = np.nonzero(np.arange(QUEUE) < lengths[:, None])
        ours = game["queue"][order[rows], places]
        for k in np.flatnonzero((ours != entries).any(1))[:10]:
            which = f"queue of unit_{wanted['robot_id'][rows[k]]} at {places[k]}"
            found.append(f"{which}: {ours[k].tolist()}, official {entries[k].tolist()}")
    return found
