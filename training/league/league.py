"""The league: a pool of opponents for self-play, how hard each of them is, and when the policy itself enters.

In a share of the games one side is played by a member of the pool (`training.league.seats`): a past policy of this run, a
checkpoint that the user gave, or a scripted agent. Which one, is drawn by prioritised fictitious self-play: in proportion
to `(1 - p) ** hardness`, `p` being the policy's win rate against it (f_hard of Vinyals et al. 2019, "Grandmaster level in
StarCraft II", Methods; there too a share of the games is played against oneself). `p` counts a draw as half a win, halves
the weight of a game about every 34 games (decay 0.98), and starts from one win and one loss.

The policy as it is enters when it has won at least `win_rate` of its finished training games against the last four
entries since the last one entered, or after `max_steps`. Training games cost nothing and are played as the policy plays;
as they lag behind it, they rather delay an entry than hasten it. A full pool drops the past policy that is easiest
to beat, never one of the last four, and never what the user gave.

Ratings are openskill's, as in `arena.rating`: every finished league game moves the policy's and the opponent's, and an
entry takes over the policy's. The league is equal on all ranks: each is told the games of all (`Played`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from agent.plain import from_dict, to_dict
from agent.policy import Policy
from agent.stored import Agent, load_agent
from arena.evaluate import Scripted, scripted_named
from training.config import LeagueConfig
from wrappers.action import ActionConfig

DECAY = 0.98  # of the weight of a game in the win rate, at each later game against the same opponent
LAST = 4  # entries that the policy must beat to enter
SELF = -1  # "opponent" of a game that the policy plays against itself
_ALIKE = ("entity", "factory", "planes", "scalars")  # the sizes in which an opponent must see as this run's policy does


class Played(NamedTuple):
    """A finished game against a member; `score` is the policy's: 1, 0.5 or 0."""

    uid: int
    score: float


@dataclass
class Member:
    """An opponent in the pool. All but `weights`, `policy` and `actions` are plain numbers and words."""

    uid: int
    name: str
    kind: Literal["own", "given", "script"]
    entered: int
    """Environment step of the run."""
    rating: float
    sigma: float
    wins: float = 0.0
    """The policy's wins against it, decayed, as are `games`."""
    games: float = 0.0
    new_wins: float = 0.0
    """The same since the last entry, not decayed."""
    new_games: int = 0
    total: int = 0
    retired: bool = False
    """Dropped; it plays the games to their end that it is in."""
    weights: dict[str, torch.Tensor] | None = None
    policy: dict[str, Any] | None = None
    """The network's config, as `Policy.full_config` makes it."""
    actions: dict[str, Any] | None = None

    @property
    def win_rate(self) -> float:
        """Estimate of the policy's win rate against it."""
        return (self.wins + 1.0) / (self.games + 2.0)


