"""The agent on the judge's machine: the packaged policy, asked once a turn, and what it answers when something breaks.

Copied into submissions, so it needs numpy and torch only and keeps to Python 3.7. Whatever goes wrong inside is written
to stderr, counted, and answered with an order that is legal and does nothing: a lost turn, not a lost match.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from agent.advisers import ADVISERS
from agent.compact import load_play_state, whole
from agent.lichen_opening import opening_of
from agent.policy import Policy
from agent.scripted.protocol import FACTION
from submission.thoughts import recorder
from wrappers.action import ActionConfig, write_orders
from wrappers.advice import ask, write_advice
from wrappers.judge import PLAYERS, JudgeGame
from wrappers.observation import Observation, observe_side
from wrappers.teacher import Teacher

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOW_TIME = 1.0  # seconds of overage below which robots are left to their queues
errors = {"count": 0}  # internal errors of all matches in this process so far


@lru_cache(maxsize=1)
def load(folder: str = PACKAGE) -> tuple[Policy, ActionConfig, bool]:
    """The policy, the actions on offer, and whether to play greedily, from `config.json` and `weights.npz`."""
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    with np.load(os.path.join(folder, "weights.npz"), allow_pickle=False) as archive:
        state = whole({name: archive[name] for name in archive.files})
    policy = Policy.from_config(config["policy"])
    load_play_state(policy, state)
    policy.eval()
    return policy, ActionConfig(**config["actions"]), config["greedy"]


def note_error() -> None:
    """Count the exception that is being handled, and tell stderr."""
    errors["count"] += 1
    try:
        print(f"Internal error {errors['count']}, answered with nothing:", file=sys.stderr)
        traceback.print_exc(file=sys.stderr)
    except (OSError, ValueError):  # nobody listens: stderr is closed, or its disk is full
        return


def lost_turn() -> dict[str, Any]:
    """The answer to a message that cannot be read at all."""
    note_error()
    return {}


def prepare() -> None:
    """Load everything while the judge loads the agent, which costs no turn; a failure is told now and again in turn 0."""
    torch.set_num_threads(1)  # the judge gives one core, and more threads would wait for each other
    try:
        load()
    except Exception:  # noqa: BLE001 the match goes on with idle turns
        note_error()


class Player:
    """One side of one match. `errors` counts the turns that were answered with nothing because something broke."""

    def __init__(self, player: str, env_cfg: dict[str, Any], agent: tuple[Policy, ActionConfig, bool] | None = None) -> None:
        self.name = player
        self.player = PLAYERS.index(player)
        self.policy, actions, self.greedy = agent or load()
        self.action_rules = actions.rules()
        self.opening = opening_of(actions)
        self.judge = JudgeGame(env_cfg)
        self.observation = Observation(1, self.policy.sizes["plane_size"], self.policy.sizes.get("advice", 0))
        name = self.policy.config.adviser
        self.adviser = Teacher(ADVISERS[name], self.judge.config, self.player, actions.amounts_offered()) if name is not None else None
        self.generator = torch.Generator().manual_seed(self.player)
        self.recorder = recorder(player)
        self.errors = 0

    def act(self, obs: dict[str, Any], remaining_overage: float) -> dict[str, Any]:
        """The judge's action for its observation, whole at first and changes later."""
        try:
            return self._act(obs, remaining_overage)
        except Exception:  # noqa: BLE001 a turn is lost, not the match
            self.errors += 1
            note_error()
            self.judge.forget_orders()  # some may be written already
            return nothing(obs, self.name)

    def _act(self, obs: dict[str, Any], remaining_overage: float) -> dict[str, Any]:
        judge = self.judge
        judge.update(obs)
        game, rules = judge.game, judge.rules
        if game.real_step < 0:
            self.opening(game, rules, self.player, judge.orders)
        elif remaining_overage >= LOW_TIME:
            seen = self.observation
            observe_side(game, rules, self.action_rules, judge.static, self.player, seen)
            if seen.rows > 0:
                if self.adviser is not None:
                    write_advice(seen, slice(0, seen.rows), ask(self.adviser, game, rules, seen.slot, seen.mask))
                if self.recorder is None:
                    action = self.policy.act(seen, self.generator, self.greedy)
                else:
                    action = self.recorder.act(self.policy, int(game.env_steps), seen, self.generator, self.greedy)
                write_orders(game, rules, self.player, seen.slot, action, judge.orders)
                if self.adviser is not None:
                    self.adviser.watch(seen.slot, action)
        return judge.actions(self.player)


def nothing(obs: Any, player: Any) -> dict[str, Any]:
    """A legal order that does no more than it must: no bid, a factory on the first free cell, no orders in the game itself."""
    try:
        if obs["real_env_steps"] >= 0:
            return {}
        team = obs["teams"].get(player)
        if team is None:
            return {"faction": FACTION, "bid": 0}
        left = team["factories_to_place"]
        step = obs["real_env_steps"] + 2 * obs["board"]["factories_per_team"] + 1
        if left == 0 or bool(step % 2) != bool(team["place_first"]):
            return {}
        x, y = np.argwhere(np.array(obs["board"]["valid_spawns_mask"], dtype=bool))[0]
        return {"spawn": [int(x), int(y)], "water": team["water"] // left, "metal": team["metal"] // left}
    except Exception:  # noqa: BLE001 an observation of another shape than the judge's: told where the turn's error is
        return {}


def answer(players: dict[str, Player], observation: Any, configuration: Any) -> dict[str, Any]:
    """The action for one call of the judge; `players` holds the caller's matches in progress, by side.

    `observation` and `configuration` are dicts or have attributes; `obs` in it is a dict or JSON text. The rules come
    with the configuration, or in `info` of the first message of the stand-alone protocol.
    """
    obs, name = None, None
    try:
        name = _get(observation, "player")
        obs = _get(observation, "obs")
        obs = json.loads(obs) if isinstance(obs, str) else obs
        if isinstance(obs["board"]["rubble"], list):  # the whole board: a match begins
            env_cfg = _get(_get(observation, "info") or {}, "env_cfg") or _get(configuration, "env_cfg")
            players.pop(name, None)
            players[name] = Player(name, env_cfg)
        return players[name].act(obs, float(_get(observation, "remainingOverageTime", 60.0)))
    except Exception:  # noqa: BLE001 the match goes on with idle turns
        note_error()
        return nothing(obs, name)


def _get(source: Any, name: str, default: Any = None) -> Any:
    return source.get(name, default) if isinstance(source, dict) else getattr(source, name, default)
