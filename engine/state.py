"""The state of N games: one numpy record a game, every field an array over the games.

`games["robot_power"]` is a view `[N, 2 * MAX_ROBOTS]`, written in place by the engine and shared with torch without
copying; `games[i]` is one whole game, so a snapshot is `games[i].copy()` and a restore is `games[i] = snapshot`.

Conventions used by all code that reads a game:
- a cell is `x * SIZE + y` (`SIZE` = 64 whatever the map size); boards are flat `[CELLS]`; `board()` gives `[N, W, W]`.
- a robot is `r = player * MAX_ROBOTS + slot`. A slot is kept for life and recycled after it; `robot_id` is the
  official creation number and never recurs in a game. Slots freed in a turn are given out again only in later turns.
- a factory is its official number (its lichen strain), `0 .. factory_count - 1` in the order of placement;
  `factory_slot` is its place among its owner's factories.
- resources are ice, ore, water, metal, power = 0..4; cargo holds the first four.
- an entry of a queue is (type, direction, resource, amount, repeat, n), as in the official engine.
"""

from __future__ import annotations

import numpy as np

from engine.config import CELLS, MAX_FACTORIES, MAX_ROBOTS, QUEUE, SIZE

ROBOTS = 2 * MAX_ROBOTS
FACTORIES = 2 * MAX_FACTORIES
ENTRY = 6  # numbers of a queue entry

ICE, ORE, WATER, METAL, POWER = range(5)
MOVE, TRANSFER, PICKUP, DIG, SELF_DESTRUCT, RECHARGE = range(6)
CENTER, UP, RIGHT, DOWN, LEFT = range(5)
DX = (0, 0, 1, 0, -1)
DY = (0, -1, 0, 1, 0)
NO_ACTION, BUILD_LIGHT, BUILD_HEAVY, WATER_LICHEN = -1, 0, 1, 2

# what a robot did in the last turn, in units of the resource (`robot_event`); LICHEN_DUG counts the enemy's only,
# *_GIVEN what reached an own factory, POWER_TAKEN what was picked up and kept
ICE_DUG, ORE_DUG, RUBBLE_DUG, LICHEN_DUG, ICE_GIVEN, ORE_GIVEN, POWER_TAKEN, ROBOT_EVENTS = range(8)
# what happened to a factory in the last turn (`factory_event`); *_GOT came from robots of its own side, LICHEN_GROWN is
# the change of its strain's lichen (negative when it shrank), WATER_SPENT what watering cost
ICE_GOT, ORE_GOT, WATER_MADE, METAL_MADE, LICHEN_GROWN, LIGHTS_BUILT, HEAVIES_BUILT, WATER_SPENT, FACTORY_EVENTS = range(9)

