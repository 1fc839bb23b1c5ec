"""A recording as the lines of text that the page reads: a header, then a line a state, each the change from the one before.

Every `KEY_EVERY` states there is also the whole state, written as the change from nothing, so that the page reaches any
state by one whole one and fewer than `KEY_EVERY` changes. The lines: header, states 1 .. T-1, then states 0, K, 2K, ...
whole. A line is a JSON object whose keys are left out where nothing changed:

    t  real step                                  g  teams: [water, metal, to place, places first, bid, faction] a side
    r l s w  rubble, lichen, strain + 1, spawnable: cells as [difference, count, gap, gap, ...] runs
    n  new robots: id, side, heavy                x  robots gone: id
    u  robots: id, cell, power                    c  cargo of robots: id, ice, ore, water, metal
    q  new queues by id                           a  robots whose queue went on by one
    F  new factories: number, side, cell          X  factories gone: number
    f  factories: number, power, ice, ore, water, metal
    o  orders given in this state: {"f": {number: 0 | 1 | 2}, "u": [id], "bid": [...], "spawn": [...]}
    v  thoughts: name, value, [kind, direction, resource, amount], their probabilities, probabilities of the kinds

Cells are numbered x + y * map size.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from arena.replay_page.recording import PLAYERS, Recording

KEY_EVERY = 32
SCALE = (2, 50, 98)  # percentiles: a few extreme values shall not take the colours from all others
BOARDS = {"r": "rubble", "l": "lichen", "s": "lichen_strains", "w": "valid_spawns_mask"}
CARGO = ("ice", "ore", "water", "metal")
CURVES = ("lichen", "power", "water", "robots")

Queue = tuple[tuple[int, ...], ...]


@dataclass
class Robot:
    side: int
    heavy: int
    place: tuple[int, int]  # cell, power
    cargo: tuple[int, ...]
    queue: Queue


@dataclass
class Factory:
    side: int
    cell: int
    stock: tuple[int, ...]  # power, ice, ore, water, metal


@dataclass
class State:
    """One state of the match; boards are flat [W * W] int32, numbered as the page does."""

    boards: dict[str, np.ndarray]
    step: int | None = None
    teams: list[list[Any]] = field(default_factory=list)
    strains: list[list[int]] = field(default_factory=lambda: [[], []])
    robots: dict[int, Robot] = field(default_factory=dict)
    factories: dict[int, Factory] = field(default_factory=dict)


def packed_lines(recording: Recording) -> list[str]:
    """The lines. Raises `ValueError` with a sentence for a recording whose observations are not this game's."""
    size = int(recording.env_cfg["map_size"])
    nothing = State({key: np.zeros(size * size, np.int32) for key in BOARDS})
    changes: list[dict[str, Any]] = []
    whole: list[dict[str, Any]] = []
    curves: list[list[list[int]]] = [[[], []] for _ in CURVES]
    events: list[list[Any]] = []
    seen: set[int] = set()
    before = nothing
    for t, obs in enumerate(recording.observations):
        try:
            state = _state(obs, before, size)
            extras = _extras(recording, t, state)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
            what = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split()).rstrip(".")
            raise ValueError(f"State {t} of the replay is not one of Lux AI Season 2: {what}.") from error
        if t > 0:
            changes.append({**_change(before, state), **extras})
            events.extend(_events(t, before, state))
        grown = list(_first_lichen(t, state, seen))
        events.extend(grown if t > 0 else [])
        if t % KEY_EVERY == 0:
            whole.append({**_change(nothing, state), **extras})
        for curve, values in zip(curves, _totals(state)):
            for side in range(2):
                curve[side].append(values[side])
        before = state
    header = {**_header(recording, size, curves, events), "owners": _owners(before)}
    return [json.dumps(line, separators=(",", ":"), allow_nan=False) for line in (header, *changes, *whole)]


