"""What the place of a factory is worth, learned from games with random openings: `python main.py reproduce opening`.

An agent plays opponents on unseen maps, its factories placed partly at random. How the lichen of both sides is shared at
the end is then explained by where all factories stand: ridge regression on what `FEATURES` says of the own factories, less
the same of the enemy's. The share is the credit of the opening as a whole, so a place that takes ice from the
enemy is paid for it. `agent.lichen_opening` has the coefficients as whole numbers, and places by them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from agent import lichen_opening as rule
from agent.opening import corner_sums, distance_to, footprint_distance, ground_worth, square_sum
from agent.scripted import names as opponent_names
from agent.stored import Agent, load_agent
from arena.evaluate import Scripted, built_in
from arena.fast import Fixture, play_games
from engine.config import SIZE, GameConfig
from submission.files import write_whole
from training.run.runs import Run, check_options, read_run, revision, run_all
from training.run.stopping import TrainingError

FIRST_SEED = 4_000_000  # map seeds from here on are neither trained nor evaluated on
FEATURES = ("ice_1", "ice_2", "ice_3", "ore", "ground")
MEANING = (
    "a step from the nearest tile of ice that no other factory is nearer to",
    "a step from the second such tile",
    "a step from the third",
    "a step from ore",
    f"a flat tile in the square of {2 * rule.GROUND_REACH + 1} cells",
)
IN_USE = (*rule.NEAREST, rule.ORE, 100)  # by `agent.lichen_opening`, in hundredths of a flat tile
COLUMNS = (
    "seed",
    "opponent",
    "player",
    "lichen",
    "lichen_enemy",
    *(f"own_{name}" for name in FEATURES),
    *(f"enemy_{name}" for name in FEATURES),
)
PENALTY = 20.0  # of the ridge, on standardised features
FOLDS, RESAMPLES = 10, 200
# what a side draws before its opening: how much it trusts the worth of a cell, the scale of the noise that is added to it (in
# hundredths of a flat tile), and how many steps farther from ice than necessary it goes
TRUST, NOISE, SLACK = (0.0, 0.5, 1.0), (300, 1000, 3000), (0, 0, 1, 3)


@dataclass(frozen=True)
class Opening:
    """The options of `main.py reproduce opening`."""

    player: str = "shipped"
    """Whose factories are placed at random: a checkpoint, a run, or shipped."""
    against: tuple[str, ...] = ("raider", "farmer", "itself")
    """Opponents in turn: built-in ones, which place their own factories, or itself, with random factories, too."""
    games: int = 420
    """Games to play, each on a map of its own."""
    batch: int = 30
    """Games that are played together and stored as one run."""
    map_size: int = 48
    """Cells a side."""
    runs: Path = Path("runs/reproduce/opening")
    """Folder of the stored games; those that are there are not played again."""
    out: Path | None = None
    """Folder of opening.md, made from all games in the folder of the runs (default: that one; `--out docs/results` publishes them)."""
    jobs: int = 1
    """Batches at the same time, each a process with one thread."""
    report_only: bool = False
    """Play nothing, only write the results anew."""


class Batch(NamedTuple):
    """Games to play and where they are stored."""

    settings: dict[str, Any]
    number: int
    path: Path

    @property
    def name(self) -> str:
        return f"games {self.number * self.settings['batch']:,} and on"


def opening(options: Opening) -> list[Path]:
    """Play the games that are missing, then write the table; returns the files written.

    Raises `ValueError` for options that do not fit, and for stored games that were played with other settings.
    """
    check_options(options, ("against",))
    unknown = [name for name in options.against if name not in (*opponent_names(), "itself")]
    if unknown:
        raise ValueError(f"There is no opponent {unknown[0]!r}; accepted are {', '.join(opponent_names())} and itself.")
    if options.batch < 1 or options.games < options.batch:
        raise ValueError(
            f"games is {options.games} and batch {options.batch}; accepted are a batch of at least 1 and games of at least a batch."
        )
    settings = {name: value for name, value in asdict(options).items() if name in ("player", "against", "batch", "map_size")}
    settings["against"] = list(options.against)
    batches = [Batch(settings, k, options.runs / f"games-{k:03}.json") for k in range(options.games // options.batch)]
    if not options.report_only:
        run_all(batches, options.jobs, play_batch, stored, line, lambda: None)
    return write_results(options)


def stored(batch: Batch) -> bool:
    """Whether the games are there. Raises `ValueError` if they are, but were played with other settings."""
    if not batch.path.exists():
        return False
    found = read_run(batch.path, COLUMNS)["settings"]
    odd = [name for name, value in batch.settings.items() if found.get(name) != value]
    if odd:
        raise ValueError(f"{batch.path} was played with other settings ({', '.join(odd)}); delete it, or give another folder with --runs.")
    return True


def line(run: Run) -> str:
    """Stored games in one line."""
    curve = run["curve"]
    return f"{len(curve['seed'])} games from map seed {curve['seed'][0]:,} on: {shares(curve).mean():.0%} of the lichen"


# ------------------------------------------------------------------------------------------------------------ the games


class Explorer:
    """An opening that tries places: every side of every game draws a taste of its own."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.tastes: dict[tuple[int, int], tuple[float, int, int]] = {}

    def __call__(self, game: Any, rules: Any, player: int, orders: Any) -> None:
        """As `agent.lichen_opening`, without a bid."""
        rule.lichen_opening(game, rules, player, orders)
        if orders["spawn"][player] >= 0 and game["env_steps"] > 0:
            orders["spawn"][player] = self.choose(game, rules, player)

    def choose(self, game: Any, rules: Any, player: int) -> int:
        """The cell of the next factory."""
        key = int(game["seed"]), player
        if key not in self.tastes:
            self.tastes[key] = float(self.rng.choice(TRUST)), int(self.rng.choice(NOISE)), int(self.rng.choice(SLACK))
        trust, noise, slack = self.tastes[key]
        scores = rule.site_scores(game, rules, player, slack)
        cells = np.flatnonzero(scores > rule.NOWHERE)
        return int(cells[(trust * scores[cells] + noise * self.rng.gumbel(size=len(cells))).argmax()])


