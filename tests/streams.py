"""Players for parity tests: each looks at an official environment and gives official actions for both sides.

A stream is `stream(env, rng) -> actions`; the functions named `prepare_*` change an official state before a run so that
more happens in it. All randomness comes from `rng`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.official import PLAYERS
from engine.official_actions import FACTIONS
from engine.state import DIG, MOVE, PICKUP, POWER, RECHARGE, SELF_DESTRUCT, TRANSFER

STEPS = np.array([[0, 0], [0, -1], [1, 0], [0, 1], [-1, 0]])
AMOUNTS = np.array([0, 1, 4, 10, 30, 100, 500, 3000, 3001])


def act(kind: int, direction: int = 0, resource: int = 0, amount: int = 0, repeat: int = 0, n: int = 1) -> list[int]:
    """One entry of an action queue."""
    return [kind, direction, resource, amount, repeat, n]


def robots_of(env: Any, agent: str) -> list[Any]:
    return list(env.state.units[agent].values())


def factories_of(env: Any, agent: str) -> list[Any]:
    return list(env.state.factories[agent].values())


# --------------------------------------------------------------------------------------------------------------- opening


def opening(env: Any, rng: np.random.Generator) -> dict[str, Any]:
    """A bid or a placement. Bids may tie or be negative; placements may be impossible, out of turn, too rich or a pass.

    Each side gets at least one factory in the end.
    """
    if env.env_steps == 0:
        bids = rng.choice([0, 0, 3, 10, 25, 10.5], 2) * rng.choice([1, 1, -1], 2)
        return {agent: {"faction": FACTIONS[p], "bid": bids[p] if bids[p] % 1 else int(bids[p])} for p, agent in enumerate(PLAYERS)}
    actions: dict[str, Any] = {}
    last_chance = env.state.real_env_steps >= -2
    for agent in PLAYERS:
        team = env.state.teams[agent]
        needed = last_chance and not team.factory_strains
        style = 0.0 if needed else rng.random()
        spawn = rng.choice(np.argwhere(env.state.board.valid_spawns_mask))
        share = max(1, team.init_water // max(team.factories_to_place, 1))
        if style < 0.7:
            actions[agent] = {"spawn": spawn, "water": int(share), "metal": int(share)}
        elif style < 0.8:
            actions[agent] = {"spawn": rng.integers(0, env.env_cfg.map_size, 2), "water": 50.7, "metal": 5000}
        elif style < 0.85:
            actions[agent] = {"spawn": spawn.tolist(), "water": -1, "metal": 20}
        elif style < 0.95:
            actions[agent] = {}
    return actions or {PLAYERS[0]: {}}


def plain_opening(env: Any, rng: np.random.Generator) -> dict[str, Any]:
    """No bids; every factory is placed, near ice, with an equal share of water and metal."""
    if env.env_steps == 0:
        return {agent: {"faction": FACTIONS[p], "bid": 0} for p, agent in enumerate(PLAYERS)}
    actions: dict[str, Any] = {}
    for agent in PLAYERS:
        team = env.state.teams[agent]
        left = max(team.factories_to_place, 1)
        spots = np.argwhere(env.state.board.valid_spawns_mask)
        ice = np.argwhere(env.state.board.ice == 1)
        distance = np.abs(spots[:, None] - ice).sum(2).min(1)
        spawn = rng.choice(spots[distance <= distance.min() + 1])
        actions[agent] = {"spawn": spawn, "water": team.init_water // left, "metal": team.init_metal // left}
    return actions


# ----------------------------------------------------------------------------------------------------------- preparation


def prepare_rich(env: Any, rng: np.random.Generator, stock: int = 100_000) -> None:
    """Factories with plenty of everything."""
    for agent in PLAYERS:
        for factory in factories_of(env, agent):
            factory.cargo.water = factory.cargo.metal = factory.power = stock


def prepare_robots(env: Any, rng: np.random.Generator, count: int, area: int | None = None, heavy: float = 0.4) -> None:
    """About `count` robots a side on free cells without factories, in a square of side `area` in the middle of the map."""
    from luxai_s2.unit import UnitType

    size = env.env_cfg.map_size
    area = area or size
    low = (size - area) // 2
    free = env.state.board.factory_occupancy_map == -1
    for place, units in env.state.board.units_map.items():
        x, y = map(int, place.split(","))
        free[x, y] &= not units
    free[:low] = free[low + area :] = free[:, :low] = free[:, low + area :] = False
    cells = np.argwhere(free)
    rng.shuffle(cells)
    for k, cell in enumerate(cells[: 2 * count]):
        kind = UnitType.HEAVY if rng.random() < heavy else UnitType.LIGHT
        unit = env.add_unit(env.state.teams[PLAYERS[k % 2]], kind, cell)
        unit.power = int(unit.unit_cfg.BATTERY_CAPACITY * rng.choice([0.1, 0.5, 0.5, 1.0]))
        for name in ("ice", "ore", "water", "metal"):
            setattr(unit.cargo, name, int(rng.choice([0, 0, 3, unit.unit_cfg.CARGO_SPACE // 2])))


def prepare_meadow(env: Any, rng: np.random.Generator) -> None:
    """Hardly any rubble, much water in most factories and little in some, lichen of every strain around its factory."""
    board = env.state.board
    board.rubble[rng.random(board.rubble.shape) < 0.9] = 0
    for agent in PLAYERS:
        for k, factory in enumerate(factories_of(env, agent)):
            factory.cargo.water = 50_000 if k == 0 else int(rng.choice([40, 3000]))
            x, y = factory.pos.pos
            near = np.zeros(board.rubble.shape, bool)
            near[max(x - 5, 0) : x + 6, max(y - 5, 0) : y + 6] = True
            near &= (board.rubble == 0) & (board.ice == 0) & (board.ore == 0) & (board.factory_occupancy_map == -1)
            near &= (rng.random(near.shape) < 0.8) & (board.lichen_strains == -1)
            board.lichen[near] = rng.integers(1, 60, near.sum())
            board.lichen_strains[near] = factory.num_id


# --------------------------------------------------------------------------------------------------------------- streams


def random_entry(env: Any, rng: np.random.Generator) -> list[int]:
    kind = int(rng.choice(6, p=[0.45, 0.17, 0.12, 0.18, 0.01, 0.07]))
    repeat = int(rng.choice([0, 0, 0, 1, 2, 9999]))
    n = int(rng.choice([1, 1, 1, 2, 3, 40]))
    # fields that the kind does not use are filled as well: the engines must ignore them
    return act(kind, int(rng.integers(5)), int(rng.integers(5)), random_amount(env, rng), repeat, n)


def random_amount(env: Any, rng: np.random.Generator) -> int:
    return min(int(rng.choice(AMOUNTS)), env.env_cfg.max_transfer_amount + 1)


def random_queue(env: Any, rng: np.random.Generator) -> np.ndarray:
    length = min(int(rng.choice([0, 1, 1, 2, 3, 5, 20])), env.env_cfg.UNIT_ACTION_QUEUE_SIZE)
    return np.array([random_entry(env, rng) for _ in range(length)], int).reshape(-1, 6)


def random_play(env: Any, rng: np.random.Generator) -> dict[str, Any]:
    """Any well-formed order for anybody, sensible or not."""
    actions: dict[str, Any] = {}
    for agent in PLAYERS:
        mine = actions[agent] = {}
        for unit in robots_of(env, agent):
            if rng.random() < 0.35:
                mine[unit.unit_id] = random_queue(env, rng)
        for factory in factories_of(env, agent):
            if rng.random() < 0.6:
                mine[factory.unit_id] = int(rng.choice([0, 1, 2], p=[0.35, 0.25, 0.4]))
    return actions


def crowded(env: Any, rng: np.random.Generator) -> dict[str, Any]:
    """Everybody towards the same few cells, swaps with neighbours, and builds onto robots that wait on the centre."""
    size = env.env_cfg.map_size
    corner = size // 2 - 2
    actions: dict[str, Any] = {agent: {} for agent in PLAYERS}
    for agent in PLAYERS:
        for unit in robots_of(env, agent):
            if len(unit.action_queue) and rng.random() < 0.5:
                continue
            goal = np.array([corner, corner]) + 2 * (env.state.real_env_steps // 9 % 3) + rng.integers(0, 2, 2)
            away = goal - unit.pos.pos
            towards = [d for d in range(1, 5) if (STEPS[d] * away).sum() > 0]
            direction = int(rng.choice(towards)) if towards and rng.random() < 0.8 else int(rng.integers(5))
            entries = [act(MOVE, direction, n=int(rng.choice([1, 1, 2])))]
            if rng.random() < 0.2:
                entries.insert(0, act(TRANSFER, int(rng.integers(5)), int(rng.integers(5)), random_amount(env, rng)))
            elif rng.random() < 0.1:
                entries.insert(0, act(int(rng.choice([PICKUP, SELF_DESTRUCT, RECHARGE])), 0, POWER, 40))
            actions[agent][unit.unit_id] = np.array(entries)
        for factory in factories_of(env, agent):
            if rng.random() < 0.7:
                actions[agent][factory.unit_id] = int(rng.integers(2))
    return actions


def lichen_heavy(env: Any, rng: np.random.Generator) -> dict[str, Any]:
    """Factories water most of the time; robots roam over the lichen and dig it."""
    actions: dict[str, Any] = {agent: {} for agent in PLAYERS}
    for agent in PLAYERS:
        for unit in robots_of(env, agent):
            if not unit.action_queue:
                walk = act(MOVE, int(rng.integers(1, 5)), n=int(rng.integers(1, 4)))
                actions[agent][unit.unit_id] = np.array([walk, act(DIG, n=int(rng.integers(1, 5))), act(RECHARGE, amount=30)])
        for factory in factories_of(env, agent):
            if rng.random() < 0.85:
                actions[agent][factory.unit_id] = 2
            elif rng.random() < 0.3 and len(env.state.units[agent]) < 40:
                actions[agent][factory.unit_id] = int(rng.integers(2))
    return actions


def invalid(env: Any, rng: np.random.Generator) -> dict[str, Any]:
    """Well-formed orders most of which cannot be executed: off the map, too dear, to nobody, from nowhere."""
    size = env.env_cfg.map_size
    actions: dict[str, Any] = {agent: {} for agent in PLAYERS}
    for agent in PLAYERS:
        for unit in robots_of(env, agent):
            if rng.random() < 0.5:
                continue
            x, y = unit.pos.pos
            outwards = 4 if x < size // 2 else 2
            if rng.random() < 0.5:
                outwards = 1 if y < size // 2 else 3
            choices = [
                act(MOVE, outwards, n=9999),
                act(TRANSFER, outwards, int(rng.integers(5)), random_amount(env, rng), n=3),
                act(TRANSFER, int(rng.integers(5)), int(rng.integers(5)), env.env_cfg.max_transfer_amount + 1, repeat=1),
                act(PICKUP, 0, int(rng.integers(5)), random_amount(env, rng)),
                act(DIG, n=50),
                act(SELF_DESTRUCT) if rng.random() < 0.1 else act(DIG),
                act(RECHARGE, amount=int(rng.choice([1, 140, 151, 1501])), repeat=2, n=2),
            ]
            actions[agent][unit.unit_id] = np.array([choices[k] for k in rng.permutation(len(choices))[: rng.integers(1, 4)]])
        for factory in factories_of(env, agent):
            actions[agent][factory.unit_id] = int(rng.choice([0, 1, 1, 2]))
    return actions


# --------------------------------------------------------------------------------------------------------------- economy


def nearest(cells: np.ndarray, pos: np.ndarray) -> np.ndarray | None:
    return cells[np.abs(cells - pos).sum(1).argmin()] if len(cells) else None


def step_towards(env: Any, unit: Any, goal: np.ndarray, claimed: set[tuple[int, int]], rng: np.random.Generator) -> list[int]:
    """The step that brings a robot nearest to a goal over little rubble, onto a cell that no friend holds or claimed."""
    board, agent = env.state.board, unit.team.agent
    best, best_cost = act(MOVE), 1e9
    for direction in range(1, 5):
        x, y = target = unit.pos.pos + STEPS[direction]
        if (target < 0).any() or (target >= board.width).any() or (int(x), int(y)) in claimed:
            continue
        factory = board.factory_occupancy_map[x, y]
        if factory != -1 and f"factory_{factory}" not in env.state.factories[agent]:
            continue
        cost = np.abs(goal - target).sum() + 0.02 * board.rubble[x, y] + 1.5 * rng.random()
        if cost < best_cost:
            best, best_cost = act(MOVE, direction), cost
    return best


def errand(env: Any, unit: Any, cells: dict[str, np.ndarray], claimed: set[tuple[int, int]], rng: np.random.Generator) -> list[int]:
    """What a robot of the scripted economy does now: mine and deliver, clear rubble near home, fetch power."""
    config, pos = unit.unit_cfg, unit.pos.pos
    home = nearest(cells[unit.team.agent], pos)
    if home is None:
        return act(DIG)
    number = int(unit.unit_id[5:])
    job = "rubble" if not unit.is_heavy() else "ore" if number % 4 == 3 else "ice"
    goal = nearest(cells[job], pos if job == "rubble" else home)
    factory = env.state.board.get_factory_at(env.state, unit.pos)
    if factory is not None and unit.cargo.ice + unit.cargo.ore > 0:
        return act(TRANSFER, 0, 0 if unit.cargo.ice else 1, config.CARGO_SPACE)
    if factory is not None and unit.power < config.BATTERY_CAPACITY * 0.3 and factory.power > 100:
        return act(PICKUP, 0, POWER, min(config.BATTERY_CAPACITY - unit.power, factory.power - 50))
    loaded = max(unit.cargo.ice, unit.cargo.ore) >= config.CARGO_SPACE * 0.25
    reserve = config.DIG_COST + 2 * config.MOVE_COST * int(np.abs(home - pos).sum())
    if factory is None and (loaded or unit.power < reserve or goal is None):
        return step_towards(env, unit, home, claimed, rng)
    if goal is None:
        return act(MOVE, int(rng.integers(5)))
    return act(DIG, n=20) if (goal == pos).all() else step_towards(env, unit, goal, claimed, rng)


def economy(env: Any, rng: np.random.Generator) -> dict[str, Any]:
    """A rough player that lives: mines ice and ore, delivers, waters what it can afford, builds, clears rubble, recharges."""
    board = env.state.board
    near_home = np.zeros(board.rubble.shape, bool)
    for agent in PLAYERS:
        for factory in factories_of(env, agent):
            x, y = factory.pos.pos
            near_home[max(x - 6, 0) : x + 7, max(y - 6, 0) : y + 7] = True
    cells = {
        "ice": np.argwhere(board.ice == 1),
        "ore": np.argwhere(board.ore == 1),
        "rubble": np.argwhere((board.rubble > 0) & near_home),
    }
    actions: dict[str, Any] = {agent: {} for agent in PLAYERS}
    for agent in PLAYERS:
        cells[agent] = np.array([f.pos.pos for f in factories_of(env, agent)]).reshape(-1, 2)
        mine = actions[agent]
        claimed = {(int(u.pos.x), int(u.pos.y)) for u in robots_of(env, agent)}
        for unit in robots_of(env, agent):
            wanted = errand(env, unit, cells, claimed, rng)
            if wanted[0] == MOVE:
                x, y = unit.pos.pos + STEPS[wanted[1]]
                claimed.add((int(x), int(y)))
            front = unit.action_queue[0].state_dict()[:4].tolist() if unit.action_queue else None
            if front != wanted[:4]:
                mine[unit.unit_id] = np.array([wanted])
        heavies = sum(u.is_heavy() for u in robots_of(env, agent))
        lights = len(env.state.units[agent]) - heavies
        homes = len(env.state.factories[agent])
        for factory in factories_of(env, agent):
            metal, power = factory.cargo.metal, factory.power
            free = (int(factory.pos.x), int(factory.pos.y)) not in claimed
            if free and metal >= 100 and power >= 500 and heavies < 4 * homes:
                mine[factory.unit_id] = 1
            elif free and metal >= 10 and power >= 300 and lights < 3 * homes:
                mine[factory.unit_id] = 0
            elif factory.cargo.water > 150 + len(factory.grow_lichen_positions):
                mine[factory.unit_id] = 2
    return actions


# ------------------------------------------------------------------------------------------------------------- malformed


def _queue(**changes: Any) -> np.ndarray:
    """A well-formed queue of one move, with fields changed by name."""
    names = ("kind", "direction", "resource", "amount", "repeat", "n")
    return np.array([[changes.get(name, default) for name, default in zip(names, (MOVE, 1, 0, 0, 0, 1))]])


GOOD = _queue()

# what a robot's action may be so that its side loses at once
MALFORMED_QUEUES: dict[str, Any] = {
    "float array": GOOD.astype(float),
    "uint64 array": GOOD.astype(np.uint64),
    "1-D array": GOOD[0],
    "1-D list": GOOD[0].tolist(),
    "3-D array": GOOD[None],
    "21 entries": GOOD.repeat(21, 0),
    "21 entries in a list": [GOOD[0]] * 21,
    "n 0": _queue(n=0),
    "n -1": _queue(n=-1),
    "n 10000": _queue(n=10_000),
    "n beyond 16 bits": _queue(n=100_000),
    "repeat 10000": _queue(repeat=10_000),
    "repeat -1": _queue(repeat=-1),
    "amount 3002": _queue(kind=TRANSFER, amount=3002),
    "amount -1": _queue(kind=TRANSFER, amount=-1),
    "direction 5": _queue(direction=5),
    "direction -1": _queue(direction=-1),
    "resource 5": _queue(kind=PICKUP, resource=5),
    "type 6": _queue(kind=6),
    "type -1": _queue(kind=-1),
    "five fields": GOOD[:, :5],
    "seven fields": np.concatenate([GOOD, GOOD[:, :1]], 1),
    "ragged list": [[0, 1, 0, 0, 0, 1], [0, 1]],
    "list with a float array": [GOOD[0].astype(float)],
    "list with None": [None],
    "list with a string": ["move"],
    "a string": "move",
    "a tuple": tuple(GOOD),
    "an empty tuple": (),
    "an empty dict": {},
    "second entry bad": np.concatenate([GOOD, _queue(n=0)]),
}
# ... and so that it does not
ACCEPTED_QUEUES: dict[str, Any] = {
    "int16 array": GOOD.astype(np.int16),
    "int32 array": GOOD.astype(np.int32),
    "uint8 array": GOOD.astype(np.uint8),
    "bool array": GOOD.astype(bool),
    "list of lists": GOOD.tolist(),
    "list of arrays": list(GOOD),
    "list with floats": [[0.0, 1.9, 0, 0, 0, 1.5]],
    "20 entries": GOOD.repeat(20, 0),
    "empty list": [],
    "empty array": np.zeros(0),
    "empty 2-D array": np.zeros((0, 6)),
    "amount 3001": _queue(kind=TRANSFER, amount=3001),
    "n 9999": _queue(n=9999, repeat=9999),
    "unused fields": _queue(kind=DIG, direction=4, resource=4, amount=3001),
}
MALFORMED_FACTORY: dict[str, Any] = {
    "3": 3,
    "-1": -1,
    "float": 1.0,
    "numpy float": np.float64(2),
    "None": None,
    "string": "0",
    "array": np.array([1]),
    "list": [1],
}
ACCEPTED_FACTORY: dict[str, Any] = {"int": 1, "bool": True, "numpy int": np.int8(2), "0-D array": np.array(0)}