def _header(recording: Recording, size: int, curves: list[list[list[int]]], events: list[list[Any]]) -> dict[str, Any]:
    cfg, first = recording.env_cfg, recording.observations[0]["board"]
    robots = cfg.get("ROBOTS", {})

    def limits(kind: str, battery: int, cargo: int) -> list[int]:
        rules = robots.get(kind, {})
        return [int(rules.get("BATTERY_CAPACITY", battery)), int(rules.get("CARGO_SPACE", cargo))]

    values = [row[1] for rows in recording.thoughts.values() for row in rows if row[1] is not None]
    return {
        "format": 1,
        "names": recording.names,
        "seed": recording.seed,
        "size": size,
        "frames": len(recording.observations),
        "keyEvery": KEY_EVERY,
        "start": -int(recording.observations[0]["real_env_steps"]),  # the frame of real step 0
        "perTeam": int(first["factories_per_team"]),
        "turns": int(cfg.get("max_episode_length", 1000)),
        "cycle": [int(cfg.get("CYCLE_LENGTH", 50)), int(cfg.get("DAY_LENGTH", 30))],
        "robots": [limits("LIGHT", 150, 100), limits("HEAVY", 3000, 1000)],
        "ice": np.flatnonzero(_board(first["ice"], size)).tolist(),
        "ore": np.flatnonzero(_board(first["ore"], size)).tolist(),
        "curves": dict(zip(CURVES, curves)),
        "events": events,
        "winner": recording.winner,
        "reason": recording.reason,
        "values": np.percentile(values, SCALE).tolist() if values else None,  # of the colour scale
    }


# -------------------------------------------------------------------------------------------------------------- a state


def _state(obs: dict[str, Any], before: State, size: int) -> State:
    boards = {key: _shown(obs["board"], name, before, key, size) for key, name in BOARDS.items()}
    if obs["real_env_steps"] >= 0:
        boards["w"] = np.zeros(size * size, np.int32)  # nothing is placed any more
    state = State(boards, int(obs["real_env_steps"]))
    for side, player in enumerate(PLAYERS):
        team = obs["teams"].get(player)
        if team is not None:
            state.teams.append(
                [int(team[key]) for key in ("water", "metal", "factories_to_place", "place_first", "bid")] + [str(team["faction"])]
            )
            state.strains[side] = [int(strain) for strain in team["factory_strains"]]
        for unit in obs["units"].get(player, {}).values():
            queue = tuple(tuple(int(value) for value in entry) for entry in unit["action_queue"])
            place = (_cell(unit["pos"], size), int(unit["power"]))
            cargo = tuple(int(unit["cargo"][name]) for name in CARGO)
            state.robots[_number(unit["unit_id"])] = Robot(side, int(unit["unit_type"] == "HEAVY"), place, cargo, queue)
        for shown in obs["factories"].get(player, {}).values():
            stock = (int(shown["power"]), *(int(shown["cargo"][name]) for name in CARGO))
            state.factories[int(shown["strain_id"])] = Factory(side, _cell(shown["pos"], size), stock)
    if len(state.teams) == 1:
        raise ValueError("one side has a team and the other has none")
    return state


def _shown(shown: dict[str, Any], name: str, before: State, key: str, size: int) -> np.ndarray:
    """A board after this observation, which shows it whole, or its changed cells, or (what can be spawned on) not at all."""
    values = shown.get(name)
    if values is None and key == "w":
        return before.boards[key]
    shift = 1 if key == "s" else 0  # so that no strain is 0
    if not isinstance(values, dict):
        return _board(shown[name], size) + shift
    board = before.boards[key]
    if before.step is None:
        raise ValueError(f"the first observation shows changes of {name} only")
    if values:
        board = board.copy()
        for place, value in values.items():
            x, y = place.split(",")
            board[_cell((x, y), size)] = int(value) + shift
    return board