GAME_DTYPE = np.dtype(
    [
        # the game
        ("seed", np.int64),
        ("env_steps", np.int32),  # turns played, the bid and the placements included
        ("real_step", np.int32),  # turns played after the opening; negative during it
        ("factories_per_team", np.int32),
        ("factory_count", np.int32),  # factories placed so far, both sides
        ("next_id", np.int32),
        ("done", np.uint8),
        ("fill_dirty", np.uint8),  # lichen growth may have changed since it was last computed
        ("lichen_any", np.uint8),
        ("failed", np.uint8, (2,)),
        ("reward", np.int32, (2,)),  # the official reward: own lichen, or -1000 for a failing side
        ("lichen_total", np.int32, (2,)),  # lichen of a side's strains, dead factories included
        ("robots_refused", np.int32, (2,)),  # builds that found no free slot: the engine's only departure, always 0 in play
        # the opening
        ("bid", np.int32, (2,)),
        ("place_first", np.uint8, (2,)),
        ("team_water", np.int32, (2,)),
        ("team_metal", np.int32, (2,)),
        ("factories_to_place", np.int32, (2,)),
        # totals of the game so far by side: sums of the events above
        ("robot_total", np.int64, (2, ROBOT_EVENTS)),
        ("factory_total", np.int64, (2, FACTORY_EVENTS)),
        # boards
        ("rubble", np.uint8, (CELLS,)),
        ("ice", np.uint8, (CELLS,)),
        ("ore", np.uint8, (CELLS,)),
        ("lichen", np.uint8, (CELLS,)),
        ("strain", np.int8, (CELLS,)),  # number of the factory whose lichen this is, or -1
        ("factory_at", np.int8, (CELLS,)),  # number of the factory that covers the cell, or -1
        ("spawnable", np.uint8, (CELLS,)),
        ("robot_at", np.int16, (CELLS,)),  # robot on the cell, or -1
        # factories, by number
        ("factory_alive", np.uint8, (FACTORIES,)),
        ("factory_owner", np.int8, (FACTORIES,)),
        ("factory_slot", np.int8, (FACTORIES,)),
        ("factory_cell", np.int16, (FACTORIES,)),  # centre
        ("factory_power", np.int32, (FACTORIES,)),
        ("factory_cargo", np.int32, (FACTORIES, 4)),
        ("factory_grow", np.int16, (FACTORIES,)),  # tiles that watering would reach, as of the last turn
        ("factory_connected", np.int16, (FACTORIES,)),  # own lichen tiles among them
        ("factory_lichen", np.int32, (FACTORIES,)),  # sum of the factory's own strain
        ("factory_event", np.int32, (FACTORIES, FACTORY_EVENTS)),
        # robots, by player * MAX_ROBOTS + slot
        ("robot_count", np.int16, (2,)),
        ("robot_order", np.int16, (2, MAX_ROBOTS)),  # living robots by age: the order in which they act
        ("robot_slots", np.int16, (2,)),  # slots in use lie below this
        ("robot_alive", np.uint8, (ROBOTS,)),
        ("robot_died", np.uint8, (ROBOTS,)),  # died in the last turn
        ("robot_heavy", np.uint8, (ROBOTS,)),
        ("robot_id", np.int32, (ROBOTS,)),
        ("robot_home", np.int8, (ROBOTS,)),  # number of the factory that built it
        ("robot_cell", np.int16, (ROBOTS,)),
        ("robot_power", np.int32, (ROBOTS,)),
        ("robot_cargo", np.int32, (ROBOTS, 4)),
        ("robot_event", np.int32, (ROBOTS, ROBOT_EVENTS)),
        ("queue_len", np.int8, (ROBOTS,)),
        ("queue", np.int16, (ROBOTS, QUEUE, ENTRY)),
    ],
    align=True,
)

# What both sides order for one turn. `Engine.step` consumes it and leaves it empty.
ORDERS_DTYPE = np.dtype(
    [
        ("queue_len", np.int8, (ROBOTS,)),  # entries of the new queue; -1 leaves the old one
        ("queue", np.int16, (ROBOTS, QUEUE, ENTRY)),
        ("factory", np.int8, (FACTORIES,)),  # NO_ACTION, BUILD_LIGHT, BUILD_HEAVY or WATER_LICHEN
        ("lost", np.uint8, (2,)),  # the side sent something that loses the match
        ("bid", np.int32, (2,)),  # opening, turn 0
        ("spawn", np.int16, (2,)),  # opening: cell of a new factory, -1 passes
        ("spawn_water", np.int32, (2,)),
        ("spawn_metal", np.int32, (2,)),
    ],
    align=True,
)


def empty_games(count: int) -> np.recarray:
    """`count` games before their reset."""
    return np.zeros(count, GAME_DTYPE).view(np.recarray)


def empty_orders(count: int) -> np.recarray:
    """Orders that change nothing."""
    orders = np.zeros(count, ORDERS_DTYPE).view(np.recarray)
    orders["queue_len"] = -1
    orders["factory"] = NO_ACTION
    orders["spawn"] = -1
    return orders


def board(games: np.ndarray, name: str, map_size: int) -> np.ndarray:
    """One board of all games as `[N, map_size, map_size]`, indexed `[game, x, y]`; a view, not a copy."""
    flat = games[name]
    return flat.reshape(*flat.shape[:-1], SIZE, SIZE)[..., :map_size, :map_size]
