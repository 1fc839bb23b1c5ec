"""Lessons from replays, ours or Kaggle's: what was done by agents of which only a recording is at hand.

Every row is seen as a policy of ours would have seen it in that place, its own queue included: after a move or a dig the
queue that our codec writes for it, else none. Rewards are not known, so the value learns nothing from replays.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from engine.config import MAX_FACTORIES, MAX_ROBOTS, GameConfig
from engine.official_actions import MISSING, actions_to_orders
from engine.queues import take_orders
from engine.state import FACTORIES, NO_ACTION, empty_games, empty_orders
from training.imitation.lessons import Keeper, LessonConfig, Lessons
from wrappers.action import DIG, LONG, MOVE
from wrappers.judge import PLAYERS, JudgeGame
from wrappers.observation import Observation, empty_static, observe
from wrappers.teacher import allowed, decisions, has_choice

SIDES = ("left", "right")


class Recording(Protocol):
    """A match (`arena.replay_page.recording`): both sides gave `actions[t]` in the state `observations[t]`."""

    env_cfg: dict[str, Any]
    observations: list[dict[str, Any]]
    actions: list[dict[str, Any]]
    winner: str  # left, right, draw, or empty if it is not known


def lessons_of(match: Recording, config: LessonConfig, winner_only: bool = False) -> Lessons:
    """The lessons of a recorded match, of both sides, or of the one that won if one did.

    Raises `ValueError` for a match on another map size, and for one without a kept turn.
    """
    size = len(match.observations[0]["board"]["rubble"])
    if size != config.map_size:
        raise ValueError(f"The replay was played on a {size}x{size} map; these lessons are on {config.map_size}x{config.map_size}.")
    judge = JudgeGame({**GameConfig.for_map_size(size).official(), **match.env_cfg})  # some replays leave the rules out
    reader = _Reader(judge, config)
    for obs, actions in zip(match.observations, match.actions):
        judge.update(obs)
        if judge.game["real_step"] >= 0:
            reader.turn(actions)
    if len(match.observations) > len(match.actions):
        judge.update(match.observations[-1])
    players = [0, 1] if not winner_only or match.winner not in SIDES else [SIDES.index(match.winner)]
    return reader.lessons(players)


class _Reader:
    """Follows a replay and keeps what each side's agent did."""

    def __init__(self, judge: JudgeGame, config: LessonConfig) -> None:
        self.judge, self.config = judge, config
        self.games, self.static = empty_games(1), empty_static(1)
        self.orders = empty_orders(1)[0]
        self.seen = Observation(2, config.grid)
        self.action_rules = config.actions.rules()
        self.offered = np.array(config.actions.amounts_offered())
        self.keepers = (Keeper(), Keeper())
        self.doing = np.zeros((2 * MAX_ROBOTS, 3), np.int64)  # of each robot: creation number, kind and direction of its last action
        self.rng = np.random.default_rng(0)

    def turn(self, actions: dict[str, Any]) -> None:
        """Keep what the sides do in the judge's present state."""
        judge = self.judge
        self.games[0] = judge.game
        self.static[0] = judge.static
        game = self.games[0]
        self._own_queues(game)
        observe(self.games, judge.rules, self.action_rules, self.static, self.seen)
        masks = self.seen.mask.copy()
        wanted = self.rng.random() < self.config.keep
        for player, agent in enumerate(PLAYERS):
            self.games[0] = judge.game
            answer = {key: np.array(value) if isinstance(value, list) else value for key, value in (actions.get(agent) or {}).items()}
            actions_to_orders(answer if agent in actions else MISSING, game, judge.rules, player, self.orders)
            factory_action = np.full(FACTORIES, NO_ACTION, np.int8)
            take_orders(game, judge.rules, self.orders, factory_action)
            game["robot_power"] = judge.game["robot_power"]
            rows = slice(int(self.seen.first[player]), int(self.seen.first[player + 1]))
            slot = self.seen.slot[rows].copy()
            told = np.zeros((len(slot), 4), np.int64)
            said = decisions(game, judge.rules, player, slot, masks[rows], self.offered, factory_action, told)
            legal = said & allowed(masks[rows], told)
            self.keepers[player].tally(told, said, legal)
            if wanted and len(slot):
                self.keepers[player].keep(self.seen, player, rows, told, legal & has_choice(masks[rows]))
            self._remember(player, slot, told)

    def _own_queues(self, game: Any) -> None:
        """Queues as our codec would have left them."""
        same = self.doing[:, 0] == game["robot_id"]
        goes_on = same & ((self.doing[:, 1] == MOVE) | (self.doing[:, 1] == DIG))
        game["queue_len"] = goes_on
        game["queue"][:, 0] = 0
        game["queue"][:, 0, 0] = self.doing[:, 1] - 1
        game["queue"][:, 0, 1] = self.doing[:, 2]
        game["queue"][:, 0, 5] = LONG - 1

    def _remember(self, player: int, slot: np.ndarray, told: np.ndarray) -> None:
        robots = slot >= MAX_FACTORIES
        r = player * MAX_ROBOTS + slot[robots].astype(np.int64) - MAX_FACTORIES
        self.doing[r] = np.stack([self.judge.game["robot_id"][r], told[robots, 0], told[robots, 1]], 1)

    def lessons(self, players: list[int]) -> Lessons:
        """What was kept of these sides."""
        game = self.judge.game
        alive = [int(((game["factory_alive"] == 1) & (game["factory_owner"] == p)).sum()) for p in range(2)]
        outcome = np.array([game["lichen_total"], alive, game["robot_count"], (0, 0)], np.int64).T
        parts = [self.keepers[p] for p in players]
        whole = Keeper()
        for part in parts:
            for kept in part.parts:
                whole.parts.append({**kept, "view": np.full_like(kept["view"], len(whole.parts))})
            whole.count += part.count
        rows = sum(len(kept["slot"]) for kept in whole.parts)
        return whole.lessons(np.full(rows, np.nan), outcome, self.config.map_size)