def _board(values: Any, size: int) -> np.ndarray:
    """A board [x][y] in the page's order."""
    board = np.array(values, dtype=np.int32)
    if board.shape != (size, size):
        raise ValueError(f"a board has the shape {board.shape} and the map {size} x {size}")
    return board.T.ravel()


def _cell(pos: Any, size: int) -> int:
    x, y = int(pos[0]), int(pos[1])
    if not (0 <= x < size and 0 <= y < size):
        raise ValueError(f"position {x},{y} is off the map")
    return x + y * size


def _number(name: str) -> int:
    return int(name.split("_")[1])


def _totals(state: State) -> Iterator[list[int]]:
    """Of both sides: lichen, power, water (not yet handed out included), robots; in the order of `CURVES`."""
    sums = np.bincount(state.boards["s"], weights=state.boards["l"])
    yield [sum(int(sums[strain + 1]) for strain in own if strain + 1 < len(sums)) for own in state.strains]
    robots = [[robot for robot in state.robots.values() if robot.side == side] for side in range(2)]
    factories = [[factory for factory in state.factories.values() if factory.side == side] for side in range(2)]
    yield [sum(r.place[1] for r in robots[side]) + sum(f.stock[0] for f in factories[side]) for side in range(2)]
    yield [sum(f.stock[3] for f in factories[side]) + (state.teams[side][0] if state.teams else 0) for side in range(2)]
    yield [len(own) for own in robots]


def _owners(last: State) -> list[int]:
    """The side of each strain; factories that died count as well."""
    sides = {strain: side for side, own in enumerate(last.strains) for strain in own}
    return [sides.get(strain, -1) for strain in range(max(sides, default=-1) + 1)]


def _extras(recording: Recording, t: int, state: State) -> dict[str, Any]:
    """What comes with a state and is no part of it: the orders given in it, and what our agents thought of it."""
    extras: dict[str, Any] = {}
    if t < len(recording.actions):
        orders = _orders(recording.actions[t], state)
        if orders:
            extras["o"] = orders
    thoughts = [_thought(row, state) for row in recording.thoughts.get(t, ())]
    if thoughts:
        extras["v"] = thoughts
    return extras


def _orders(actions: Any, state: State) -> dict[str, Any]:
    """The orders of a turn as far as they can be read: what a bot sends may be anything, and the referee judged it."""
    given = [actions.get(player) if isinstance(actions, dict) else None for player in PLAYERS]
    given = [action if isinstance(action, dict) else {} for action in given]
    if state.step is not None and state.step < 0:
        if not state.teams:
            return {"bid": [_whole(action.get("bid")) for action in given]}
        spawns = [action.get("spawn") for action in given]
        readable = [isinstance(spawn, list) and len(spawn) == 2 and None not in map(_whole, spawn) for spawn in spawns]
        return {"spawn": [spawn if good else None for spawn, good in zip(spawns, readable)]} if any(readable) else {}
    factories = {}
    robots = []
    for action in given:
        for name, order in action.items():
            kind, _, number = str(name).partition("_")
            if kind == "factory" and number.isdecimal() and int(number) in state.factories and _whole(order) in (0, 1, 2):
                factories[int(number)] = int(order)
            elif kind == "unit" and number.isdecimal() and int(number) in state.robots:
                robots.append(int(number))
    return {key: value for key, value in (("f", factories), ("u", robots)) if value}


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**9 else None


def _thought(row: Any, state: State) -> list[Any]:
    name, value, action, probabilities, kinds = row
    kind, number = name.split("_")
    known = state.factories if kind == "factory" else state.robots
    if int(number) not in known or len(action) != 4 or len(probabilities) != 4:
        raise ValueError(f"the thoughts of {name} cannot be read")
    return [
        kind[0] + number,
        None if value is None else float(value),
        [int(part) for part in action],
        [float(part) for part in probabilities],
        [[int(which), float(share)] for which, share in kinds],
    ]


