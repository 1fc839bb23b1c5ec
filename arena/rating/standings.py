"""From games to a ranking: ratings with uncertainty, win rates with intervals, who beat whom, and whether the order is certain."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

from arena.rating.results import Game

SHOWN = 0.95  # level of the intervals in tables and plots


@dataclass
class Meeting:
    """One player's games against another (or against all)."""

    wins: int = 0
    draws: int = 0
    losses: int = 0

    @property
    def games(self) -> int:
        return self.wins + self.draws + self.losses

    @property
    def score(self) -> float:
        """Wins, a draw being half of one."""
        return self.wins + self.draws / 2

    def add(self, score: float) -> None:
        """Count a game with score 1, 0.5 or 0."""
        self.wins += score == 1
        self.draws += score == 0.5
        self.losses += score == 0


@dataclass
class Standing:
    """One player's line of the table. `rating` and `sigma` are openskill's: mean and standard deviation of the skill."""

    ident: str
    name: str
    rating: float = 0.0
    sigma: float = 0.0
    total: Meeting = field(default_factory=Meeting)
    lichen: float = 0.0
    """Mean of a game."""
    survival: float = 0.0
    """Share of games at whose end it owned a factory and had not failed."""
    faults: int = 0
    """Games lost by a crash, a time-out or an invalid action."""

    @property
    def margin(self) -> float:
        """Half of the rating's 95 % interval."""
        return z_of(SHOWN) * self.sigma


@dataclass(frozen=True)
class Table:
    """Players by rating, best first, and `cross[a, b]`: the games of `a` against `b`, by identity."""

    standings: list[Standing]
    cross: dict[tuple[str, str], Meeting]
    games: list[Game]

    def referees(self) -> str:
        """Which referee played how many games, in words."""
        count = Counter(game.referee for game in self.games)
        return " and ".join(f"{number} by the {name} referee" for name, number in sorted(count.items())) or "none"


def z_of(level: float) -> float:
    """Standard deviations on each side of the mean that hold `level` of a normal distribution."""
    return NormalDist().inv_cdf(0.5 + level / 2)


def wilson(score: float, games: int, level: float = SHOWN) -> tuple[float, float]:
    """Wilson's score interval of a win rate; 0 to 1 without games. Draws as half wins make it wider than needed, never narrower."""
    if games == 0:
        return 0.0, 1.0
    z = z_of(level)
    rate = score / games
    middle = rate + z * z / (2 * games)
    half = z * math.sqrt(rate * (1 - rate) / games + z * z / (4 * games * games))
    scale = 1 + z * z / games
    return max((middle - half) / scale, 0.0), min((middle + half) / scale, 1.0)


def tabulate(games: Iterable[Game]) -> Table:
    """The table of these games; the same for the same games in any order."""
    games = sorted(games, key=lambda game: game.key)
    by_ident: dict[str, Standing] = {}
    cross: dict[tuple[str, str], Meeting] = {}
    for game in games:
        for side in range(2):
            me, other = game.players[side], game.players[1 - side]
            standing = by_ident.setdefault(me, Standing(me, game.names[side]))
            standing.name = game.names[side]
            standing.total.add(game.score(side))
            cross.setdefault((me, other), Meeting()).add(game.score(side))
            fault = game.errors[side] is not None and game.errors[side] != "lost all factories"
            standing.faults += fault
            standing.lichen += game.lichen[side]
            standing.survival += game.factories[side] > 0 and not fault
    for standing in by_ident.values():
        standing.lichen /= standing.total.games
        standing.survival /= standing.total.games
    _rate(games, by_ident)
    _tell_apart(by_ident.values())
    # equal ratings are ordered by what every reader would look at next
    order = sorted(by_ident.values(), key=lambda s: (-s.rating, -s.total.score / s.total.games, s.name))
    return Table(order, cross, games)


def _rate(games: Sequence[Game], by_ident: dict[str, Standing]) -> None:
    """Openskill's ratings (Plackett-Luce; the default scale, where a newcomer is 25 +- 8.3), game by game in the order of maps."""
    from openskill.models import PlackettLuce

    model = PlackettLuce()
    ratings = {ident: model.rating(name=ident) for ident in by_ident}
    for game in games:
        left, right = game.players
        ranks = {"left": [1.0, 2.0], "right": [2.0, 1.0], "draw": [1.0, 1.0]}[game.winner]
        ([ratings[left]], [ratings[right]]) = model.rate([[ratings[left]], [ratings[right]]], ranks=ranks)
    for ident, standing in by_ident.items():
        standing.rating, standing.sigma = float(ratings[ident].mu), float(ratings[ident].sigma)


def _tell_apart(standings: Iterable[Standing]) -> None:
    """Players of one name (a checkpoint that was trained on) get the beginning of their digests behind it."""
    standings = list(standings)
    count = Counter(standing.name for standing in standings)
    for standing in standings:
        if count[standing.name] > 1:
            standing.name += f" ({standing.ident.split(':')[-1][:6]})"


def connected(games: Sequence[Game], players: Iterable[str]) -> list[Game]:
    """The games of all who have met one of `players`, or somebody who has, and so on: ratings compare nobody else."""
    neighbours: dict[str, set[str]] = {}
    for game in games:
        for side in range(2):
            neighbours.setdefault(game.players[side], set()).add(game.players[1 - side])
    reached: set[str] = set()
    waiting = list(players)
    while waiting:
        player = waiting.pop()
        if player not in reached:
            reached.add(player)
            waiting.extend(neighbours.get(player, ()))
    return [game for game in games if game.players[0] in reached]


def certain(table: Table, players: Sequence[str], pool: Sequence[str], confidence: float, looks: int) -> bool:
    """Whether the order of the players is certain, so that no further games are needed.

    It is if each player is surely better than the next one of the ranking: the Wilson interval of their games against
    each other lies above one half; for two that never met (both play a pool only), the rating intervals do not overlap.
    Two members of the pool need no order. `1 - confidence`, the chance to stop with a wrong order, is shared evenly by
    all pairs of players and by the `looks` that are taken at the table (a union bound).
    """
    ranked = [s for s in table.standings if s.ident in players or s.ident in pool]
    if len(ranked) < len(players) + len(pool):
        return False
    pairs = max(len(ranked) * (len(ranked) - 1) // 2, 1)
    level = 1 - (1 - confidence) / (pairs * looks)
    for better, worse in zip(ranked, ranked[1:]):
        if better.ident in pool and worse.ident in pool:
            continue
        meeting = table.cross.get((better.ident, worse.ident))
        if meeting is not None:
            if wilson(meeting.score, meeting.games, level)[0] <= 0.5:
                return False
        elif better.rating - worse.rating <= z_of(level) * (better.sigma + worse.sigma):
            return False
    return True
