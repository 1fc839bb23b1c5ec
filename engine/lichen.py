"""Lichen: where it can grow, watering, decay.

The flood fill reads one packed byte a cell from a board with a border of one, so that its inner loop has no bounds
checks and one lookup a neighbour. It runs only in turns in which its result may have changed (`fill_dirty`).
"""

from __future__ import annotations

from engine.config import SIZE
from engine.jit import jit
from engine.queues import water_cost
from engine.state import LICHEN_GROWN, WATER, WATER_LICHEN, WATER_SPENT

PAD = SIZE + 2  # stride of the packed board
PADDED = PAD * PAD
OWNER = 31  # bits: 1 + number of the factory whose lichen, or whose walls, are on the cell
RICH = 32  # enough lichen to spread
FORBIDDEN = 64  # nothing grows here


@jit
def pack(game, rules, packed):
    """The part of the boards that growth depends on, as `packed [PADDED]`."""
    size = rules.map_size
    for i in range(PADDED):
        packed[i] = FORBIDDEN
    for x in range(size):
        for y in range(size):
            cell = x * SIZE + y
            factory = game.factory_at[cell]
            blocked = (game.rubble[cell] > 0) | (game.ice[cell] > 0) | (game.ore[cell] > 0) | (factory >= 0)
            owner = max(game.strain[cell], factory) + 1
            rich = game.lichen[cell] >= rules.min_lichen_to_spread
            packed[(x + 1) * PAD + y + 1] = owner + RICH * rich + FORBIDDEN * blocked


@jit
def visit(packed, cell, stamp, now, frontier, tail, mine):
    """Look at one cell of a fill: returns (new tail, whether it grows here)."""
    code = packed[cell]
    owner = code & OWNER
    rich = code & RICH
    grows = True
    for k in range(4):
        near = cell + (1 if k == 0 else -1 if k == 1 else PAD if k == 2 else -PAD)
        near_owner = packed[near] & OWNER
        if near_owner != 0 and near_owner != mine:
            grows = False
        if stamp[near] != now and ((near_owner == 0 and rich != 0) or (near_owner == mine and owner == mine)):
            stamp[near] = now
            frontier[tail] = near
            tail += 1
    return tail, grows or owner == mine


@jit
def fill(game, f, packed, stamp, now, frontier, tiles):
    """Count the tiles that factory `f` would grow on and list them in `tiles`; `factory_grow` and `factory_connected`.

    Starts from the 12 cells around the walls, whatever stands there. `stamp [PADDED]` marks what this fill has seen with `now`.
    """
    mine = f + 1
    centre = game.factory_cell[f]
    middle = (centre // SIZE + 1) * PAD + centre % SIZE + 1
    tail = 0
    for side in range(-1, 2):
        for near in (middle - 2 * PAD + side, middle + 2 * PAD + side, middle - 2 + side * PAD, middle + 2 + side * PAD):
            stamp[near] = now
            frontier[tail] = near
            tail += 1
    head = 0
    grow = 0
    connected = 0
    while head < tail:
        cell = frontier[head]
        head += 1
        if packed[cell] & FORBIDDEN:
            continue
        tail, grows = visit(packed, cell, stamp, now, frontier, tail, mine)
        if grows:
            tiles[grow] = cell
            grow += 1
            connected += (packed[cell] & OWNER) == mine
    game.factory_grow[f] = grow
    game.factory_connected[f] = connected
    return grow


@jit
def grow_and_water(game, rules, factory_action, scratch):
    """Refresh every factory's growth where it may have changed, then water for those that ordered it and can pay.

    All fills look at the same board; the lists of tiles of watering factories are kept until all are made.
    """
    watering = False
    for f in range(game.factory_count):
        watering |= factory_action[f] == WATER_LICHEN
    if not game.fill_dirty and not watering:
        return
    pack(game, rules, scratch.packed)
    used = 0
    for player in range(2):
        for f in range(game.factory_count):
            if game.factory_owner[f] != player or not game.factory_alive[f]:
                continue
            waters = factory_action[f] == WATER_LICHEN
            if not waters and not game.fill_dirty:
                continue
            scratch.now += 1
            grow = fill(game, f, scratch.packed, scratch.stamp, scratch.now, scratch.frontier, scratch.tiles[used:])
            if waters:
                used += grow
    used = 0
    for player in range(2):
        for f in range(game.factory_count):
            if game.factory_owner[f] == player and factory_action[f] == WATER_LICHEN:
                used = water(game, rules, f, player, scratch.tiles, used)
    # growth was computed on the board before watering: it is out of date only if something was watered
    game.fill_dirty = watering


@jit
def water(game, rules, f, player, tiles, first):
    """Pay and add lichen on the factory's tiles, `tiles[first:]`; returns where the next factory's tiles begin."""
    after = first + game.factory_grow[f]
    cost = water_cost(game.factory_grow[f], rules)
    if cost > game.factory_cargo[f, WATER]:
        return after
    game.factory_cargo[f, WATER] -= cost
    game.factory_event[f, WATER_SPENT] += cost
    game.factory_total[player, WATER_SPENT] += cost
    for k in range(first, after):
        cell = (tiles[k] // PAD - 1) * SIZE + tiles[k] % PAD - 1
        game.lichen[cell] += 2
        game.strain[cell] = f
        game.lichen_any = 1
    return after


@jit
def decay(game, rules, strain_lichen):
    """Every tile loses one lichen, empty ones lose their strain; books each strain's lichen and the sides' totals."""
    if not game.lichen_any:
        return
    for f in range(game.factory_count):
        strain_lichen[f] = 0
    any_left = 0
    for x in range(rules.map_size):
        for cell in range(x * SIZE, x * SIZE + rules.map_size):
            if game.strain[cell] < 0:
                continue
            left = int(game.lichen[cell])
            if left > 0:
                # crossing either line changes where lichen can grow next turn
                if left == rules.min_lichen_to_spread or left == 1:
                    game.fill_dirty = 1
                left = min(left - 1, rules.max_lichen_per_tile)
                game.lichen[cell] = left
                strain_lichen[game.strain[cell]] += left
            if left == 0:
                game.strain[cell] = -1
                game.fill_dirty = 1
            else:
                any_left = 1
    game.lichen_any = any_left
    game.lichen_total[0] = 0
    game.lichen_total[1] = 0
    for f in range(game.factory_count):
        owner = game.factory_owner[f]
        grown = strain_lichen[f] - game.factory_lichen[f]
        game.factory_lichen[f] = strain_lichen[f]
        game.factory_event[f, LICHEN_GROWN] = grown
        game.factory_total[owner, LICHEN_GROWN] += grown
        game.lichen_total[owner] += strain_lichen[f]
