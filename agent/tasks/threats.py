"""What enemies could do: where a robot could be destroyed, and how often those that stand still are attacked."""

from __future__ import annotations

from engine.config import MAX_ROBOTS, SIZE
from engine.jit import jit
from engine.state import DX, DY, MOVE

ANY_POWER = 30_000  # more than any robot has
STEP_POWER = (8, 130)  # at most what a light, a heavy robot pays for an order and a step
WORTH = 25  # a robot in digs
DOUBT = 20  # turns beside enemies that count as seen before the game, ...
ATTACKS = 4  # ... and in how many of them they attacked


@jit
def note_attacks(game, memory, turn, player):
    """Count the turns in which an enemy of the own kind stood beside an own robot outside, and those in which it stepped onto its place."""
    other = 1 - player
    turn.before[:] = -1
    for e in range(other * MAX_ROBOTS, other * MAX_ROBOTS + int(game.robot_slots[other])):
        if game.robot_alive[e] and memory.last_id[player, e] == game.robot_id[e]:
            turn.before[memory.last_cell[player, e]] = e
    for r in range(player * MAX_ROBOTS, player * MAX_ROBOTS + int(game.robot_slots[player])):
        cell = int(memory.last_cell[player, r])
        if memory.last_id[player, r] != game.robot_id[r] or game.factory_at[cell] >= 0 or not (game.robot_alive[r] or game.robot_died[r]):
            continue
        heavy = int(game.robot_heavy[r])
        for d in range(1, 5):
            x = cell // SIZE + DX[d]
            y = cell % SIZE + DY[d]
            if x < 0 or y < 0 or x >= SIZE or y >= SIZE:
                continue
            e = int(turn.before[x * SIZE + y])
            if e >= 0 and game.robot_heavy[e] == heavy:
                memory.chances[player, heavy] += 1
                memory.attacks[player, heavy] += game.robot_cell[e] == cell
    for side in range(2):
        for r in range(side * MAX_ROBOTS, side * MAX_ROBOTS + int(game.robot_slots[side])):
            memory.last_id[player, r] = game.robot_id[r] if game.robot_alive[r] else -1
            memory.last_cell[player, r] = game.robot_cell[r]


@jit
def write_threats(game, rules, memory, turn, player):
    """What enemies can do where they stand or can step to, own factories left out.

    `turn.danger`: of two robots of a kind that step onto a cell the one with more power wins, so a robot is in danger from those that
    have at least as much. `turn.threat`: who steps onto a cell destroys who stands there, whatever their power; `turn.dares` says
    whether robots of a kind stand there all the same.
    """
    turn.danger[:] = 0
    turn.threat[:] = 0
    size = int(rules.map_size)
    other = 1 - player
    for heavy in range(2):
        turn.dares[heavy] = (memory.attacks[player, heavy] + ATTACKS) * WORTH <= memory.chances[player, heavy] + DOUBT
    for e in range(other * MAX_ROBOTS, other * MAX_ROBOTS + int(game.robot_slots[other])):
        if not game.robot_alive[e]:
            continue
        heavy = int(game.robot_heavy[e])
        power = int(game.robot_power[e])
        cell = int(game.robot_cell[e])
        for d in range(5):
            x = cell // SIZE + DX[d]
            y = cell % SIZE + DY[d]
            if x < 0 or y < 0 or x >= size or y >= size:
                continue
            near = x * SIZE + y
            factory = game.factory_at[near]
            if factory >= 0 and game.factory_owner[factory] == player:
                continue
            if d > 0 and rules.move_cost_at[heavy, game.rubble[near]] > power:
                continue
            turn.danger[heavy, near] = max(int(turn.danger[heavy, near]), power)
            if heavy:
                turn.danger[0, near] = ANY_POWER
            comes = d > 0 and game.queue_len[e] > 0 and game.queue[e, 0, 0] == MOVE and game.queue[e, 0, 1] == d
            for kind in range(heavy + 1):
                turn.threat[kind, near] = max(int(turn.threat[kind, near]), 2 if comes else 1)


@jit
def is_dangerous(game, turn, r, cell):
    """Whether robot `r` could be destroyed by stepping onto this cell in this turn; the step may have cost it some power."""
    heavy = int(game.robot_heavy[r])
    return turn.danger[heavy, cell] > 0 and turn.danger[heavy, cell] + STEP_POWER[heavy] > game.robot_power[r]


@jit
def is_threatened(turn, heavy, cell):
    """Whether a robot should not stand there in this turn."""
    return turn.threat[heavy, cell] > (1 if turn.dares[heavy] else 0)
