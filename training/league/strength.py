"""How strong the policy is against the league's pool, in one number: by this the run's best checkpoint is chosen.

The policy as it is plays the hardest members of the pool on maps that training never sees, each map from both sides, in
the fast arena. Its rating is a performance rating, as in chess: the one at which the expected score against these members,
at their ratings, is the score that was reached. It depends on these games alone, so it does not lag behind the policy as
the rating of the training games does; with few games it is noisy (about 1.5 for 32 games).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from agent.stored import Agent
from arena.evaluate import EVALUATION_SEEDS
from arena.fast import Fixture, play_games
from engine.config import GameConfig
from training.league.league import League

BETA = 25 / 6  # openskill's: how much a game's performance varies about the skill
FIRST_SEED = EVALUATION_SEEDS + 5_000  # apart from the maps of evaluations
MOST = 8  # members met


def performance_rating(ratings: Sequence[float], scores: Sequence[float]) -> float:
    """The rating that explains these scores (1, 0.5 or 0) in games against players of these ratings.

    The chance to win is that of openskill's model, `Phi((mine - theirs) / (sqrt(2) * beta))`. One draw more is counted
    against their mean, so that all wins have a finite rating too.
    """
    if not ratings or len(ratings) != len(scores):
        raise ValueError(f"There are {len(ratings)} ratings and {len(scores)} scores; one score for each of at least one game is needed.")
    mean = sum(ratings) / len(ratings)
    ratings, reached = [*ratings, mean], sum(scores) + 0.5
    chance = NormalDist(0.0, math.sqrt(2.0) * BETA).cdf
    low, high = min(ratings) - 100.0, max(ratings) + 100.0
    for _ in range(60):
        middle = (low + high) / 2
        if sum(chance(middle - rating) for rating in ratings) < reached:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def measure(agent: Agent, league: League, config: GameConfig, games: int) -> dict[str, float]:
    """Play about `games` games against the hardest members: `rating` as above, and `pool_win_rate`, a draw being half a win.

    Games are full length; nothing of it touches the training or its random state.
    """
    members = sorted(league.active(), key=lambda member: (member.win_rate, -member.uid))[: min(MOST, max(games // 2, 1))]
    maps = max(games // (2 * len(members)), 1)
    fixtures, ratings, ours = [], [], []
    for k, member in enumerate(members):
        other = league.scripted(member.uid) if member.kind == "script" else league.agent(member.uid)
        for number in range(maps):
            seed = FIRST_SEED + k * maps + number
            fixtures += [Fixture(agent, other, seed), Fixture(other, agent, seed)]
            ours += ["left", "right"]
            ratings += [member.rating, member.rating]
    scores = [0.0] * len(fixtures)
    for i, outcome in play_games(fixtures, config):
        scores[i] = 0.5 if outcome.winner == "draw" else float(outcome.winner == ours[i])
    return {"rating": performance_rating(ratings, scores), "pool_win_rate": sum(scores) / len(scores)}
