"""N games at a time: `Engine`, and the turn that every game plays.

`play_turn` is the order of a turn as the official engine has it; each line is a phase, found in the file of its name.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from engine.config import CELLS, GameConfig
from engine.goods import clear_factory_ground, gain_power, pickup, refine_and_drink, transfer
from engine.ground import dig, self_destruct
from engine.jit import jit
from engine.lichen import PADDED, decay, grow_and_water
from engine.movement import build, collide, move
from engine.opening import put_map, take_bids, take_placement
from engine.queues import begin_turn, collect, end_turn, recharge, take_orders
from engine.state import FACTORIES, ROBOTS, empty_games, empty_orders

if TYPE_CHECKING:
    from engine.maps import MapPool

FAILED_REWARD = -1000

# Working memory of a turn, one record a thread.
SCRATCH_DTYPE = np.dtype(
    [
        ("actors", np.int16, (ROBOTS,)),
        ("robot_action", np.int8, (ROBOTS,)),
        ("move_cost", np.int32, (ROBOTS,)),
        ("amounts", np.int32, (ROBOTS,)),
        ("factory_action", np.int8, (FACTORIES,)),
        ("newborn", np.int16, (FACTORIES,)),
        ("movers", np.int16, (ROBOTS,)),
        ("arrivals", np.int16, (CELLS,)),
        ("crowd", np.int16, (ROBOTS,)),
        ("packed", np.uint8, (PADDED,)),
        ("stamp", np.int64, (PADDED,)),
        ("now", np.int64),
        ("frontier", np.int16, (PADDED,)),
        ("tiles", np.int16, (FACTORIES * CELLS,)),
        ("strain_lichen", np.int32, (FACTORIES,)),
    ],
    align=True,
)


@jit
def play_phases(game, rules, orders, scratch):
    """One real turn, from the orders to the power gain."""
    for player in range(2):
        game.failed[player] |= orders.lost[player]
    begin_turn(game)
    take_orders(game, rules, orders, scratch.factory_action)
    robot_action, factory_action = scratch.robot_action, scratch.factory_action
    actors, move_cost = scratch.actors, scratch.move_cost
    count = collect(game, rules, actors, robot_action, move_cost, factory_action)

    dig(game, rules, actors, count, robot_action)
    any_death = self_destruct(game, rules, actors, count, robot_action)
    born = build(game, rules, factory_action, scratch.newborn)
    moved = move(game, rules, actors, count, robot_action, move_cost, scratch.movers)
    any_death |= collide(game, rules, scratch.movers, moved, scratch.newborn, born, scratch.arrivals, scratch.crowd)
    recharge(game, actors, count, robot_action)
    grow_and_water(game, rules, factory_action, scratch)
    transfer(game, rules, actors, count, robot_action, scratch.amounts)
    pickup(game, rules, actors, count, robot_action)
    decay(game, rules, scratch.strain_lichen)
    end_turn(game)
    refine_and_drink(game, rules)
    gain_power(game, rules)
    if any_death:
        clear_factory_ground(game)


@jit
def play_turn(game, rules, orders, scratch):
    """One turn of one game, opening included; rewards and the end as the official engine gives them."""
    if game.real_step >= 0:
        play_phases(game, rules, orders, scratch)
    else:
        if game.env_steps == 0:
            take_bids(game, rules, orders)
        else:
            take_placement(game, rules, orders)
        for player in range(2):
            orders.spawn[player] = -1
            orders.bid[player] = 0
            orders.spawn_water[player] = 0
            orders.spawn_metal[player] = 0
    for player in range(2):
        orders.lost[player] = 0
        alive = 0
        for f in range(game.factory_count):
            alive += game.factory_alive[f] and game.factory_owner[f] == player
        if alive == 0 and game.real_step >= 0:
            game.failed[player] = 1
        game.reward[player] = FAILED_REWARD if game.failed[player] else game.lichen_total[player]
    game.env_steps += 1
    game.real_step += 1
    game.done = game.failed[0] or game.failed[1] or game.real_step >= rules.max_episode_length


@jit
def play_turns(games, rules, orders, scratch, first, last):
    """One turn of games `first .. last - 1`; done games stand still."""
    for i in range(first, last):
        if not games[i].done:
            play_turn(games[i], rules, orders[i], scratch[0])


class Engine:
    """N games that advance together, in place.

    Attributes:
        games: record array [N] of `GAME_DTYPE`, the state.
        orders: record array [N] of `ORDERS_DTYPE`, what both sides do next; `step` uses it up.
        rules: the config as a record.
        threads: how many parts of the batch advance at once.
    """

    def __init__(self, config: GameConfig, num_games: int, threads: int = 1) -> None:
        if num_games < 1 or threads < 1:
            raise ValueError(f"num_games is {num_games} and threads is {threads}; both must be at least 1.")
        self.config = config
        self.rules = config.rules()
        self.games = empty_games(num_games)
        self.orders = empty_orders(num_games)
        self.threads = min(threads, num_games)
        self._scratch = np.zeros((self.threads, 1), SCRATCH_DTYPE).view(np.recarray)
        self._workers = ThreadPoolExecutor(self.threads) if self.threads > 1 else None

    @property
    def num_games(self) -> int:
        return len(self.games)

    def reset(self, i: int, pool: MapPool, index: int) -> None:
        """Start game `i` on map `index` of the pool, before the bid."""
        if pool.rubble.shape[1] != self.config.map_size:
            raise ValueError(f"The pool's maps are {pool.rubble.shape[1]} wide; this engine plays {self.config.map_size}.")
        self.games[i : i + 1] = np.zeros(1, self.games.dtype)
        self.orders[i : i + 1] = empty_orders(1)
        put_map(self.games[i], pool.rubble[index], pool.ice[index], pool.ore[index], pool.factories_per_team[index], pool.seeds[index])

    def step(self, first: int = 0, last: int | None = None) -> None:
        """Play one turn of games `first .. last - 1` (all by default) by their orders, and empty these orders.

        Orders of a robot that is not alive are neither used nor emptied.
        """
        last = self.num_games if last is None else last
        if self._workers is None or last - first == 1:
            play_turns(self.games, self.rules, self.orders, self._scratch[0], first, last)
            return
        edges = np.linspace(first, last, self.threads + 1).astype(int)
        jobs = [
            self._workers.submit(play_turns, self.games, self.rules, self.orders, self._scratch[k], edges[k], edges[k + 1])
            for k in range(self.threads)
        ]
        for job in jobs:
            job.result()
