"""What is kept of a game between turns: one record a game, for both sides."""

from __future__ import annotations

import numpy as np

from engine.config import CELLS, MAX_ROBOTS
from engine.jit import jit
from engine.state import FACTORIES, ROBOTS
from wrappers.routes import NO_WAY
from wrappers.targets import wall_cell

RICH_SHARE = 1500  # power for each heavy from which a factory takes one from another
NOTHING, ICE_TASK, ORE_TASK, CLEAR_TASK, HOME_TASK, REAP_TASK, CARRY_TASK, HUNT_TASK, TASKS = range(9)
NO_WISH = -2
MAX_REACH = 20  # steps from the walls of a factory up to which rubble can be listed
BEYOND = 4  # steps beyond that up to which open ground counts
MAX_WORK = 12 * MAX_REACH + 2 * MAX_REACH * (MAX_REACH - 1)  # cells that near

MEMORY_DTYPE = np.dtype(
    [
        ("ident", np.int32, (ROBOTS,)),  # creation number of the robot that the rest is about; slots are recycled
        ("task", np.int8, (ROBOTS,)),
        ("target", np.int16, (ROBOTS,)),  # cell that the task digs, or -1
        ("load", np.int16, (ROBOTS,)),  # water that it set out to carry
        ("home", np.int8, (ROBOTS,)),  # number of the factory that it works for
        ("rest", np.int16, (ROBOTS,)),  # turn until which a robot without a plan is left alone
        ("back", np.int16, (ROBOTS,)),  # turn in which its trip is over, about
        ("missed", np.int8, (ROBOTS,)),  # strikes that brought nothing; one is forgotten in 16 turns
        ("room", np.int16, (FACTORIES,)),  # ground that a factory's lichen could grow on next, as the rule last looked at it
        ("looked", np.int16, (FACTORIES,)),  # turn from which those that observe look again at ...
        ("ground", np.int16, (FACTORIES, 2)),  # ... the same, and the ground that it could ever reach
        ("watering", np.int8, (FACTORIES,)),  # what factories wish: to water or nothing, NO_WISH for what the rule says ...
        ("plan", np.int8, (FACTORIES,)),  # ... and what to build next, or nothing, or what the rule says ...
        ("replan", np.int16, (FACTORIES,)),  # ... which they decide anew in this turn
        # by side: robots as it saw them last, turns in which an enemy stood beside an own robot of its kind, and in which it attacked
        ("last_id", np.int32, (2, ROBOTS)),
        ("last_cell", np.int16, (2, ROBOTS)),
        ("chances", np.int32, (2, 2)),
        ("attacks", np.int32, (2, 2)),
    ],
    align=True,
)

# What is worked out anew in each turn of a side.
TURN_DTYPE = np.dtype(
    [
        ("danger", np.int16, (2, CELLS)),  # power above which a light, a heavy robot cannot be destroyed there in this turn
        ("threat", np.uint8, (2, CELLS)),  # of a standing light, heavy robot there: 2 if by its queue an enemy comes, 1 if one could
        ("dares", np.uint8, (2,)),  # whether robots of a kind stand where an enemy could come
        ("before", np.int16, (CELLS,)),  # where enemies stood in the turn before
        ("decides", np.uint8, (ROBOTS,)),  # robots that take a new task in this turn ...
        ("wish", np.int8, (ROBOTS,)),  # ... and which: a task, or NO_WISH for what the rule says ...
        ("goal", np.int16, (ROBOTS,)),  # ... and the cell that it digs
        ("bare", np.uint8),  # whether a wish that is impossible is followed by home or rest instead of what the rule says
        ("used", np.uint8, (CELLS,)),  # targets of own robots
        ("power", np.int32, (FACTORIES,)),  # of factories, less what robots were promised in this turn
        ("crew", np.int16, (FACTORIES, 2, TASKS)),  # robots that work for a factory, by kind and task
        ("works", np.int16, (FACTORIES,)),  # rubble listed for a factory, or -1
        ("work", np.int16, (FACTORIES, 2, MAX_WORK)),  # that rubble, as of `wrappers.targets.list_work`
    ],
    align=True,
)


