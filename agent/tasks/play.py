"""A turn of one side: who goes on, who decides anew, what factories do."""

from __future__ import annotations

from agent.tasks.choice import bring_ice, choose_at_home, choose_outside, step_aside, strike
from agent.tasks.factories import factory_order
from agent.tasks.memory import HOME_TASK, REAP_TASK, balance, refresh
from agent.tasks.threats import is_dangerous, is_threatened, note_attacks, write_threats
from agent.tasks.trips import standing_on
from agent.tasks.ways import is_moving, is_open
from engine.config import MAX_ROBOTS, SIZE
from engine.jit import jit
from engine.state import DIG, DX, DY, ICE, MOVE, ORE, WATER
from wrappers.action import keep_apart

LEAST_ICE = 40  # that is brought at once to a factory which would be out of water ...
SOON = 10  # ... so many turns after it came
FORGETS = 16  # turns in which a robot forgets that a strike missed


@jit
def goes_on(game, rules, turn, player, r):
    """Whether the next entry of the robot's queue can be left to run."""
    entry = game.queue[r, 0]
    heavy = int(game.robot_heavy[r])
    cell = int(game.robot_cell[r])
    if entry[0] == MOVE:
        if entry[1] == 0:
            return True
        x = cell // SIZE + DX[entry[1]]
        y = cell % SIZE + DY[entry[1]]
        if x < 0 or y < 0 or x >= rules.map_size or y >= rules.map_size:
            return False
        near = x * SIZE + y
        if rules.move_cost_at[heavy, game.rubble[near]] > game.robot_power[r]:
            return False
        other = int(game.robot_at[near])
        if other >= 0 and other // MAX_ROBOTS == player and game.queue_len[other] > 0 and game.queue[other, 0, 0] == MOVE:
            return not is_dangerous(game, turn, r, near)  # it moves on, or `keep_apart` lets this one wait
        return is_open(game, turn, player, r, heavy, near, True)
    if entry[0] == DIG:
        if game.robot_power[r] < rules.dig_cost[heavy]:
            return False
        if game.rubble[cell] > 0 or game.lichen[cell] > 0 and game.factory_owner[game.strain[cell]] != player:
            return True
        space = int(rules.cargo_space[heavy])
        return (game.ice[cell] > 0 and game.robot_cargo[r, ICE] < space) or (game.ore[cell] > 0 and game.robot_cargo[r, ORE] < space)
    return standing_on(game, r) >= 0


@jit
def lacks_power(game, rules, r):
    """Whether robot `r` has not the power for the next step of its queue; a new queue would cost it more."""
    if game.queue_len[r] == 0 or game.queue[r, 0, 0] != MOVE or game.queue[r, 0, 1] == 0 or standing_on(game, r) >= 0:
        return False
    direction = int(game.queue[r, 0, 1])
    x = int(game.robot_cell[r]) // SIZE + DX[direction]
    y = int(game.robot_cell[r]) % SIZE + DY[direction]
    if x < 0 or y < 0 or x >= rules.map_size or y >= rules.map_size:
        return False
    return rules.move_cost_at[game.robot_heavy[r], game.rubble[x * SIZE + y]] > game.robot_power[r]


@jit
def is_bold(rules, dials, memory, r, heavy, now):
    """Whether robot `r` digs up the enemy's lichen wherever it is."""
    return memory.task[r] == REAP_TASK and (not heavy or int(rules.max_episode_length) - now <= dials.bold)


@jit
def is_awaited(game, memory, r):
    """Whether robot `r` has ice without which its factory would be out of water soon after it came."""
    home = int(memory.home[r])
    cell = int(game.robot_cell[r])
    centre = int(game.factory_cell[home])
    walk = abs(cell // SIZE - centre // SIZE) + abs(cell % SIZE - centre % SIZE)
    water = int(game.factory_cargo[home, WATER]) + int(game.factory_cargo[home, ICE]) // 4
    return game.robot_cargo[r, ICE] >= LEAST_ICE and water <= walk + SOON and walk > 1


@jit
def begin_turn(game, rules, dials, static, memory, turn, player, orders):
    """See the board, let robots strike, flee or go on, and mark those that decide anew: `turn.decides`."""
    now = int(game.real_step)
    refresh(game, memory, turn, player)
    note_attacks(game, memory, turn, player)
    write_threats(game, rules, memory, turn, player)
    if now % 8 == 0:
        balance(game, static, memory, turn, player)
    for i in range(int(game.robot_count[player])):
        r = int(game.robot_order[player, i])
        if memory.home[r] >= 0:
            turn.decides[r] = not acts_at_once(game, rules, dials, memory, turn, player, r, now, orders)


@jit
def acts_at_once(game, rules, dials, memory, turn, player, r, now, orders):
    """Whether robot `r` needs no new task in this turn: it strikes, flees, goes on, or rests."""
    heavy = int(game.robot_heavy[r])
    cell = int(game.robot_cell[r])
    if memory.missed[r] > 0 and now % FORGETS == 0:
        memory.missed[r] -= 1
    if memory.missed[r] < dials.strikes and strike(game, rules, memory, r, now, orders):
        memory.missed[r] += 1
        return True
    if lacks_power(game, rules, r):
        return True
    on = game.queue_len[r] > 0 and goes_on(game, rules, turn, player, r)
    if heavy and memory.task[r] != HOME_TASK and not (on and is_moving(game, r)) and is_awaited(game, memory, r):
        if bring_ice(game, rules, memory, turn, r, now, orders):
            return True
    if standing_on(game, r) < 0 and not (on and is_moving(game, r)):
        if is_dangerous(game, turn, r, cell) or not is_bold(rules, dials, memory, r, heavy, now) and is_threatened(turn, heavy, cell):
            if step_aside(game, rules, memory, turn, r, now, orders):
                return True
    return on or game.queue_len[r] == 0 and now < memory.rest[r]


@jit
def end_turn(game, rules, dials, static, memory, turn, player, orders):
    """Carry out what robots that decide wish, or else what the rule says, and order factories."""
    now = int(game.real_step)
    left = int(rules.max_episode_length) - now
    for i in range(int(game.robot_count[player])):
        r = int(game.robot_order[player, i])
        if not turn.decides[r]:
            continue
        factory = standing_on(game, r)
        if factory >= 0:
            choose_at_home(game, rules, static, dials, memory, turn, r, factory, now, left, orders)
        else:
            choose_outside(game, rules, static, dials, memory, turn, r, now, left, orders)
    keep_apart(game, rules, player, orders)
    for f in range(game.factory_count):
        if game.factory_alive[f] and game.factory_owner[f] == player:
            orders.factory[f] = factory_order(game, rules, dials, memory, turn, player, f, now, left)


@jit
def play_side(game, rules, dials, static, memory, turn, player, orders):
    """Write the orders of one side for a turn after the opening, by the rule."""
    begin_turn(game, rules, dials, static, memory, turn, player, orders)
    end_turn(game, rules, dials, static, memory, turn, player, orders)


@jit
def play_all(games, rules, dials, statics, memories, turn, player_of, orders):
    """`play_side` for the sides of running games: `player_of [N]` is 0 or 1, 2 for both, -1 for none."""
    for i in range(len(games)):
        if games[i].done or games[i].real_step < 0 or player_of[i] < 0:
            continue
        for player in range(2):
            if player_of[i] == player or player_of[i] == 2:
                play_side(games[i], rules, dials, statics[i], memories[i], turn, player, orders[i])
