"""What a robot that decides could do: its state, the tasks open to it with their numbers, and which of them it may take.

The first candidate is what the rule says. A choice is carried out by `agent.tasks.play.end_turn` from `turn.wish` and
`turn.goal`, which `put_wishes` writes; a wish that proves impossible, since others were faster, falls back on the rule.
"""

from __future__ import annotations

import numpy as np

from agent.tasks.carry import LEAST_LOAD, neediest, water_need
from agent.tasks.factories import can_water
from agent.tasks.goals import count_work, dig_counts, is_free, is_source, list_lichen
from agent.tasks.ground import look_around
from agent.tasks.memory import CARRY_TASK, CLEAR_TASK, HOME_TASK, HUNT_TASK, ICE_TASK, NO_WISH, ORE_TASK, REAP_TASK, TASKS
from agent.tasks.threats import is_dangerous
from agent.tasks.trips import standing_on
from agent.tasks.ways import is_moving
from engine.config import MAX_ROBOTS, SIZE
from engine.jit import jit
from engine.state import BUILD_HEAVY, BUILD_LIGHT, FACTORIES, ICE, METAL, NO_ACTION, ORE, WATER, WATER_LICHEN
from wrappers.routes import CLEAR, NO_WAY, STEP
from wrappers.targets import FAR_FROM_ROBOT, numbered

# slots of candidates: the rule's, then so many of each task
SLOTS = ((NO_WISH, 1), (ICE_TASK, 3), (ORE_TASK, 3), (CLEAR_TASK, 4), (REAP_TASK, 4), (HOME_TASK, 1), (CARRY_TASK, 1), (HUNT_TASK, 2))
CANDIDATES = sum(count for _, count in SLOTS)
TASK_OF = np.array([task for task, count in SLOTS for _ in range(count)], np.int8)
FIRST = np.array([[task, sum(c for _, c in SLOTS[:i])] for i, (task, _) in enumerate(SLOTS)], np.int64)

STATE = numbered(
    "heavy", "power", "ice", "ore", "at_home", "turn", "left", "water", "supply", "factory_ice", "metal", "factory_power",
    "grow", "tiles", "lichen", "heavies", "lights", "heavies_on_ice", "heavies_on_ore", "lights_clearing", "reaping",
    "room", "ground",
    "factories", "enemy_factories", "own_heavies", "enemy_heavies", "own_lights", "enemy_lights", "own_lichen", "enemy_lichen",
    "own_tiles", "enemy_tiles", "own_water", "enemy_water", "own_power", "enemy_power", "own_raiders", "enemy_raiders",
    "last", "stronger", "weaker", "mates", "lichen_here", "prey_here", "doing",
)  # fmt: skip
STATE_SIZE = len(STATE) + TASKS - 1  # the last is the first of one number for each task that it may be doing
LIGHT, HEAVY, WATERING, BUILDING = range(4)  # kinds of decisions: of robots by weight, of factories by what they are about
# what a factory could do; its candidates are so many slots, each with a one in the place of its number
FACTORY_ORDERS = np.array([NO_WISH, NO_ACTION, BUILD_LIGHT, BUILD_HEAVY, WATER_LICHEN], np.int8)
FACTORY_PAUSE = 4  # turns from one decision of a factory about watering to the next ...
PLAN = 40  # ... and at the most about building: otherwise when it has built what it planned
CANDIDATE = numbered(
    "rule", "ice", "ore", "clear", "reap", "home", "carry", "hunt",
    "walk", "back", "digs", "gain", "same", "threat", "taken", "stronger", "weaker", "mates", "lichen_there", "prey_there",
)  # fmt: skip
CANDIDATE_SIZE = len(CANDIDATE)
KIND_OF = {NO_WISH: 0, ICE_TASK: 1, ORE_TASK: 2, CLEAR_TASK: 3, REAP_TASK: 4, HOME_TASK: 5, CARRY_TASK: 6, HUNT_TASK: 7}
TOTALS = 8  # numbers of a side in a state
NEAR = 5  # steps from a place in which robots ...
FIELD = 3  # ... and rows and columns in which lichen counts as there
ON_FIELD = 10  # steps by which an enemy on own lichen is taken to be nearer
KINDS = np.array([KIND_OF[int(task)] for task in TASK_OF], np.int64)