def empty_memory(count: int) -> np.recarray:
    """Of `count` games in which nothing has happened."""
    memory = np.zeros(count, MEMORY_DTYPE).view(np.recarray)
    memory["ident"] = -1
    memory["last_id"] = -1
    memory["watering"] = memory["plan"] = NO_WISH
    return memory


def empty_turn() -> np.record:
    """Room for one turn of one side."""
    return np.zeros(1, TURN_DTYPE).view(np.recarray)[0]


@jit
def nearest_home(game, player, cell):
    """The own factory whose walls are nearest to a cell, or -1 if there is none."""
    best = -1
    least = NO_WAY
    for f in range(game.factory_count):
        if game.factory_alive[f] and game.factory_owner[f] == player:
            wall = wall_cell(cell, int(game.factory_cell[f]))
            steps = abs(wall // 64 - cell // 64) + abs(wall % 64 - cell % 64)
            if steps < least:
                best, least = f, steps
    return best


@jit
def refresh(game, memory, turn, player):
    """Begin a turn: forget who is gone, give everybody a home, count crews and targets."""
    turn.used[:] = 0
    turn.crew[:] = 0
    turn.works[:] = -1
    turn.decides[:] = 0
    turn.wish[:] = NO_WISH
    for f in range(game.factory_count):
        turn.power[f] = game.factory_power[f]
    for r in range(player * MAX_ROBOTS, player * MAX_ROBOTS + int(game.robot_slots[player])):
        if not game.robot_alive[r]:
            continue
        if memory.ident[r] != game.robot_id[r]:
            memory.ident[r] = game.robot_id[r]
            memory.task[r] = NOTHING
            memory.target[r] = -1
            memory.home[r] = game.robot_home[r]
            memory.rest[r] = 0
            memory.back[r] = 0
            memory.missed[r] = 0
        home = int(memory.home[r])
        if home < 0 or not game.factory_alive[home]:
            memory.home[r] = nearest_home(game, player, int(game.robot_cell[r]))
            memory.task[r] = NOTHING
            memory.target[r] = -1
        if memory.home[r] >= 0:
            turn.crew[memory.home[r], game.robot_heavy[r], memory.task[r]] += 1
        if memory.target[r] >= 0:
            turn.used[memory.target[r]] = 1


@jit
def assign(game, memory, turn, r, task, target):
    """Robot `r` turns to another task, and to the cell `target` (-1: none)."""
    if memory.target[r] >= 0:
        turn.used[memory.target[r]] = 0
    turn.crew[memory.home[r], game.robot_heavy[r], memory.task[r]] -= 1
    turn.crew[memory.home[r], game.robot_heavy[r], task] += 1
    memory.task[r] = task
    memory.target[r] = target
    if target >= 0:
        turn.used[target] = 1


@jit
def balance(game, static, memory, turn, player):
    """Let one heavy move from the own factory that has least power for each of its heavies to the one that has most."""
    poor = -1
    rich = -1
    least = 0
    most = 0
    for f in range(game.factory_count):
        if not game.factory_alive[f] or game.factory_owner[f] != player:
            continue
        heavies = 0
        for task in range(TASKS):
            heavies += int(turn.crew[f, 1, task])
        share = int(game.factory_power[f]) // (heavies + 1)
        if rich < 0 or share > most:
            rich, most = f, share
        if heavies > 1 and (poor < 0 or share < least):
            poor, least = f, share
    if rich < 0 or poor < 0 or rich == poor or most < RICH_SHARE or most < 4 * least:
        return
    best = -1
    cheapest = NO_WAY
    for r in range(player * MAX_ROBOTS, player * MAX_ROBOTS + int(game.robot_slots[player])):
        if game.robot_alive[r] and game.robot_heavy[r] and memory.home[r] == poor:
            price = int(static.home_price[rich, game.robot_cell[r]])
            if price < cheapest and game.robot_power[r] > price + 100 and game.robot_cargo[r, 0] + game.robot_cargo[r, 1] == 0:
                best, cheapest = r, price
    if best >= 0:
        assign(game, memory, turn, best, NOTHING, -1)
        turn.crew[poor, 1, NOTHING] -= 1
        turn.crew[rich, 1, NOTHING] += 1
        memory.home[best] = rich
