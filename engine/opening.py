"""A game before its first real turn: the map, the bid, the placement of factories."""

from __future__ import annotations

from engine.config import CELLS, SIZE
from engine.jit import jit
from engine.state import METAL, WATER

NEAREST_CENTRES = 6  # no two factories' centres closer than this, in steps


@jit
def put_map(game, rubble, ice, ore, factories_per_team, seed):
    """A fresh game on this map (`[W, W] uint8`, indexed [x, y]), before the bid. The record must be all zero."""
    game.seed = seed
    game.factories_per_team = factories_per_team
    game.real_step = -(2 * factories_per_team + 1)
    game.fill_dirty = 1
    for cell in range(CELLS):
        game.strain[cell] = -1
        game.factory_at[cell] = -1
        game.robot_at[cell] = -1
    size = rubble.shape[0]
    for x in range(size):
        for y in range(size):
            cell = x * SIZE + y
            game.rubble[cell] = rubble[x, y]
            game.ice[cell] = ice[x, y]
            game.ore[cell] = ore[x, y]
            # a factory covers 3 x 3 cells of the map and no resource
            inside = 0 < x < size - 1 and 0 < y < size - 1
            if inside:
                for dx in range(-1, 2):
                    for dy in range(-1, 2):
                        inside = inside and ice[x + dx, y + dy] == 0 and ore[x + dx, y + dy] == 0
            game.spawnable[cell] = inside


@jit
def take_bids(game, rules, orders):
    """Turn 0. The higher bid pays in water and metal; a negative one lets the other side place first; ties go to player 0."""
    stock = rules.init_water_metal_per_factory * game.factories_per_team
    winner, highest = -1, -1
    for player in range(2):
        if orders.lost[player]:
            game.failed[player] = 1
            continue
        game.team_water[player] = stock
        game.team_metal[player] = stock
        game.factories_to_place[player] = game.factories_per_team
        game.bid[player] = orders.bid[player]
        bid = abs(orders.bid[player])
        if bid > stock:
            game.failed[player] = 1
        elif bid > highest:
            winner, highest = player, bid
    if game.failed[0] or game.failed[1]:
        return
    game.team_water[winner] -= highest
    game.team_metal[winner] -= highest
    first = winner if game.bid[winner] >= 0 else 1 - winner
    game.place_first[first] = 1


@jit
def add_factory(game, rules, player, cell, water, metal):
    """Place a factory if the cell allows it; otherwise nothing happens."""
    if cell < 0 or not game.spawnable[cell]:
        return
    f = game.factory_count
    size = rules.map_size
    cx, cy = cell // SIZE, cell % SIZE
    game.factory_alive[f] = 1
    game.factory_owner[f] = player
    slot = 0
    for other in range(f):
        slot += game.factory_owner[other] == player
    game.factory_slot[f] = slot
    game.factory_cell[f] = cell
    game.factory_power[f] = rules.init_power_per_factory
    game.factory_cargo[f, WATER] = water
    game.factory_cargo[f, METAL] = metal
    for x in range(max(cx - NEAREST_CENTRES, 0), min(cx + NEAREST_CENTRES + 1, size)):
        for y in range(max(cy - NEAREST_CENTRES, 0), min(cy + NEAREST_CENTRES + 1, size)):
            if abs(x - cx) + abs(y - cy) <= NEAREST_CENTRES:
                game.spawnable[x * SIZE + y] = 0
    for x in range(cx - 1, cx + 2):
        for y in range(cy - 1, cy + 2):
            game.factory_at[x * SIZE + y] = f
            game.rubble[x * SIZE + y] = 0
            game.ice[x * SIZE + y] = 0
            game.ore[x * SIZE + y] = 0
    game.factory_count += 1
    game.next_id += 1
    game.factories_to_place[player] -= 1
    game.team_water[player] -= water
    game.team_metal[player] -= metal


@jit
def take_placement(game, rules, orders):
    """One side's turn to place; what it cannot afford is cut to what it has, an impossible cell wastes the turn."""
    for player in range(2):
        game.failed[player] |= orders.lost[player]
    player = 0 if game.place_first[0] == (game.env_steps % 2 == 1) else 1
    water, metal = orders.spawn_water[player], orders.spawn_metal[player]
    if orders.lost[player] or game.factories_to_place[player] <= 0 or water < 0 or metal < 0:
        return
    water = min(water, game.team_water[player])
    metal = min(metal, game.team_metal[player])
    add_factory(game, rules, player, orders.spawn[player], water, metal)