def _events(t: int, before: State, state: State) -> Iterator[list[Any]]:
    """What happened between two states, as the page's list and time line show it.

    [t, "placed" | "fell" | "lichen", side, factory]: a factory placed, one that died, the first lichen of a side;
    [t, "built" | "lost", side, [heavy robots], [light robots]].
    """
    for number in sorted(state.factories.keys() - before.factories.keys()):
        yield [t, "placed", state.factories[number].side, number]
    for number in sorted(before.factories.keys() - state.factories.keys()):
        yield [t, "fell", before.factories[number].side, number]
    for what, here, there in (("built", state, before), ("lost", before, state)):
        numbers = sorted(here.robots.keys() - there.robots.keys())
        for side in range(2):
            heavy, light = ([n for n in numbers if here.robots[n].side == side and here.robots[n].heavy == kind] for kind in (1, 0))
            if heavy or light:
                yield [t, what, side, heavy, light]


def _first_lichen(t: int, state: State, seen: set[int]) -> Iterator[list[Any]]:
    """The event of a side that has lichen and was not `seen` with any; it is from then on."""
    if len(seen) == 2 or not state.boards["l"].any():
        return
    grown = set(state.boards["s"][state.boards["l"] > 0].tolist())
    for side in {0, 1} - seen:
        own = [strain for strain in state.strains[side] if strain + 1 in grown]
        if own:
            seen.add(side)
            yield [t, "lichen", side, own[0]]


# ------------------------------------------------------------------------------------------------------------ a change


def _change(before: State, state: State) -> dict[str, Any]:
    change: dict[str, Any] = {"t": state.step}
    for key, board in state.boards.items():
        if board is not before.boards[key]:
            change[key] = _cells(board - before.boards[key])
    change["g"] = state.teams if state.teams != before.teams else []
    change.update(_robot_changes(before, state))
    new = [number for number in state.factories if number not in before.factories]
    change["F"] = [value for n in new for value in (n, state.factories[n].side, state.factories[n].cell)]
    change["X"] = [n for n in before.factories if n not in state.factories]
    moved = [n for n, factory in state.factories.items() if n in new or before.factories[n].stock != factory.stock]
    change["f"] = [value for n in moved for value in (n, *state.factories[n].stock)]
    return {key: value for key, value in change.items() if key == "t" or value}


def _cells(difference: np.ndarray) -> list[int]:
    """Runs [difference, count, gap, ...], one a value; a gap counts from the run's cell before it, the first from -1."""
    changed = np.flatnonzero(difference)
    values = difference[changed]
    runs: list[int] = []
    for value in np.unique(values).tolist():
        cells = changed[values == value]
        runs += [value, len(cells), *np.diff(cells, prepend=-1).tolist()]
    return runs


def _robot_changes(before: State, state: State) -> dict[str, Any]:
    new: list[int] = []
    places: list[int] = []
    cargos: list[int] = []
    queues: dict[int, Queue] = {}
    advanced: list[int] = []
    for number, robot in state.robots.items():
        old = before.robots.get(number)
        if old is None:
            old = Robot(robot.side, robot.heavy, (-1, -1), (0, 0, 0, 0), ())
            new += [number, robot.side, robot.heavy]
        if robot.place != old.place:
            places += [number, *robot.place]
        if robot.cargo != old.cargo:
            cargos += [number, *robot.cargo]
        if robot.queue != old.queue:
            if robot.queue == went_on(old.queue):
                advanced.append(number)
            else:
                queues[number] = robot.queue
    gone = [number for number in before.robots if number not in state.robots]
    return {"n": new, "x": gone, "u": places, "c": cargos, "q": queues, "a": advanced}


def went_on(queue: Queue) -> Queue:
    """A queue after its first entry was carried out once."""
    if not queue:
        return queue
    *rest, repeat, n = queue[0]
    if n > 1:
        return ((*rest, repeat, n - 1), *queue[1:])
    return (*queue[1:], (*rest, repeat, repeat)) if repeat > 0 else queue[1:]
