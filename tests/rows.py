"""Playing by rows in tests: legal random choices, and what became of them in the official engine."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.engine import Engine
from engine.official import PLAYERS
from engine.official_actions import orders_to_actions
from engine.state import empty_orders
from tests.parity import Pair
from wrappers.action import KINDS, MOVE, MOVE_BIT, PICKUP, PICKUP_BIT, TRANSFER, TRANSFER_BIT, ActionConfig, write_all_orders
from wrappers.observation import Observation, empty_static, observe, write_static

# how much likelier than the others a kind is drawn where it is legal
LIVELY = np.array([0.5, 4, 2, 2, 12, 0.05, 0.3, 1, 2, 3], float)


def legal_actions(mask: int) -> list[list[int]]:
    """Every (kind, direction, resource) that a mask allows, with amount level 0."""
    found = []
    for kind in range(KINDS):
        if not mask >> kind & 1:
            continue
        if kind == MOVE:
            found += [[kind, d, 0, 0] for d in range(5) if mask >> (MOVE_BIT + d) & 1]
        elif kind == TRANSFER:
            found += [[kind, k // 5, k % 5, 0] for k in range(25) if mask >> (TRANSFER_BIT + k) & 1]
        elif kind == PICKUP:
            found += [[kind, 0, r, 0] for r in range(5) if mask >> (PICKUP_BIT + r) & 1]
        else:
            found.append([kind, 0, 0, 0])
    return found


def sample(mask: np.ndarray, rng: np.random.Generator, weights: np.ndarray = LIVELY) -> np.ndarray:
    """A legal action for every row: `[M]` masks to `[M, 4]`."""
    action = np.zeros((len(mask), 4), np.int64)
    for i, bits in enumerate(mask.tolist()):
        choices = legal_actions(bits)
        p = np.array([weights[c[0]] / sum(c[0] == other[0] for other in choices) for c in choices])
        action[i] = choices[rng.choice(len(choices), p=p / p.sum())]
        action[i, 3] = rng.integers(3)
    return action


class Rows:
    """What both sides of a `Pair` see, and turns played by rows on both engines."""

    def __init__(self, pair: Pair, actions: ActionConfig | None = None) -> None:
        self.pair = pair
        self.engine: Engine = pair.engine
        self.rules = self.engine.rules
        self.action_rules = (actions or ActionConfig()).rules()
        self.static = empty_static(1)
        write_static(self.engine.games[0], self.rules, self.static[0])
        self.obs = Observation(2)
        self.look()

    def look(self) -> Observation:
        observe(self.engine.games, self.rules, self.action_rules, self.static, self.obs)
        return self.obs

    def official(self, action: np.ndarray) -> dict[str, Any]:
        """The action dicts of both sides for `action [M, 4]`."""
        orders = empty_orders(1)
        obs = self.obs
        write_all_orders(self.engine.games, self.rules, obs.side, obs.slot, action, obs.rows, orders)
        return {agent: orders_to_actions(self.engine.games[0], orders[0], player) for player, agent in enumerate(PLAYERS)}

    def play(self, action: np.ndarray) -> None:
        """One turn of all rows on both engines, and a look at what came of it."""
        self.pair.step(self.official(action))
        if not self.pair.done:
            self.look()


def fronts(pair: Pair, actions: dict[str, Any]) -> dict[str, list[int] | None]:
    """What stands in front of every robot's queue once these orders are in, as `[type .. n]`; None for nothing."""
    found: dict[str, list[int] | None] = {}
    for agent in PLAYERS:
        for unit_id, unit in pair.env.state.units[agent].items():
            queue = [a.state_dict().tolist() for a in unit.action_queue]
            sent = (actions.get(agent) or {}).get(unit_id)
            if sent is not None and unit.power >= unit.unit_cfg.ACTION_QUEUE_POWER_COST:
                queue = [list(map(int, entry)) for entry in sent]
            found[unit_id] = queue[0] if queue else None
    return found


def executed(pair: Pair, unit_id: str, front: list[int]) -> bool | None:
    """After the turn: whether the official engine used up one execution of that front; None if the robot is gone."""
    for agent in PLAYERS:
        unit = pair.env.state.units[agent].get(unit_id)
        if unit is not None:
            queue = unit.action_queue
            if front[5] == 1:
                return len(queue) == 0
            return len(queue) > 0 and queue[0].n == front[5] - 1
    return None
