"""Turns of many games at the level of tasks, compiled, and the rows that entities leave in them: one for each of their decisions."""

from __future__ import annotations

import numpy as np

from agent.tasks.candidates import (
    BUILDING,
    CANDIDATE_SIZE,
    CANDIDATES,
    STATE_SIZE,
    TASK_OF,
    TOTALS,
    WATERING,
    observe_factories,
    observe_side,
    put_order,
    side_totals,
    write_farm_state,
)
from agent.tasks.play import begin_turn, end_turn
from engine.config import MAX_ROBOTS
from engine.jit import jit
from engine.state import FACTORIES, ROBOTS

KINDS = BUILDING + 1  # of decisions
LAST = -1  # the next of a row that is the last of its entity so far
ROWS_DTYPE = np.dtype(
    [
        ("state", np.float32, (STATE_SIZE,)),
        ("candidates", np.float32, (CANDIDATES, CANDIDATE_SIZE)),
        ("cells", np.int16, (CANDIDATES,)),
        ("mask", np.uint8, (CANDIDATES,)),
        ("choice", np.int8),
        ("kind", np.int8),  # LIGHT, HEAVY, WATERING or BUILDING
        ("side", np.int8),
        ("robot", np.int16),  # its number, or -1 - the number of the factory
        ("ident", np.int32),  # creation number of the robot: numbers are recycled
        ("home", np.int8),
        ("game", np.int32),
        ("next", np.int32),  # the entity's next row, LAST, or -2 - the number of the ghost that took its place
    ],
    align=True,
)
"""A decision: what the entity saw, what it chose, and where its trajectory goes on."""

GHOST_DTYPE = np.dtype([("state", np.float32, (STATE_SIZE,)), ("kind", np.int8), ("home", np.int8), ("game", np.int32)], align=True)
"""A farm in the turn after it lost a robot, in which the robot's trajectory ends."""


def empty_last_rows(games: int) -> np.ndarray:
    """The open row of each entity, none: `[N, ROBOTS + 2 FACTORIES]`; factories water and build on trajectories of their own."""
    return np.full((games, ROBOTS + 2 * FACTORIES), -1, np.int64)


@jit
def close_rows(game, rules, memory, turn, totals, player, left, i, rows, ghosts, ghost, last_row):
    """End the trajectories of robots that died or serve another factory now; returns the next ghost."""
    for r in range(player * MAX_ROBOTS, player * MAX_ROBOTS + int(game.robot_slots[player])):
        m = last_row[i, r]
        if m < 0 or game.robot_alive[r] and rows[m].ident == game.robot_id[r] and rows[m].home == memory.home[r]:
            continue
        write_farm_state(game, rules, memory, turn, totals, player, int(rows[m].home), left, ghosts[ghost].state)
        ghosts[ghost].kind = rows[m].kind
        ghosts[ghost].home = rows[m].home
        ghosts[ghost].game = i
        rows[m].next = -2 - ghost
        last_row[i, r] = -1
        ghost += 1
    return ghost


@jit
def observe_all(games, rules, dials, statics, memories, turns, orders, chosen, rows, first, ghosts, ghost, last_row):
    """Begin a turn of both sides of all running games.

    Entities that decide and are of a kind that is `chosen [N, side, kind]` get rows, from `first` on; robots that are gone leave
    ghosts, from `ghost` on. Returns the next row and the next ghost.
    """
    totals = np.zeros((2, TOTALS), np.float32)
    robots, options = rows.robot, rows.candidates
    for i in range(len(games)):
        game = games[i]
        if game.done:
            continue
        left = int(rules.max_episode_length) - int(game.real_step)
        side_totals(game, totals)
        memory = memories[i]
        for player in range(2):
            turn = turns[i, player]
            begin_turn(game, rules, dials, statics[i], memory, turn, player, orders[i])
            ghost = close_rows(game, rules, memory, turn, totals, player, left, i, rows, ghosts, ghost, last_row)
            for kind in range(KINDS):
                if not chosen[i, player, kind]:
                    continue
                if kind >= WATERING:
                    seen = (robots, rows.state, options, rows.mask)
                    last = observe_factories(game, rules, dials, memory, turn, player, kind, first, *seen)
                else:
                    static, seen = statics[i], (rows.state, rows.cells, options, rows.mask)
                    last = observe_side(game, rules, static, dials, memory, turn, player, kind, first, robots, *seen)
                for m in range(first, last):
                    row = rows[m]
                    r = int(row.robot)
                    if kind >= WATERING:
                        row.home = -1 - r
                        r = ROBOTS + (kind - WATERING) * FACTORIES - 1 - r
                    else:
                        row.ident = game.robot_id[r]
                        row.home = memory.home[r]
                    row.game, row.side, row.kind, row.next = i, player, kind, LAST
                    if last_row[i, r] >= 0:
                        rows[last_row[i, r]].next = m
                    last_row[i, r] = m
                first = last
    return first, ghost


@jit
def act_all(games, rules, dials, statics, memories, turns, orders, rows, first, last):
    """What the rows from `first` to `last` chose becomes wishes, and the turn of both sides of all running games is ended."""
    for m in range(first, last):
        r = int(rows[m].robot)
        if rows[m].kind >= WATERING:
            put_order(memories[rows[m].game], rows[m].kind, -1 - r, rows[m].choice, int(games[rows[m].game].real_step))
        else:
            turn = turns[rows[m].game, rows[m].side]
            turn.wish[r] = TASK_OF[rows[m].choice]
            turn.goal[r] = rows[m].cells[rows[m].choice]
    for i in range(len(games)):
        game = games[i]
        if game.done:
            continue
        for player in range(2):
            end_turn(game, rules, dials, statics[i], memories[i], turns[i, player], player, orders[i])


@jit
def outcomes(games, share, result):
    """`result [N, FACTORIES]`: the lichen of each factory at the end, or (`share`) its side's share of all, from -1 to 1."""
    for i in range(len(games)):
        game = games[i]
        both = max(int(game.lichen_total[0]) + int(game.lichen_total[1]), 1)
        for f in range(game.factory_count):
            owner = int(game.factory_owner[f])
            ahead = int(game.lichen_total[owner]) - int(game.lichen_total[1 - owner])
            result[i, f] = ahead / both if share else int(game.factory_lichen[f])


@jit
def advantages(next_row, values, ghost_values, returns, lam, result):
    """`result [R]`: the generalised advantage (Schulman et al. 2016) of each row on its entity's own trajectory, undiscounted.

    `next_row [R]` as of `ROWS_DTYPE`; `values [R]`; `ghost_values [G]`; `returns [R]`: what is paid in the end, and nothing before.
    """
    for m in range(len(next_row) - 1, -1, -1):
        after = next_row[m]
        if after >= 0:
            result[m] = values[after] - values[m] + lam * result[after]
        elif after == LAST:
            result[m] = returns[m] - values[m]
        else:
            result[m] = ghost_values[-2 - after] - values[m]
