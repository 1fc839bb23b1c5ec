"""A scripted agent as a teacher: what it would do with every row, whoever plays the side.

Agents plan ahead in queues, our policies decide every turn, and their queues differ: ours hold what the robot does now.
So the teacher is shown queues of its own in place of the game's. They hold what it ordered; where the robot did what
stands in front, the queue moves on, and where it did something else, the queue is emptied and the teacher plans anew.
Its decision for a robot is the front of that queue after its orders of this turn, as a row of our actions.
"""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from engine.config import MAX_FACTORIES, MAX_ROBOTS, QUEUE, SIZE, GameConfig
from engine.jit import jit
from engine.queues import advance_queue, take_orders
from engine.state import DX, DY, FACTORIES, NO_ACTION, empty_games, empty_orders
from wrappers.action import (
    BUILD_LIGHT,
    KINDS,
    LEVELS,
    MOVE,
    MOVE_BIT,
    PICKUP,
    PICKUP_BIT,
    RECHARGE,
    TRANSFER,
    TRANSFER_BIT,
    WAIT,
    factory_number,
    level_amount,
    most_given,
    most_taken,
)
from wrappers.scripted import Act, ScriptedSide


class Teacher:
    """A scripted agent beside one side of one game.

    Args:
        make: makes the agent of a match.
        config: the rules.
        player: the side it is asked about.
        amounts: [LEVELS] bool, the amounts on offer.
    """

    def __init__(self, make: Callable[[], Act], config: GameConfig, player: int, amounts: list[bool]) -> None:
        self.side = ScriptedSide(make, config)
        self.player = player
        self.offered = np.array(amounts, bool)
        self._own = slice(player * MAX_ROBOTS, (player + 1) * MAX_ROBOTS)
        self._seen = empty_games(1)
        self._orders = empty_orders(1)
        self._ident = np.zeros(MAX_ROBOTS, np.int32)  # whose queues are kept
        self._expected = np.zeros(MAX_ROBOTS, np.int16)  # where they are when they have done what was ordered
        self._decided = np.zeros((0, 4), np.int64)

    def open(self, game: Any, rules: Any) -> Any:
        """Its orders of the bid or the placement: a record of `ORDERS_DTYPE`, valid until the next call."""
        self._orders[0] = empty_orders(1)[0]
        self.side.write_orders(game, rules, self.player, self._orders[0])
        return self._orders[0]

    def decide(self, game: Any, rules: Any, slot: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What it would do with the side's rows `slot [m]` with masks `[m]`: actions `[m, 4]`, and `[m] bool` whether these say it."""
        seen = self._look(game)
        orders = self._orders[0]
        self.side.write_orders(seen, rules, self.player, orders)
        action = np.zeros((len(slot), 4), np.int64)
        factory_action = np.full(FACTORIES, NO_ACTION, np.int8)
        take_orders(seen, rules, orders, factory_action)
        seen["robot_power"] = game["robot_power"]  # as it will be when our codec reads amounts
        said = decisions(seen, rules, self.player, slot, mask, self.offered, factory_action, action)
        self._decided = action.copy()
        return action, said

    def queues(self) -> Any:
        """The game record that it was last shown, with its own queues as they are now."""
        return self._seen[0]

    def watch(self, slot: np.ndarray, action: np.ndarray) -> None:
        """The rows that it was asked about do `action [m, 4]`, which is legal; before the game moves on."""
        robots = slot >= MAX_FACTORIES
        obeyed = (action == self._decided).all(1)
        self._expected = self._seen[0]["robot_cell"][self._own].copy()
        follow(self._seen[0], self.player, slot[robots], obeyed[robots], self._expected)

    def state(self) -> dict[str, Any]:
        """What its next decisions depend on beside the game; the agent must have a `memory`."""
        seen = self._seen[0]
        return {
            "memory": self.side.memory,
            "queue": seen["queue"][self._own].copy(),
            "queue_len": seen["queue_len"][self._own].copy(),
            "ident": self._ident.copy(),
            "expected": self._expected.copy(),
            "decided": self._decided.copy(),
        }

    def load_state(self, state: dict[str, Any], game: Any) -> None:
        """Go on from `state()`, made when the game was as it is now."""
        self.side.memory = state["memory"]
        self._seen[0] = game
        for name in ("queue", "queue_len"):
            self._seen[0][name][self._own] = state[name]
        self._ident, self._expected, self._decided = state["ident"], state["expected"], state["decided"]

    def _look(self, game: Any) -> Any:
        """The game with the teacher's own queues; a robot that was not there before, or was held up, has an empty one."""
        seen = self._seen[0]
        own = self._own
        queue, length = seen["queue"][own].copy(), seen["queue_len"][own].copy()
        length[(self._ident != game["robot_id"][own]) | (self._expected != game["robot_cell"][own])] = 0
        self._seen[0] = game
        seen["queue"][own], seen["queue_len"][own] = queue, length
        self._ident = game["robot_id"][own].copy()
        return seen


def allowed(mask: np.ndarray, action: np.ndarray) -> np.ndarray:
    """[m] bool, whether the masks `[m]` allow the actions `[m, 4]` (amounts apart)."""
    kind, direction, resource = action[:, 0], action[:, 1], action[:, 2]
    bit = np.select(
        [kind == MOVE, kind == TRANSFER, kind == PICKUP],
        [MOVE_BIT + direction, TRANSFER_BIT + direction * 5 + resource, PICKUP_BIT + resource],
        kind,
    )
    return (mask >> kind & mask >> bit & 1) > 0


def has_choice(mask: np.ndarray) -> np.ndarray:
    """[m] bool, whether the masks `[m]` allow more than one kind: where there is one, nothing is to be learned."""
    kinds = mask & (1 << KINDS) - 1
    return kinds & kinds - 1 > 0


@jit
def nearest_level(most, wanted, offered):
    """The level on offer that moves about as much as `wanted` would of `most`; of two, the larger."""
    best = -1
    least = 1 << 30
    for level in range(LEVELS - 1, -1, -1):
        miss = abs(level_amount(most, level) - min(wanted, max(most, 1)))
        if offered[level] and miss < least:
            least = miss
            best = level
    return best


@jit
def decision(game, rules, r, offered, action):
    """The row `action [4]` that stands for the front of robot `r`'s queue, with the nearest amount on offer; False if none does.

    An empty queue and a centre move are WAIT, and so is a recharge: it does nothing until it is satisfied.
    """
    for j in range(4):
        action[j] = 0
    if game.queue_len[r] == 0:
        return True
    front = game.queue[r, 0]
    kind = int(front[0]) + 1
    if kind == RECHARGE or (kind == MOVE and front[1] == 0):
        return True
    action[0] = kind
    if kind == MOVE or kind == TRANSFER:
        action[1] = front[1]
    if kind == TRANSFER:
        action[2] = front[2]
        action[3] = nearest_level(most_given(game, rules, r, int(front[1]), int(front[2])), int(front[3]), offered)
    elif kind == PICKUP:
        action[2] = front[2]
        action[3] = nearest_level(most_taken(game, rules, r, int(front[2])), int(front[3]), offered)
    return 0 <= action[1] <= 4 and 0 <= action[2] <= 4


@jit
def skip_nothing(game, rules, r, mask):
    """Drop from the front of robot `r`'s queue what is over at once: a satisfied recharge, and what the mask refuses since nothing
    would be moved (agents refill the price of an order into a full battery)."""
    if game.robot_power[r] < rules.action_queue_power_cost[game.robot_heavy[r]]:
        return
    for _ in range(QUEUE):
        if game.queue_len[r] == 0:
            return
        front = game.queue[r, 0]
        if front[0] == RECHARGE - 1:
            over = game.robot_power[r] >= front[3]
        elif front[0] == TRANSFER - 1:
            over = (mask >> (TRANSFER_BIT + int(front[1]) * 5 + int(front[2]))) & 1 == 0
        elif front[0] == PICKUP - 1:
            over = (mask >> (PICKUP_BIT + int(front[2]))) & 1 == 0
        else:
            over = False
        if not over:
            return
        advance_queue(game, r)


@jit
def decisions(game, rules, player, slot, mask, offered, factory_action, action):
    """`decision` for the rows `slot [m]` of a side into `action [m, 4]`; factories by `factory_action`. Returns [m] bool."""
    said = np.ones(len(slot), np.bool_)
    for i in range(len(slot)):
        if slot[i] < MAX_FACTORIES:
            order = factory_action[factory_number(game, player, slot[i])]
            action[i, 0] = WAIT if order == NO_ACTION else order + BUILD_LIGHT
            continue
        r = player * MAX_ROBOTS + int(slot[i]) - MAX_FACTORIES
        skip_nothing(game, rules, r, int(mask[i]))
        said[i] = decision(game, rules, r, offered, action[i])
    return said


@jit
def follow(game, player, slot, obeyed, expected):
    """Move the queues of robots `slot [m]` on where they obeyed, and empty the others'; `expected [MAX_ROBOTS]` becomes where they go."""
    for i in range(len(slot)):
        r = player * MAX_ROBOTS + int(slot[i]) - MAX_FACTORIES
        if not obeyed[i]:
            game.queue_len[r] = 0
            expected[r - player * MAX_ROBOTS] = -1
        elif game.queue_len[r] > 0 and game.queue[r, 0, 0] != RECHARGE - 1:
            if game.queue[r, 0, 0] == MOVE - 1:
                expected[r - player * MAX_ROBOTS] += DX[game.queue[r, 0, 1]] * SIZE + DY[game.queue[r, 0, 1]]
            advance_queue(game, r)