class League:
    """The pool, its ratings and its history.

    Args:
        config: the options; `share` must be above 0.
        policy: the run's; its weights are the first entry.
        actions: what it is offered to do.
        device: where opponents decide.

    Raises `ValueError` for a scripted agent that is neither built in nor a program. Given checkpoints are read when they are first needed
    (`load_state` brings what a resumed run needs), which raises `CheckpointError`.
    """

    def __init__(self, config: LeagueConfig, policy: Policy, actions: ActionConfig, device: torch.device) -> None:
        from openskill.models import PlackettLuce

        self.config, self.own_config, self.own_actions, self.device = config, policy.full_config(), actions, device
        self.model = PlackettLuce()
        self.rating, self.sigma = float(self.model.mu), float(self.model.sigma)
        self.members: dict[int, Member] = {}
        self.last_entry = 0
        self.games = 0
        self._agents: dict[int, Agent] = {}
        for name in config.scripted:
            scripted_named(name)
            self._add(name, "script", 0)
        for path in config.checkpoints:
            self._add(path, "given", 0)
        self.enter(policy, 0)

    def _add(self, name: str, kind: Literal["own", "given", "script"], step: int) -> Member:
        uid = max(self.members, default=-1) + 1
        self.members[uid] = Member(uid, name, kind, step, self.rating, self.sigma)
        return self.members[uid]

    def enter(self, policy: Policy, step: int) -> None:
        """Put the policy as it is into the pool, and drop the easiest one if the pool is full."""
        member = self._add(f"step-{step}", "own", step)
        member.weights = {name: tensor.detach().cpu().clone() for name, tensor in policy.state_dict().items()}
        member.policy, member.actions = self.own_config, to_dict(self.own_actions)
        self.last_entry = step
        for other in self.members.values():
            other.new_wins, other.new_games = 0.0, 0
        active = self.active()
        if len(active) > self.config.pool:
            own = [other for other in active if other.kind == "own"][:-LAST]
            max(own, key=lambda other: other.win_rate).retired = True

    def begin_with(self, policy: Policy) -> None:
        """The weights of a run that has not begun were set from elsewhere: they are the first entry."""
        self.last_four()[-1].weights = {name: tensor.detach().cpu().clone() for name, tensor in policy.state_dict().items()}
        self._agents.clear()

    def active(self) -> list[Member]:
        """Who can be drawn, in the order of entry."""
        return [member for member in self.members.values() if not member.retired]

    def last_four(self) -> list[Member]:
        return [member for member in self.active() if member.kind == "own"][-LAST:]

    def priority(self, members: list[Member]) -> np.ndarray:
        """Probability of each of these to be drawn, `[k]`."""
        weight = np.array([(1.0 - member.win_rate) ** self.config.hardness for member in members])
        return weight / weight.sum()

    def agent(self, uid: int) -> Agent:
        """The policy of a member that is no script."""
        if uid not in self._agents:
            member = self.members[uid]
            if member.weights is None or member.policy is None or member.actions is None:
                self._read(member)
            assert member.weights is not None and member.policy is not None and member.actions is not None
            with torch.random.fork_rng(devices=[]):  # making a network draws weights that are replaced at once
                policy = Policy.from_config(member.policy)
            policy.load_state_dict(member.weights)
            self._agents[uid] = Agent(policy.to(self.device).eval().requires_grad_(False), from_dict(ActionConfig, member.actions))
        return self._agents[uid]

    def scripted(self, uid: int) -> Scripted:
        """A member that is one."""
        return scripted_named(self.members[uid].name)

    def _read(self, member: Member) -> None:
        """A checkpoint that the user gave."""
        agent, _, _ = load_agent(member.name)
        for name in _ALIKE:
            if agent.policy.sizes[name] != self.own_config["sizes"][name]:
                raise ValueError(
                    f"League opponent {member.name} sees {name} of size {agent.policy.sizes[name]}; this run's is "
                    f"{self.own_config['sizes'][name]}, so it cannot play here."
                )
        adviser = agent.policy.config.adviser
        features = agent.policy.config.features
        ours = features in ((), tuple(self.own_config["features"])) and agent.actions == self.own_actions
        if adviser is not None and not (adviser == self.own_config["adviser"] and ours):
            raise ValueError(
                f"League opponent {member.name} has the adviser {adviser}; it can play in runs only that have the same one, offer the "
                "same actions and see the same."
            )
        member.weights, member.policy, member.actions = agent.policy.state_dict(), agent.policy.full_config(), to_dict(agent.actions)

    def learn_of(self, games: Iterable[Played], playing: set[int], step: int, policy: Policy) -> dict[str, float]:
        """Book the finished games of all ranks; perhaps the policy enters. `playing` are members that are still in a game.

        Returns the metrics, or none if nothing has changed.
        """
        changed = False
        for game in games:
            self._book(self.members[game.uid], game.score)
            changed = True
        if self.may_enter(step):
            self.enter(policy, step)
            changed = True
        for uid in [uid for uid, member in self.members.items() if member.retired and uid not in playing]:
            del self.members[uid]
            self._agents.pop(uid, None)
        return self.metrics() if changed else {}

    def _book(self, member: Member, score: float) -> None:
        self.games += 1
        member.total += 1
        member.wins, member.games = DECAY * member.wins + score, DECAY * member.games + 1.0
        member.new_wins, member.new_games = member.new_wins + score, member.new_games + 1
        mine, theirs = self.model.rating(self.rating, self.sigma), self.model.rating(member.rating, member.sigma)
        ranks = [1.0, 1.0] if score == 0.5 else [1.0, 2.0] if score == 1 else [2.0, 1.0]
        ((mine,), (theirs,)) = self.model.rate([[mine], [theirs]], ranks=ranks)
        self.rating, self.sigma = float(mine.mu), float(mine.sigma)
        member.rating, member.sigma = float(theirs.mu), float(theirs.sigma)

    def may_enter(self, step: int) -> bool:
        """Whether the policy has beaten the last four often enough, or has waited for `max_steps`."""
        last = self.last_four()
        games = sum(member.new_games for member in last)
        beaten = games >= self.config.min_games and sum(member.new_wins for member in last) >= self.config.win_rate * games
        return beaten or step - self.last_entry >= self.config.max_steps

    def metrics(self) -> dict[str, float]:
        """The policy's rating, and of each member in the pool its rating and the policy's win rate against it."""
        active = self.active()
        values = {
            "league/rating": self.rating,
            "league/rating_sigma": self.sigma,
            "league/pool": float(len(active)),
            "league/games": float(self.games),
            "league/last_entry": float(self.last_entry),
        }
        for member in active:
            if member.total:
                values[f"league/win_rate/{member.name}"] = member.win_rate
                values[f"league/rating/{member.name}"] = member.rating
        return values

    def state(self) -> dict[str, Any]:
        """Pool, weights, ratings and results."""
        for member in self.members.values():
            if member.kind == "given" and member.weights is None:
                self._read(member)
        return {
            "members": [vars(member).copy() for member in self.members.values()],
            "rating": self.rating,
            "sigma": self.sigma,
            "last_entry": self.last_entry,
            "games": self.games,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        self.members = {member["uid"]: Member(**member) for member in state["members"]}
        self.rating, self.sigma = state["rating"], state["sigma"]
        self.last_entry, self.games = state["last_entry"], state["games"]
        self._agents.clear()
