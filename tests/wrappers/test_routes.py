"""Ways: prices are those of Dijkstra's algorithm, and the directions shown lead along a cheapest way."""

from __future__ import annotations

import heapq

import numpy as np
import pytest

from engine.config import MAX_FACTORIES, MAX_ROBOTS, SIZE, GameConfig
from engine.state import DX, DY
from tests import streams
from tests.rows import Rows
from tests.wrappers.test_masks import EVERYTHING, started
from wrappers.features import ROBOT_NAMES
from wrappers.routes import CLEAR, NEAREST, NO_WAY, STEP
from wrappers.targets import write_way


def around(cell: int, size: int) -> list[tuple[int, int]]:
    """(direction, cell) of neighbours on the map."""
    x, y = divmod(cell, SIZE)
    return [(d, (x + DX[d]) * SIZE + y + DY[d]) for d in range(1, 5) if 0 <= x + DX[d] < size and 0 <= y + DY[d] < size]


def enter(game, player: int, cell: int) -> int:
    factory = int(game.factory_at[cell])
    closed = factory >= 0 and (game.factory_owner[factory] != player or game.factory_cell[factory] == cell)
    return NO_WAY if closed else 20 + int(game.rubble[cell])


def dijkstra(game, player: int, size: int, goals: dict[int, int]) -> dict[int, int]:
    """The least power from each cell to a goal, what the goal itself costs included."""
    price = dict(goals)
    heap = [(cost, cell) for cell, cost in goals.items()]
    heapq.heapify(heap)
    while heap:
        cost, cell = heapq.heappop(heap)
        step = enter(game, player, cell)
        if cost > price[cell] or step == NO_WAY:
            continue
        for _, near in around(cell, size):
            if cost + step < price.get(near, NO_WAY):
                price[near] = cost + step
                heapq.heappush(heap, (cost + step, near))
    return price


@pytest.mark.parametrize("size, seed", [(48, 1), (64, 2)])
def test_prices_are_those_of_dijkstra(size: int, seed: int) -> None:
    rows = Rows(started(GameConfig.for_map_size(size), seed, np.random.default_rng(seed), lambda env, rng: None), EVERYTHING)
    game, static = rows.engine.games[0], rows.static[0]
    board = [x * SIZE + y for x in range(size) for y in range(size)]
    for player in range(2):
        own = [f for f in range(int(game.factory_count)) if game.factory_owner[f] == player]
        assert own
        for f in own:
            wanted = dijkstra(game, player, size, {c: 0 for c in board if game.factory_at[c] == f})
            assert all(int(static.home_price[f][c]) == wanted.get(c, NO_WAY) for c in board)
            for resource, listed in ((game.ice, static.ice_near[f]), (game.ore, static.ore_near[f])):
                costs = sorted(wanted.get(c, NO_WAY) + CLEAR * int(game.rubble[c]) for c in board if resource[c])[:NEAREST]
                found = [wanted[int(c)] + CLEAR * int(game.rubble[c]) for c in listed if c >= 0]
                assert found == [cost for cost in costs if cost < NO_WAY] and all(resource[c] for c in listed if c >= 0)


def test_the_best_direction_leads_to_the_goal_for_the_price() -> None:
    """A robot set down anywhere that always takes a direction rated 1 pays what was said, and no more steps are rated 1 than that."""
    rng = np.random.default_rng(3)
    pair = started(GameConfig.for_map_size(48), 4, rng, lambda env, rng: streams.prepare_robots(env, rng, 4))
    rows = Rows(pair, EVERYTHING)
    game, rules, static = rows.engine.games[0], rows.rules, rows.static[0]
    row, walked = np.zeros(6, np.float32), 0
    for player in range(2):
        r = player * MAX_ROBOTS + int(np.flatnonzero(game.robot_alive[player * MAX_ROBOTS :])[0])
        own = [f for f in range(int(game.factory_count)) if game.factory_owner[f] == player]
        for price in static.home_price[own]:
            for _ in range(10):
                cell = int(rng.integers(48)) * SIZE + int(rng.integers(48))
                if enter(game, player, cell) == NO_WAY:
                    continue
                said, paid = int(price[cell]), 0
                while True:
                    game.robot_cell[r] = cell
                    write_way(game, rules, price, r, row, 0)
                    assert row[4] == pytest.approx(min(int(price[cell]) / (32 * STEP), 2))
                    if not row[:4].any():
                        break
                    cell = dict(around(cell, 48))[1 + int(rng.choice(np.flatnonzero(row[:4] == 1)))]
                    paid += enter(game, player, cell)
                    walked += 1
                assert said == paid and int(price[cell]) == 0
    assert walked > 200


def test_a_way_shows_the_power_left_at_its_end() -> None:
    """Of a light robot a twentieth of a heavy one's costs."""
    rng = np.random.default_rng(5)
    pair = started(GameConfig.for_map_size(48), 6, rng, lambda env, rng: streams.prepare_robots(env, rng, 20, area=48))
    rows, game = Rows(pair, EVERYTHING), pair.game
    at = ROBOT_NAMES.index("way_home_power_after")
    for i in np.flatnonzero(rows.obs.kind > 0):
        r = int(rows.obs.side[i] % 2) * MAX_ROBOTS + int(rows.obs.slot[i]) - MAX_FACTORIES
        heavy = int(game.robot_heavy[r])
        cost = int(rows.static[0].home_price[int(game.robot_home[r])][int(game.robot_cell[r])]) / (1 if heavy else 20)
        wanted = max((int(game.robot_power[r]) - cost) / (3000 if heavy else 150), -1)
        assert rows.obs.feature[i, at] == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("resource", ["ice", "ore"])
def test_robots_are_shown_the_nearest_source_that_is_free(resource: str) -> None:
    """By brute force over those listed for its home; never one where a friend stands."""
    rng = np.random.default_rng(9)
    pair = started(GameConfig.for_map_size(48), 7, rng, lambda env, rng: streams.prepare_robots(env, rng, 30, area=48))
    rows, game = Rows(pair, EVERYTHING), pair.game
    sources = np.flatnonzero(game[resource])
    names = [f"{resource}_dx", f"{resource}_dy", f"{resource}_distance"]
    occupied = 0
    for i in np.flatnonzero(rows.obs.kind > 0):
        player, cell = int(rows.obs.side[i]) % 2, int(rows.obs.cell[i])
        home = int(game.robot_home[player * MAX_ROBOTS + int(rows.obs.slot[i]) - MAX_FACTORIES])
        price = rows.static[0].home_price[home]
        costs = {}
        for near in map(int, sources):
            other = int(game.robot_at[near])
            free = other < 0 or near == cell or other // MAX_ROBOTS != player
            occupied += not free
            steps = abs(near // SIZE - cell // SIZE) + abs(near % SIZE - cell % SIZE)
            if free and int(near) in rows.static[0][f"{resource}_near"][home]:
                costs[near] = STEP * steps + int(price[near]) + CLEAR * int(game.rubble[near])
        dx, dy, distance = (rows.obs.feature[i, ROBOT_NAMES.index(name)] for name in names)
        shown = [n for n in costs if (n // SIZE - cell // SIZE) / 16 == dx and (n % SIZE - cell % SIZE) / 16 == dy and distance < 2]
        assert shown and costs[shown[0]] == min(costs.values())
    assert occupied > 5
