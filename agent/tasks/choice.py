"""Which task a robot takes, by rule, and the trip that it becomes."""

from __future__ import annotations

import numpy as np

from agent.tasks.carry import LEAST_LOAD, go_on_carrying, try_carry, water_need
from agent.tasks.goals import best_lichen, best_rubble, best_source, dig_counts
from agent.tasks.memory import CARRY_TASK, CLEAR_TASK, HOME_TASK, HUNT_TASK, ICE_TASK, NO_WISH, NOTHING, ORE_TASK, REAP_TASK, assign
from agent.tasks.threats import is_dangerous
from agent.tasks.trips import SPARE, give, put_cargo, put_charge, put_digs, put_steps, standing_on
from agent.tasks.ways import find_way, is_moving, is_open
from engine.config import CELLS, MAX_ROBOTS, QUEUE, SIZE
from engine.jit import jit
from engine.state import DX, DY, ENTRY, ICE, METAL, ORE, WATER
from wrappers.routes import NO_WAY, STEP
from wrappers.targets import wall_cell

LEAST_POWER = (50, 120)  # with which a light, and a heavy whose factory is thirsty, leave home at the least
THIRSTY = 40  # water below which a heavy goes with what power there is
CHARGE = 500  # power that a heavy which finds nothing to do fetches at the least
HUNT_STEPS = 4  # after which a robot that goes for an enemy decides anew
REST = 4  # turns for which a robot without a plan is left alone


@jit
def heavy_task(game, rules, dials, turn, home, r, now, left, k):
    """The `k`-th best task of a heavy robot that is at home; NOTHING behind the last."""
    crew = turn.crew[home, 1]
    mates_ice = int(crew[ICE_TASK]) - 0
    water = int(game.factory_cargo[home, WATER]) + int(game.factory_cargo[home, ICE]) // 4
    need = water_need(game, rules, home)
    metal = int(game.factory_cargo[home, METAL]) + int(game.factory_cargo[home, ORE]) // 5
    if water >= need * left:
        return CLEAR_TASK if k == 0 else ICE_TASK if k == 1 else NOTHING
    supplied = dials.ice_a_heavy * mates_ice >= need * dials.supply
    wants = left > dials.last_ore and metal < dials.metal_enough and int(crew[ORE_TASK]) < dials.ore_diggers
    if wants and (supplied and water > 50 or mates_ice == 0 and water > dials.ore_water):
        return ORE_TASK if k == 0 else ICE_TASK if k == 1 else NOTHING
    return ICE_TASK if k == 0 else NOTHING


