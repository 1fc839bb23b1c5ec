"""A policy on the judge's machine: asked once a turn (`submission.answers`).

Copied into submissions, so it needs numpy and torch only and keeps to Python 3.7.
"""

from __future__ import annotations

import json
import os
from functools import lru_cache
from typing import Any

import numpy as np
import torch

import submission.answers as answers
from agent.advisers import ADVISERS
from agent.compact import load_play_state, whole
from agent.lichen_opening import opening_of
from agent.policy import Policy
from submission.answers import errors, lost_turn, note_error, nothing
from submission.thoughts import recorder
from wrappers.action import ActionConfig, write_orders
from wrappers.advice import ask, write_advice
from wrappers.observation import observe_side
from wrappers.teacher import Teacher

__all__ = ["Player", "answer", "errors", "load", "lost_turn", "nothing", "prepare"]
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


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


def prepare() -> None:
    """Load everything while the judge loads the agent, which costs no turn; a failure is told now and again in turn 0."""
    torch.set_num_threads(1)  # the judge gives one core, and more threads would wait for each other
    try:
        load()
    except Exception:  # noqa: BLE001 the match goes on with idle turns
        note_error()


class Player(answers.Player):
    """One side of one match."""

    def __init__(self, player: str, env_cfg: dict[str, Any], agent: tuple[Policy, ActionConfig, bool] | None = None) -> None:
        super().__init__(player, env_cfg)
        self.policy, actions, self.greedy = agent or load()
        self.action_rules = actions.rules()
        self.opening = opening_of(actions)
        self.observation = self.policy.observation(1)
        name = self.policy.config.adviser
        self.adviser = Teacher(ADVISERS[name], self.judge.config, self.player, actions.amounts_offered()) if name is not None else None
        self.generator = torch.Generator().manual_seed(self.player)
        self.recorder = recorder(player)

    def order(self) -> None:
        """Open, or let the policy decide."""
        judge, seen = self.judge, self.observation
        game, rules = judge.game, judge.rules
        if game.real_step < 0:
            self.opening(game, rules, self.player, judge.orders)
            return
        observe_side(game, rules, self.action_rules, judge.static, self.player, seen)
        if seen.rows == 0:
            return
        if self.adviser is not None:
            write_advice(seen, slice(0, seen.rows), ask(self.adviser, game, rules, seen.slot, seen.mask))
        if self.recorder is None:
            action = self.policy.act(seen, self.generator, self.greedy)
        else:
            action = self.recorder.act(self.policy, int(game.env_steps), seen, self.generator, self.greedy)
        write_orders(game, rules, self.player, seen.slot, action, judge.orders)
        if self.adviser is not None:
            self.adviser.watch(seen.slot, action)


def answer(players: dict[str, Any], observation: Any, configuration: Any) -> dict[str, Any]:
    """`submission.answers.answer` of this agent."""
    return answers.answer(Player, players, observation, configuration)