def play_batch(batch: Batch, show: bool = False) -> Run:
    """Play the games of a batch; returns them as plain JSON values, a column for everything that is known of a game."""
    settings = batch.settings
    torch.set_num_threads(1)
    agent = load_agent(settings["player"])[0]
    rivals: list[Agent | Scripted] = [agent if name == "itself" else built_in(name) for name in settings["against"]]
    size, kinds = settings["batch"], len(rivals)
    config = GameConfig.for_map_size(settings["map_size"])
    seeds = [FIRST_SEED + batch.number * size + i for i in range(size)]
    players = [i // kinds % 2 for i in range(size)]  # the agent's side, the left one in every second round of opponents
    fixtures = [
        Fixture(agent, rivals[i % kinds], seed) if players[i] == 0 else Fixture(rivals[i % kinds], agent, seed)
        for i, seed in enumerate(seeds)
    ]
    sites: dict[int, np.ndarray] = {}

    def watch(i: int, game: Any, _: Any) -> None:
        if game["real_step"] == 0 and i not in sites:
            sites[i] = team_features(game, config.rules())

    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for i, outcome in sorted(play_games(fixtures, config, seed=batch.number, watch=watch, place=Explorer(batch.number))):
        broken = [error for error in outcome.errors if error not in (None, "lost all factories")]
        if broken:
            raise TrainingError(f"The game on map seed {seeds[i]:,} was broken off: a side {broken[0]}.")
        me = players[i]
        values = (
            seeds[i],
            settings["against"][i % kinds],
            me,
            outcome.lichen[me],
            outcome.lichen[1 - me],
            *sites[i][me],
            *sites[i][1 - me],
        )
        for name, value in zip(COLUMNS, values):
            columns[name].append(value)
    return {"settings": settings, "revision": revision(), "curve": columns}


def team_features(game: Any, rules: Any) -> np.ndarray:
    """[2, FEATURES] of each side: the sums over its factories, as they stand after the opening."""
    width = int(rules["map_size"])
    count = int(game["factory_count"])
    tiles = np.flatnonzero(game["ice"])
    _, _, _, ice, _ = rule.ice_of_factories(game, tiles)
    ore = distance_to(game["ore"], width)
    features = np.zeros((2, len(FEATURES)))
    for f in range(count):
        cell = int(game["factory_cell"][f])
        alone = without(game, f)  # ground near itself is its own
        ground = corner_sums(ground_worth(alone, width), width)
        flat = square_sum(ground, *divmod(cell, SIZE), rule.GROUND_REACH, width) / 100
        features[game["factory_owner"][f]] += (*ice[f], min(footprint_distance(ore, cell), rule.ORE_REACH), flat)
    return features


def without(game: Any, f: int) -> Any:
    """A copy of the game record whose list of factories lacks number `f`; its footprint stays taken."""
    games = np.empty(1, game.dtype).view(np.recarray)
    games[0] = game
    last = int(game["factory_count"]) - 1
    games[0]["factory_cell"][f:last] = game["factory_cell"][f + 1 : last + 1]
    games[0]["factory_count"] = last
    return games[0]


# ---------------------------------------------------------------------------------------------------------- the results


def plain(value: Any) -> str:
    """An option's value as it is given."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


class Fit(NamedTuple):
    """Ridge regression of the share of lichen."""

    weights: np.ndarray  # [FEATURES] share a unit of each feature
    errors: np.ndarray  # [FEATURES] their standard errors, by resampling games
    ratios: np.ndarray  # [2, FEATURES] the 5th and the 95th percentile of the weights in flat tiles
    explained: float  # share of the variance that who the opponent is leaves and the features explain, on games left out of the fit


def shares(curve: dict[str, list[Any]]) -> np.ndarray:
    """[games] the agent's part of the lichen of both sides; a half if nobody has any."""
    own, enemy = np.array(curve["lichen"], float), np.array(curve["lichen_enemy"], float)
    return np.where(own + enemy > 0, own / np.maximum(own + enemy, 1), 0.5)


def fit(curve: dict[str, list[Any]]) -> Fit:
    """Explain the shares of these games by the features of both sides' factories and by who the opponent is.

    Raises `ValueError` for fewer than two games a fold, and if the share is the same in all.
    """
    if len(curve["seed"]) < 2 * FOLDS:
        raise ValueError(f"There are {len(curve['seed'])} games; the fit needs at least {2 * FOLDS}.")
    difference = [np.array(curve[f"own_{name}"], float) - np.array(curve[f"enemy_{name}"], float) for name in FEATURES]
    against = [np.array([name == other for name in curve["opponent"]], float) for other in sorted(set(curve["opponent"]))]
    x, y = np.stack(difference + against, 1), shares(curve)
    if y.std() == 0:
        raise ValueError(f"The share of lichen is {y[0]:.0%} in all games, so there is nothing to explain; play stronger opponents.")
    rng = np.random.default_rng(0)
    fold = rng.permutation(len(y)) % FOLDS
    missed = []  # mean squared errors: with the features, and without
    for columns in (x, x[:, len(FEATURES) :]):
        guess = np.zeros(len(y))
        for k in range(FOLDS):
            seen, left = fold != k, fold == k
            weights, mean, level = ridge(columns[seen], y[seen])
            guess[left] = (columns[left] - mean) @ weights + level
        missed.append(((y - guess) ** 2).mean())
    again = np.array([ridge(x[drawn], y[drawn])[0] for drawn in (rng.integers(0, len(y), len(y)) for _ in range(RESAMPLES))])
    again = again[:, : len(FEATURES)]
    return Fit(
        weights=ridge(x, y)[0][: len(FEATURES)],
        errors=again.std(axis=0),
        ratios=np.percentile(again / again[:, -1:], (5, 95), axis=0),
        explained=float(1 - missed[0] / missed[1]),
    )


def ridge(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Weights of `x [n, k]` for `y [n]`, and the means of both."""
    mean, spread = x.mean(0), x.std(0) + 1e-9
    z = (x - mean) / spread
    return np.linalg.solve(z.T @ z + PENALTY * np.eye(x.shape[1]), z.T @ (y - y.mean())) / spread, mean, float(y.mean())


def write_results(options: Opening) -> list[Path]:
    """Write opening.md from all stored games; returns its path. Raises `ValueError` if there are none."""
    runs = [read_run(path, COLUMNS) for path in sorted(options.runs.glob("games-*.json"))]
    if not runs:
        raise ValueError(f"There are no games in {options.runs}; play some first.")
    if any(run["settings"] != runs[0]["settings"] for run in runs):
        raise ValueError(
            f"The games in {options.runs} were played with different settings; delete some, or give another folder with --runs."
        )
    curve = {name: [value for run in runs for value in run["curve"][name]] for name in COLUMNS}
    page = (options.out or options.runs) / "opening.md"
    write_whole(page, "\n".join(report(runs, curve)) + "\n")
    return [page]


def report(runs: list[Run], curve: dict[str, list[Any]]) -> Iterator[str]:
    """The page, line by line."""
    found, settings = fit(curve), runs[0]["settings"]
    count, size = len(curve["seed"]), settings["map_size"]
    options = " ".join(f"--{name.replace('_', '-')} {plain(value)}" for name, value in {"games": count, **settings}.items())
    revisions = ", ".join(sorted({run["revision"] for run in runs}))
    unit = found.weights[-1] / 100  # a hundredth of a flat tile
    yield "# What the place of a factory is worth"
    yield ""
    yield f"```\npython main.py reproduce opening {options}\n```"
    yield ""
    yield (
        f"`{settings['player']}` played {count} games on {size}x{size} maps at revision {revisions}, its factories partly at random. "
        f"Of the variance of its share of the lichen that the opponent leaves, a linear function of where all factories stand explains "
        f"{found.explained:.0%}, in games left out of the fit. The first column counts what is added to the share, in thousandths, with "
        "its standard error; the second the same in hundredths of a flat tile, with the 5th and the 95th percentile; the third is what "
        "`agent/lichen_opening.py` places by."
    )
    yield ""
    yield "| a factory with | share, thousandths | hundredths of a flat tile | in use |"
    yield "|---|---:|---:|---:|"
    for meaning, weight, error, (low, high), used in zip(MEANING, found.weights, found.errors, found.ratios.T, IN_USE):
        ratio = f"{weight / unit:+,.0f} ({100 * low:+,.0f} to {100 * high:+,.0f})" if unit > 0 else "flat ground is worth nothing"
        yield f"| {meaning} | {1000 * weight:+.2f} ± {1000 * error:.2f} | {ratio} | {used:+,} |"
    yield ""
    yield (
        f"Steps to ice count up to {rule.FARTHEST}, those to ore up to {rule.ORE_REACH}. Ground with rubble is `exp(-rubble / 30)` of a "
        "flat tile, and a tenth of that near another factory."
    )