@jit
def write_farm_state(game, rules, memory, turn, totals, player, home, left, row):
    """What a state says of the factory and of both sides; the rest of `row [STATE_SIZE]` becomes 0, as if the robot were gone."""
    crew = turn.crew[home]
    need = water_need(game, rules, home)
    water = int(game.factory_cargo[home, WATER])
    tiles = int(game.factory_connected[home])
    row[:] = 0
    row[STATE.turn] = 1 - left / 1000.0
    row[STATE.left] = min(left, 200) / 200.0
    row[STATE.water] = min(water / 200.0, 3.0)
    row[STATE.supply] = min((water + int(game.factory_cargo[home, ICE]) // 4) / (need * max(left, 1)), 2.0)
    row[STATE.factory_ice] = min(int(game.factory_cargo[home, ICE]) / 400.0, 2.0)
    row[STATE.metal] = min((int(game.factory_cargo[home, METAL]) + int(game.factory_cargo[home, ORE]) // 5) / 100.0, 4.0)
    row[STATE.factory_power] = min(int(turn.power[home]) / 2000.0, 4.0)
    row[STATE.grow] = int(game.factory_grow[home]) / 100.0
    row[STATE.tiles] = tiles / 100.0
    row[STATE.lichen] = int(game.factory_lichen[home]) / (100.0 * max(tiles, 1))
    row[STATE.heavies] = int(crew[1].sum()) / 5.0
    row[STATE.lights] = int(crew[0].sum()) / 8.0
    row[STATE.heavies_on_ice] = int(crew[1, ICE_TASK]) / 4.0
    row[STATE.heavies_on_ore] = int(crew[1, ORE_TASK]) / 2.0
    row[STATE.lights_clearing] = int(crew[0, CLEAR_TASK]) / 8.0
    row[STATE.reaping] = (int(crew[0, REAP_TASK]) + int(crew[1, REAP_TASK])) / 8.0
    look_around(game, rules, memory, home)
    row[STATE.room] = int(memory.ground[home, 0]) / 50.0
    row[STATE.ground] = int(memory.ground[home, 1]) / 200.0
    row[STATE.last] = min(left, 40) / 40.0
    for k in range(TOTALS):
        row[STATE.factories + 2 * k] = totals[player, k]
        row[STATE.enemy_factories + 2 * k] = totals[1 - player, k]


@jit
def write_state(game, rules, memory, turn, totals, r, left, row):
    """The state of robot `r` for `row [STATE_SIZE]`, all numbers of the order of one. `totals [2, TOTALS]`: see `side_totals`."""
    heavy = int(game.robot_heavy[r])
    capacity = float(rules.cargo_space[heavy])
    write_farm_state(game, rules, memory, turn, totals, r // MAX_ROBOTS, int(memory.home[r]), left, row)
    row[STATE.heavy] = heavy
    row[STATE.power] = int(game.robot_power[r]) / float(rules.battery_capacity[heavy])
    row[STATE.ice] = int(game.robot_cargo[r, ICE]) / capacity
    row[STATE.ore] = int(game.robot_cargo[r, ORE]) / capacity
    row[STATE.at_home] = standing_on(game, r) >= 0
    look_near(game, rules, r, int(game.robot_cell[r]), row[STATE.stronger : STATE.prey_here + 1])
    row[STATE.doing + memory.task[r]] = 1


@jit
def side_totals(game, totals):
    """Factories, heavies, lights, lichen, tiles, water and power of factories, and robots on the other's lichen of both sides,
    `totals [2, TOTALS]`, of the order of one."""
    totals[:] = 0
    for f in range(game.factory_count):
        if game.factory_alive[f]:
            total = totals[game.factory_owner[f]]
            total[0] += 0.25
            total[4] += int(game.factory_connected[f]) / 400.0
            total[5] += int(game.factory_cargo[f, WATER]) / 2000.0
            total[6] += int(game.factory_power[f]) / 10000.0
    for player in range(2):
        total = totals[player]
        for i in range(int(game.robot_count[player])):
            r = int(game.robot_order[player, i])
            cell = int(game.robot_cell[r])
            total[1 if game.robot_heavy[r] else 2] += 0.05
            total[7] += 0.1 if game.lichen[cell] > 0 and game.factory_owner[game.strain[cell]] != player else 0.0
        total[3] = int(game.lichen_total[player]) / 20000.0


@jit
def look_near(game, rules, r, cell, near):
    """What is around a cell for robot `r`, `near [5]`, of the order of one: enemies that could destroy it, enemies that it could
    destroy, other own robots, own lichen and the enemy's."""
    player = r // MAX_ROBOTS
    heavy = int(game.robot_heavy[r])
    size = int(rules.map_size)
    x = cell // SIZE
    y = cell % SIZE
    near[:] = 0
    for i in range(max(x - NEAR, 0), min(x + NEAR, size - 1) + 1):
        width = NEAR - abs(i - x)
        for j in range(max(y - width, 0), min(y + width, size - 1) + 1):
            other = int(game.robot_at[i * SIZE + j])
            if other < 0 or other == r:
                continue
            if other // MAX_ROBOTS == player:
                near[2] += 0.25
            else:
                near[0] += 0.5 * (game.robot_heavy[other] >= heavy)
                near[1] += 0.5 * (game.robot_heavy[other] <= heavy)
    for i in range(max(x - FIELD, 0), min(x + FIELD, size - 1) + 1):
        for j in range(max(y - FIELD, 0), min(y + FIELD, size - 1) + 1):
            there = i * SIZE + j
            if game.lichen[there] > 0:
                near[3 if game.factory_owner[game.strain[there]] == player else 4] += int(game.lichen[there]) / 2000.0


@jit
def insert(cells, costs, first, count, cell, cost):
    """Insert a cell among `count` kept in order of cost from slot `first` on."""
    k = first + count - 1
    if cost >= costs[k]:
        return
    while k > first and cost < costs[k - 1]:
        costs[k] = costs[k - 1]
        cells[k] = cells[k - 1]
        k -= 1
    costs[k] = cost
    cells[k] = cell


@jit
def list_goals(game, rules, static, dials, memory, turn, r, left, cells):
    """The cells that robot `r` could dig or go to, `cells [K]` by slot (-1: none), and the water that it could carry to another factory."""
    heavy = int(game.robot_heavy[r])
    home = int(memory.home[r])
    cell = int(game.robot_cell[r])
    player = r // MAX_ROBOTS
    load = 0
    costs = np.full(CANDIDATES, NO_WAY, np.int32)
    tiles = np.zeros(FACTORIES, np.int16)
    scores = np.zeros(FACTORIES, np.int32)
    cells[:] = -1
    for i in range(len(FIRST)):
        task = FIRST[i, 0]
        first = FIRST[i, 1]
        if heavy and (task == ICE_TASK or task == ORE_TASK):
            near_by = static.ice_near[home] if task == ICE_TASK else static.ore_near[home]
            for near in near_by:
                if near < 0:
                    break
                if is_source(game, static, dials, turn, r, home, int(near)):
                    walk = STEP * (abs(near // SIZE - cell // SIZE) + abs(near % SIZE - cell % SIZE))
                    insert(cells, costs, first, 3, int(near), walk + int(static.home_price[home, near]) + CLEAR * int(game.rubble[near]))
        elif task == CLEAR_TASK and left > 30:
            for k in range(count_work(game, rules, dials, turn, home)):
                near = int(turn.work[home, 0, k])
                walk = abs(near // SIZE - cell // SIZE) + abs(near % SIZE - cell % SIZE)
                cost = FAR_FROM_ROBOT * walk + int(turn.work[home, 1, k]) + 1000
                if cost < costs[first + 3] and is_free(game, turn, r, near):
                    insert(cells, costs, first, 4, near, cost)
        elif task == REAP_TASK and left < 400:
            list_lichen(game, rules, turn, r, tiles, scores)
            for f in range(game.factory_count):
                if tiles[f] >= 0:
                    insert(cells, costs, first, 4, int(tiles[f]), -scores[f])
        elif task == HUNT_TASK:
            for k in range(int(game.robot_count[1 - player])):
                e = int(game.robot_order[1 - player, k])
                near = int(game.robot_cell[e])
                if game.robot_heavy[e] > heavy or game.factory_at[near] >= 0 or is_dangerous(game, turn, r, near):
                    continue
                walk = abs(near // SIZE - cell // SIZE) + abs(near % SIZE - cell % SIZE)
                on_field = game.lichen[near] > 0 and game.factory_owner[game.strain[near]] == player
                insert(cells, costs, first, 2, near, walk + (0 if on_field else ON_FIELD))
        elif task == CARRY_TASK and standing_on(game, r) >= 0:
            goal, load = neediest(game, rules, static, memory, turn, player, standing_on(game, r), int(rules.cargo_space[heavy]))
            if load >= LEAST_LOAD:
                cells[first] = game.factory_cell[goal]
    return load


@jit
def write_candidates(game, rules, static, dials, memory, turn, r, left, cells, rows, mask):
    """The candidates of robot `r`: the cells that they dig `cells [K]` (-1: none), their numbers `rows [K, CANDIDATE_SIZE]`, and which are
    allowed, `mask [K]`: the rule's only if there is one."""
    heavy = int(game.robot_heavy[r])
    home = int(memory.home[r])
    cell = int(game.robot_cell[r])
    own = int(memory.target[r])
    if own >= 0:
        turn.used[own] = 0
    player = r // MAX_ROBOTS
    rows[:] = 0
    mask[:] = 0
    load = list_goals(game, rules, static, dials, memory, turn, r, left, cells)
    power = int(game.robot_power[r])
    if standing_on(game, r) >= 0:
        power = min(power + max(int(turn.power[home]), 0), int(rules.battery_capacity[heavy]))
    battery = float(rules.battery_capacity[heavy])
    step = STEP if heavy else 1
    for k in range(CANDIDATES):
        task = int(TASK_OF[k])
        target = int(cells[k])
        row = rows[k]
        row[KINDS[k]] = 1
        if task == NO_WISH or task == HOME_TASK:
            mask[k] = task == HOME_TASK or not turn.bare
            row[CANDIDATE.back] = min(int(static.home_price[home, cell]), 1000) / 1000.0
            continue
        if target < 0:
            continue
        look_near(game, rules, r, target, row[CANDIDATE.stronger :])
        walk = abs(target // SIZE - cell // SIZE) + abs(target % SIZE - cell % SIZE)
        if task == HUNT_TASK:
            mask[k] = power > walk * step
            row[CANDIDATE.walk] = walk / 20.0
            row[CANDIDATE.gain] = game.robot_heavy[game.robot_at[target]]
            row[CANDIDATE.digs] = not is_moving(game, int(game.robot_at[target]))
            row[CANDIDATE.same] = int(turn.crew[home, heavy, task]) / 4.0
            continue
        price = int(static.home_price[home, target]) * step // STEP
        if task == CARRY_TASK:
            mask[k] = power > 3 * walk * step
            row[CANDIDATE.walk] = walk / 20.0
            row[CANDIDATE.gain] = load / 1000.0
            row[CANDIDATE.same] = int(turn.crew[home, heavy, task]) / 4.0
            continue
        clear, room = dig_counts(game, rules, r, target, CLEAR_TASK if task == REAP_TASK else task)
        left_over = (power - walk * step - (0 if task == REAP_TASK else price)) // int(rules.dig_cost[heavy])
        mask[k] = left_over >= 1
        row[CANDIDATE.walk] = walk / 20.0
        row[CANDIDATE.back] = min(price / battery, 2.0)
        row[CANDIDATE.digs] = min(max(left_over, -25), 50) / 25.0
        row[CANDIDATE.gain] = int(game.lichen[target]) / 100.0 if task == REAP_TASK else clear / 10.0
        row[CANDIDATE.same] = int(turn.crew[home, heavy, task]) / 4.0
        row[CANDIDATE.threat] = turn.threat[heavy, target] / 2.0
        row[CANDIDATE.taken] = game.robot_at[target] >= 0 and int(game.robot_at[target]) // MAX_ROBOTS != player
    if own >= 0:
        turn.used[own] = 1


@jit
def observe_side(game, rules, static, dials, memory, turn, player, kind, first, robots, state, cells, rows, mask):
    """Write the rows, from number `first` on, of the robots of a side that decide and are of the kind (LIGHT or HEAVY), as far as there is
    room: `robots [M]`, `state [M, STATE_SIZE]`, `cells [M, K]`, `rows [M, K, CANDIDATE_SIZE]`, `mask [M, K]`. Returns the next number."""
    left = int(rules.max_episode_length) - int(game.real_step)
    totals = np.zeros((2, TOTALS), np.float32)
    side_totals(game, totals)
    for i in range(int(game.robot_count[player])):
        r = int(game.robot_order[player, i])
        if not turn.decides[r] or game.robot_heavy[r] != kind or first >= len(robots):
            continue
        robots[first] = r
        write_state(game, rules, memory, turn, totals, r, left, state[first])
        write_candidates(game, rules, static, dials, memory, turn, r, left, cells[first], rows[first], mask[first])
        first += 1
    return first


@jit
def observe_factories(game, rules, dials, memory, turn, player, kind, first, robots, state, rows, mask):
    """The same of the factories of a side that decide in this turn about watering, or (`kind`) about what to build next; `robots` is -1 -
    the factory's number. Returns the next number."""
    now = int(game.real_step)
    left = int(rules.max_episode_length) - now
    totals = np.zeros((2, TOTALS), np.float32)
    side_totals(game, totals)
    for f in range(game.factory_count):
        if not game.factory_alive[f] or game.factory_owner[f] != player or first >= len(robots):
            continue
        if (now + f) % FACTORY_PAUSE if kind == WATERING else now < memory.replan[f]:
            continue
        robots[first] = -1 - f
        write_farm_state(game, rules, memory, turn, totals, player, f, left, state[first])
        rows[first] = 0
        mask[first] = 0
        for k in range(len(FACTORY_ORDERS)):
            rows[first, k, k] = 1
        mask[first, 0] = not turn.bare
        mask[first, 1] = 1
        if kind == WATERING:
            mask[first, 4] = can_water(game, f)
        else:
            mask[first, 2] = left > dials.last_build
            mask[first, 3] = left > dials.last_build
        first += 1
    return first


@jit
def put_wishes(turn, first, last, robots, cells, choice):
    """What the robots of rows `first` to `last` chose, `choice [M]`, becomes their wish."""
    for m in range(first, last):
        turn.wish[robots[m]] = TASK_OF[choice[m]]
        turn.goal[robots[m]] = cells[m, choice[m]]


@jit
def put_order(memory, kind, f, choice, now):
    """What factory `f` chose about watering, or (`kind`) about building, is what it wishes until it decides again."""
    if kind == WATERING:
        memory.watering[f] = FACTORY_ORDERS[choice]
    else:
        memory.plan[f] = FACTORY_ORDERS[choice]
        memory.replan[f] = now + PLAN
