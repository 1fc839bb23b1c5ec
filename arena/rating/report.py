"""A ranking for people: progress and tables on the terminal, `ratings.md`, and a plot."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich import progress as bars
from rich.console import Console
from rich.markup import escape

from arena.plots import COLORS, save_png
from arena.process import printable
from arena.rating.standings import Standing, Table, wilson
from submission.files import write_whole

EVERY = 30.0  # seconds between lines where nobody watches a terminal


class Progress:
    """Games done and time left: a bar on a terminal, elsewhere a line now and then. A context manager; call it as `tournament.run` does."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        games = bars.TextColumn("{task.fields[games]} games")
        columns = (bars.TextColumn("rating"), bars.BarColumn(), games, bars.TimeRemainingColumn(), bars.TextColumn("left"))
        self.bar = bars.Progress(
            *columns, console=self.console, transient=True, disable=not self.console.is_terminal, speed_estimate_period=120
        )
        self.task = self.bar.add_task("", total=None, games="0")
        self.started = self.said = time.monotonic()  # of the first call, and of the last line
        self.first: float | None = None

    def __enter__(self) -> Progress:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, ended: int, running: float, total: int) -> None:
        """`running` is how many games' worth of play the running games have behind them."""
        done = ended + running
        now = time.monotonic()
        if self.first is None:  # what the file had took no time, and compiling and making maps will not come again
            self.first, self.started = done, now
        self.bar.update(self.task, completed=done, total=total, games=f"{ended}/{total}")
        if not self.console.is_terminal and now - self.said > EVERY and done > self.first:
            self.said = now
            left = int((total - done) * (now - self.started) / (done - self.first))
            print(f"rating: {ended}/{total} games, {left // 60}:{left % 60:02d} left", file=self.console.file, flush=True)


COLUMNS = ("player", "rating", "win rate", "W / D / L", "lichen", "survival", "faults")


def standing_row(place: int, standing: Standing) -> list[str]:
    """The texts of `COLUMNS` for one player."""
    total = standing.total
    low, high = wilson(total.score, total.games)
    return [
        f"{place} {standing.name}",
        f"{standing.rating:.1f} ± {standing.margin:.1f}",
        f"{total.score / total.games:.0%} ({100 * low:.0f}-{high:.0%})",
        f"{total.wins} / {total.draws} / {total.losses}",
        f"{standing.lichen:,.0f}",
        f"{standing.survival:.0%}",
        str(standing.faults),
    ]


def cross_rows(table: Table) -> list[list[str]]:
    """For each player its score against each other one in the order of the ranking: "75% of 20"; empty if they never met."""
    rows = []
    for me in table.standings:
        row = [me.name]
        for other in table.standings:
            meeting = table.cross.get((me.ident, other.ident))
            row.append(f"{meeting.score / meeting.games:.0%} of {meeting.games}" if meeting else "")
        rows.append(row)
    return rows


def print_table(table: Table, title: str) -> None:
    """Ranking and cross table on the terminal."""
    from rich.table import Table as Drawn

    ranking = Drawn(title=title)
    for name in COLUMNS:
        ranking.add_column(name, no_wrap=name != "player", overflow="fold", min_width=12 if name == "player" else None)
    for place, standing in enumerate(table.standings, 1):
        ranking.add_row(*(escape(printable(cell)) for cell in standing_row(place, standing)))
    cross = Drawn("row against column", *(str(place) for place in range(1, len(table.standings) + 1)), title="who beats whom")
    for place, row in enumerate(cross_rows(table), 1):
        cross.add_row(escape(printable(f"{place} {row[0]}")), *row[1:])
    console = Console()
    if not console.is_terminal:
        console.width = 120  # a log has room
    console.print(ranking)
    console.print(cross)


EXPLAINED = (
    "The rating is openskill's (Plackett-Luce; a newcomer is 25) with its 95 % interval. W / D / L are games won, drawn and lost; the "
    "win rate counts a draw as half a win and has Wilson's 95 % interval. Lichen is the mean of a game. Survival is the share of "
    "games at whose end the player owned a factory. Faults are games lost by a crash, a time-out or an invalid action. The fast "
    "referee is the project's own engine, in one process and without a clock; the official one is the official engine, with the "
    "judge's time rules."
)


def markdown(table: Table, title: str, plot: str) -> str:
    """The whole ranking as a page."""

    def lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
        escaped = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
        drawn = ["| " + " | ".join(row) + " |" for row in escaped]
        return [drawn[0], "|" + "---|" * len(header), *drawn[1:]]

    ranking = [standing_row(place, standing) for place, standing in enumerate(table.standings, 1)]
    cross = [[f"{place} {row[0]}", *row[1:]] for place, row in enumerate(cross_rows(table), 1)]
    places = [str(place) for place in range(1, len(ranking) + 1)]
    identities = [[standing.name, f"`{standing.ident}`"] for standing in table.standings]
    parts = [
        [f"# {title}"],
        [f"{len(table.games)} games: {table.referees()}."],
        lines(COLUMNS, ranking),
        [f"![Ratings and results]({plot})"],
        ["Score of the row against the column:"],
        lines(["", *places], cross),
        [EXPLAINED],
        ["Who was rated:"],
        lines(["player", "identity"], identities),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def draw(table: Table, title: str) -> Figure:
    """Ratings with their intervals on the left, the cross table as colours on the right."""
    standings = table.standings
    count = len(standings)
    figure = Figure(figsize=(12, max(3.0, 1.6 + 0.45 * count)), facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
    names = [f"{place} {standing.name[-40:]}" for place, standing in enumerate(standings, 1)]
    left.errorbar(
        [s.rating for s in standings], range(count), xerr=[s.margin for s in standings], fmt="o", color=COLORS[0], capsize=4, linewidth=1.6
    )
    left.set(yticks=range(count), yticklabels=names, ylim=(count - 0.5, -0.5), xlabel="rating, 95 % interval", facecolor="white")
    left.grid(axis="x", color="#dddddd", linewidth=0.6)
    for side in ("top", "right"):
        left.spines[side].set_visible(False)
    scores: list[list[float]] = [[float("nan")] * count for _ in range(count)]
    for i, me in enumerate(standings):
        for j, other in enumerate(standings):
            meeting = table.cross.get((me.ident, other.ident))
            if meeting:
                scores[i][j] = 100 * meeting.score / meeting.games
                dark = not 15 < scores[i][j] < 85
                right.text(j, i, f"{scores[i][j]:.0f}", ha="center", va="center", fontsize=9, color="white" if dark else "black")
    shown: Any = right.imshow(scores, cmap="RdBu", vmin=0, vmax=100, aspect="auto")
    places = range(1, count + 1)
    right.set(xticks=range(count), xticklabels=places, yticks=range(count), yticklabels=places, xlabel="score of row against column (%)")
    figure.colorbar(shown, ax=right)
    figure.suptitle(title)
    return figure


def write_report(table: Table, title: str, folder: Path) -> list[Path]:
    """Write `ratings.md` and `ratings.png` into a folder; returns their paths."""
    page, plot = folder / "ratings.md", folder / "ratings.png"
    save_png(draw(table, title), plot)
    write_whole(page, markdown(table, title, plot.name))
    return [page, plot]