@jit
def try_dig(game, rules, static, memory, turn, r, task, target, now, left, queue, length, power, orders):
    """Compile a trip that digs at `target`; whether it is worth it, and so ordered. `power` is what the robot has on the way."""
    heavy = int(game.robot_heavy[r])
    home = int(memory.home[r])
    cell = int(game.robot_cell[r])
    steps = np.zeros(CELLS, np.int8)
    out, cost = find_way(game, rules, turn, r, cell, target, False, steps)
    if out < 0:
        return False
    price = int(static.home_price[home, target])
    if price >= NO_WAY:
        return False
    back = price if heavy else price // STEP + 1
    clear, room = dig_counts(game, rules, r, target, task)
    digs = min((power - cost - back - SPARE[heavy]) // int(rules.dig_cost[heavy]), clear + room)
    inside = standing_on(game, r) >= 0
    water = int(game.factory_cargo[home, WATER]) + int(game.factory_cargo[home, ICE]) // 4
    if task == CLEAR_TASK:
        worth = min(clear, 3)
    else:
        worth = clear + (min(6, room) if inside and water >= 30 else 1)
        if int(turn.crew[home, 1, ICE_TASK]) - (memory.task[r] == ICE_TASK) == 0 and heavy:  # back before the water is used up
            rate = water_need(game, rules, home) if task == ICE_TASK else 1.0
            lasts = int((water + int(game.robot_cargo[r, ICE]) // 4) / rate)
            digs = min(digs, max(lasts - 15 - out * 2, clear + 12))
        if out + digs + out > left:
            digs = left - 2 * out - 1
    if digs < worth or digs < 1:
        return False
    assign(game, memory, turn, r, task, target)
    length = put_steps(queue, length, steps, out)
    length = put_digs(queue, length, digs)
    if task != CLEAR_TASK:
        count, _ = find_way(game, rules, turn, r, target, int(game.factory_cell[home]), True, steps)
        if count >= 0 and length < QUEUE:
            length = put_steps(queue, length, steps, count)
    give(game, rules, memory, r, now, queue, length, orders)
    return True


@jit
def try_reap(game, rules, memory, turn, r, target, now, left, queue, length, power, orders):
    """Compile the walk to the enemy's lichen at `target` and the digging there; whether `power` allows it, and so ordered."""
    if target < 0:
        return False
    heavy = int(game.robot_heavy[r])
    steps = np.zeros(CELLS, np.int8)
    out, cost = find_way(game, rules, turn, r, int(game.robot_cell[r]), target, False, steps)
    if out < 0 or out >= left:
        return False
    once = int(rules.dig_lichen_removed[heavy])
    digs = min((power - cost) // int(rules.dig_cost[heavy]), (int(game.lichen[target]) + once - 1) // once)
    if digs < 1:
        return False
    assign(game, memory, turn, r, REAP_TASK, target)
    length = put_steps(queue, length, steps, out)
    give(game, rules, memory, r, now, queue, put_digs(queue, length, digs), orders)
    return True


@jit
def try_hunt(game, rules, memory, turn, r, target, now, queue, length, power, orders):
    """Order the first steps towards the enemy at `target`, the last of them onto its place; whether there is a way that `power` allows."""
    steps = np.zeros(CELLS, np.int8)
    out, cost = find_way(game, rules, turn, r, int(game.robot_cell[r]), target, False, steps)
    if out < 1 or cost + SPARE[game.robot_heavy[r]] > power:
        return False
    assign(game, memory, turn, r, HUNT_TASK, -1)
    give(game, rules, memory, r, now, queue, put_steps(queue, length, steps, min(out, HUNT_STEPS)), orders)
    return True


@jit
def try_wish(game, rules, static, memory, turn, r, now, left, queue, length, power, orders):
    """Compile the digging that robot `r` wishes; whether it does and it is possible, and so ordered."""
    wish = int(turn.wish[r])
    goal = int(turn.goal[r])
    if wish == HUNT_TASK:
        return try_hunt(game, rules, memory, turn, r, goal, now, queue, length, power, orders)
    if wish == REAP_TASK:
        return try_reap(game, rules, memory, turn, r, goal, now, left, queue, length, power, orders)
    factory = standing_on(game, r)
    if wish == CARRY_TASK and factory >= 0 and length + 2 < QUEUE:
        return try_carry(game, rules, static, memory, turn, r, factory, left, now, queue, length, power, LEAST_LOAD, orders)
    if wish != ICE_TASK and wish != ORE_TASK and wish != CLEAR_TASK or turn.used[goal]:
        return False
    return try_dig(game, rules, static, memory, turn, r, wish, goal, now, left, queue, length, power, orders)


@jit
def go_home(game, rules, memory, turn, r, now, queue, length, orders):
    """Order the walk to the nearest wall of the robot's factory; whether there is one."""
    steps = np.zeros(CELLS, np.int8)
    cell = int(game.robot_cell[r])
    count, _ = find_way(game, rules, turn, r, cell, int(game.factory_cell[memory.home[r]]), True, steps)
    if count <= 0:
        return False
    assign(game, memory, turn, r, HOME_TASK, -1)
    give(game, rules, memory, r, now, queue, put_steps(queue, length, steps, count), orders)
    return True


@jit
def bring_ice(game, rules, memory, turn, r, now, orders):
    """Order the walk home, whatever robot `r` was about to do; whether there is a way."""
    return go_home(game, rules, memory, turn, r, now, np.zeros((QUEUE, ENTRY), np.int16), 0, orders)


@jit
def step_aside(game, rules, memory, turn, r, now, orders):
    """Order one step to a safe free cell, towards home; whether there is one."""
    player = r // MAX_ROBOTS
    heavy = int(game.robot_heavy[r])
    cell = int(game.robot_cell[r])
    size = int(rules.map_size)
    home = int(game.factory_cell[memory.home[r]])
    best = 0
    least = 1 << 30
    for d in range(1, 5):
        x = cell // SIZE + DX[d]
        y = cell % SIZE + DY[d]
        if x < 0 or y < 0 or x >= size or y >= size:
            continue
        near = x * SIZE + y
        if not is_open(game, turn, player, r, heavy, near, True):
            continue
        cost = int(rules.move_cost_at[heavy, game.rubble[near]])
        if cost + int(rules.action_queue_power_cost[heavy]) > game.robot_power[r]:
            continue
        wall = wall_cell(near, home)
        away = abs(wall // SIZE - x) + abs(wall % SIZE - y)
        score = cost + 1000 * away
        if score < least:
            best, least = d, score
    if best == 0:
        return False
    give_step(game, rules, memory, r, now, best, orders)
    return True


@jit
def give_step(game, rules, memory, r, now, direction, orders):
    """Order one step."""
    queue = np.zeros((QUEUE, ENTRY), np.int16)
    steps = np.zeros(1, np.int8)
    steps[0] = direction
    give(game, rules, memory, r, now, queue, put_steps(queue, 0, steps, 1), orders)


@jit
def strike(game, rules, memory, r, now, orders):
    """Step onto an enemy beside the robot of its own kind that will stand still, by its queue: who comes in destroys who stands.

    Whether there was one. A cell that another enemy could enter as well is left alone.
    """
    player = r // MAX_ROBOTS
    heavy = int(game.robot_heavy[r])
    cell = int(game.robot_cell[r])
    size = int(rules.map_size)
    for d in range(1, 5):
        x = cell // SIZE + DX[d]
        y = cell % SIZE + DY[d]
        if x < 0 or y < 0 or x >= size or y >= size:
            continue
        near = x * SIZE + y
        enemy = int(game.robot_at[near])
        if enemy < 0 or enemy // MAX_ROBOTS == player or game.robot_heavy[enemy] != heavy or is_moving(game, enemy):
            continue
        if game.factory_at[near] >= 0:
            continue
        price = int(rules.move_cost_at[heavy, game.rubble[near]]) + int(rules.action_queue_power_cost[heavy])
        if price > game.robot_power[r] or others_reach(game, size, player, enemy, near, heavy):
            continue
        give_step(game, rules, memory, r, now, d, orders)
        return True
    return False


@jit
def others_reach(game, size, player, enemy, cell, heavy):
    """Whether an enemy robot other than `enemy` that could destroy one of this weight stands beside a cell."""
    for d in range(1, 5):
        x = cell // SIZE + DX[d]
        y = cell % SIZE + DY[d]
        if x < 0 or y < 0 or x >= size or y >= size:
            continue
        other = int(game.robot_at[x * SIZE + y])
        if other >= 0 and other != enemy and other // MAX_ROBOTS != player and game.robot_heavy[other] >= heavy:
            return True
    return False


@jit
def in_the_way(game, cell):
    """Whether a robot that waits there would be in others' way: close to a factory, or on ice or ore."""
    if game.ice[cell] or game.ore[cell]:
        return True
    for f in range(game.factory_count):
        if game.factory_alive[f]:
            centre = int(game.factory_cell[f])
            if abs(cell // SIZE - centre // SIZE) <= 3 and abs(cell % SIZE - centre % SIZE) <= 3:
                return True
    return False


@jit
def park(game, rules, memory, turn, r, now, queue, length, orders):
    """Order the walk to a cell near home where a robot with nothing to do is in nobody's way; whether there is one."""
    cell = int(game.robot_cell[r])
    size = int(rules.map_size)
    home = int(game.factory_cell[memory.home[r]])
    heavy = int(game.robot_heavy[r])
    best = -1
    least = 1 << 30
    for x in range(max(home // SIZE - 7, 0), min(home // SIZE + 7, size - 1) + 1):
        for y in range(max(home % SIZE - 7, 0), min(home % SIZE + 7, size - 1) + 1):
            near = x * SIZE + y
            walk = abs(x - cell // SIZE) + abs(y - cell % SIZE)
            cost = 20 * walk + int(game.rubble[near])
            if cost < least and game.robot_at[near] < 0 and not turn.used[near] and not is_dangerous(game, turn, r, near):
                if game.factory_at[near] < 0 and not in_the_way(game, near):
                    best, least = near, cost
    if best < 0:
        return False
    steps = np.zeros(CELLS, np.int8)
    count, cost = find_way(game, rules, turn, r, cell, best, False, steps)
    if count <= 0 or cost + SPARE[heavy] > game.robot_power[r]:
        return False
    assign(game, memory, turn, r, NOTHING, best)
    give(game, rules, memory, r, now, queue, put_steps(queue, length, steps, count), orders)
    return True


@jit
def may_reap(game, rules, dials, r, home, left):
    """Whether robot `r` can be spared in the last turns: lights, and heavies of a factory that has water to the end."""
    if not game.robot_heavy[r]:
        return True
    water = int(game.factory_cargo[home, WATER]) + int(game.factory_cargo[home, ICE]) // 4
    return water >= (1.0 if left <= dials.heavy_reap else water_need(game, rules, home)) * left


@jit
def choose_at_home(game, rules, static, dials, memory, turn, r, factory, now, left, orders):
    """A robot on an own factory hands over, charges, and sets out; or it rests."""
    player = r // MAX_ROBOTS
    heavy = int(game.robot_heavy[r])
    home = int(memory.home[r])
    queue = np.zeros((QUEUE, ENTRY), np.int16)
    length = put_cargo(game, rules, queue, 0, r)
    handing = length
    power = int(game.robot_power[r]) - int(rules.action_queue_power_cost[heavy])
    if factory != home and heavy and handing == 0 and int(static.home_price[home, game.robot_cell[r]]) + SPARE[1] < power:
        if go_home(game, rules, memory, turn, r, now, queue, 0, orders):
            return
    kept = 0 if heavy else dials.light_keep
    if not heavy and int(game.factory_cargo[factory, WATER]) < 80 and now > 20:
        kept = max(kept, 500)
    charge = max(min(int(turn.power[factory]) - kept, int(rules.battery_capacity[heavy]) - power), 0)
    least = LEAST_POWER[heavy]
    if heavy and int(game.factory_cargo[home, WATER]) > THIRSTY:
        least = dials.early_trip if now < dials.early else dials.trip_power
    ready = turn.wish[r] > NOTHING or power + charge >= least
    before = int(turn.power[factory])
    if heavy and turn.wish[r] == NO_WISH and length + 2 < QUEUE:
        trial = put_charge(turn, queue, length, factory, charge)
        if try_carry(game, rules, static, memory, turn, r, factory, left, now, queue, trial, power + charge, dials.carry, orders):
            return
        turn.power[factory] = before
    if ready:
        length = put_charge(turn, queue, length, factory, charge)
        own = int(memory.task[r])
        turn.crew[home, heavy, own] -= 1  # counted without itself
        turn.crew[home, heavy, NOTHING] += 1
        if memory.target[r] >= 0:
            turn.used[memory.target[r]] = 0
        memory.task[r] = NOTHING
        memory.target[r] = -1
        if try_wish(game, rules, static, memory, turn, r, now, left, queue, length, power + charge, orders):
            return
        if turn.wish[r] == HOME_TASK or turn.bare:
            turn.power[factory] = before
            memory.rest[r] = now + REST
            if handing > 0:
                give(game, rules, memory, r, now, queue, handing, orders)
            return
        full = power + charge >= dials.reap_power * int(rules.battery_capacity[heavy])
        if left <= dials.reap and full and may_reap(game, rules, dials, r, home, left):
            target = best_lichen(game, rules, turn, r)
            if try_reap(game, rules, memory, turn, r, target, now, left, queue, length, power + charge, orders):
                return
        for k in range(3):
            task = heavy_task(game, rules, dials, turn, home, r, now, left, k) if heavy else (CLEAR_TASK if k == 0 else NOTHING)
            if task == NOTHING:
                break
            if task == CLEAR_TASK:
                target = best_rubble(game, rules, dials, turn, player, home, r) if left > 30 else -1
            else:
                target = best_source(game, static, dials, turn, player, home, r, task)
            if target >= 0 and try_dig(
                game, rules, static, memory, turn, r, task, target, now, left, queue, length, power + charge, orders
            ):
                return
        turn.power[factory] = before
        if heavy and charge > CHARGE:  # charged it may dare what it does not now
            give(game, rules, memory, r, now, queue, put_charge(turn, queue, handing, factory, charge), orders)
            return
    if handing > 0:
        give(game, rules, memory, r, now, queue, handing, orders)
        return
    if ready and (not heavy or int(game.robot_cell[r]) == int(game.factory_cell[factory])):
        length = put_charge(turn, queue, 0, factory, charge)
        if park(game, rules, memory, turn, r, now, queue, length, orders):
            return
        turn.power[factory] = before
    memory.rest[r] = now + REST


@jit
def choose_outside(game, rules, static, dials, memory, turn, r, now, left, orders):
    """A robot whose queue has run out on its way goes on with its task while its power lasts, then home."""
    player = r // MAX_ROBOTS
    heavy = int(game.robot_heavy[r])
    home = int(memory.home[r])
    power = int(game.robot_power[r]) - int(rules.action_queue_power_cost[heavy])
    queue = np.zeros((QUEUE, ENTRY), np.int16)
    task = int(memory.task[r])
    target = int(memory.target[r])
    if turn.wish[r] > NOTHING:
        if target >= 0:
            turn.used[target] = 0
        memory.target[r] = -1
        target = -1
        if turn.wish[r] == HOME_TASK and go_home(game, rules, memory, turn, r, now, queue, 0, orders):
            return
        if try_wish(game, rules, static, memory, turn, r, now, left, queue, 0, power, orders):
            return
        if turn.bare:
            if not go_home(game, rules, memory, turn, r, now, queue, 0, orders):
                memory.rest[r] = now + 1
            return
    if task == CARRY_TASK and go_on_carrying(game, rules, memory, turn, r, now, queue, orders):
        return
    if task == CLEAR_TASK and left > 30:
        if target >= 0 and game.rubble[target] == 0:
            turn.used[target] = 0
            memory.target[r] = -1
            target = -1
        if target < 0:
            target = best_rubble(game, rules, dials, turn, player, home, r)
    free = left <= dials.reap and (task != ICE_TASK or left <= dials.heavy_reap)
    if task == REAP_TASK or free and may_reap(game, rules, dials, r, home, left):
        if target >= 0:
            turn.used[target] = 0
        memory.target[r] = -1
        target = best_lichen(game, rules, turn, r)
        if try_reap(game, rules, memory, turn, r, target, now, left, queue, 0, power, orders):
            return
        target = -1
    if target >= 0 and (task == ICE_TASK or task == ORE_TASK or task == CLEAR_TASK):
        if try_dig(game, rules, static, memory, turn, r, task, target, now, left, queue, 0, power, orders):
            return
    elif task == NOTHING:
        if in_the_way(game, int(game.robot_cell[r])) and park(game, rules, memory, turn, r, now, queue, 0, orders):
            return
        target = best_rubble(game, rules, dials, turn, player, home, r) if left > 30 else -1
        if target >= 0 and try_dig(game, rules, static, memory, turn, r, CLEAR_TASK, target, now, left, queue, 0, power, orders):
            return
        if power > int(rules.battery_capacity[heavy]) // 2 and target < 0:
            memory.rest[r] = now + 8
            return
    if go_home(game, rules, memory, turn, r, now, queue, 0, orders):
        return
    memory.rest[r] = now + 1
