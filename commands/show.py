"""What verbs share in showing what they do: tables, and lines of progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from arena.match import MatchResult, play_match

SHARES = ("finished", "win_rate", "pool_win_rate")  # shown in percent


def print_scores(scores: dict[str, float], title: str) -> None:
    """A table of evaluation scores."""
    table = Table("score", "value", title=title)
    for name, value in scores.items():
        table.add_row(name.replace("_", " "), f"{value:.1%}" if name in SHARES else f"{value:,.1f}")
    Console().print(table)


def print_match(result: MatchResult, names: tuple[str, str] | None = None) -> None:
    """A table of a match result."""
    left, right = names or (result.left.name, result.right.name)
    table = Table("", left, right, title=f"winner: {result.winner} after {result.turns} turns")
    for label in ("lichen", "factories", "robots", "turn_ms_median", "turn_ms_p99", "error"):
        values = [getattr(side, label) for side in (result.left, result.right)]
        table.add_row(label.replace("_", " "), *("-" if value is None else f"{value:g}" if label != "error" else value for value in values))
    Console().print(table)
    print(result.reason)


def play_shown(
    left: str, right: str, seed: int, map_size: int, replay: Path | None = None, logs: Path | None = None, record_thoughts: bool = False
) -> MatchResult:
    """A match with a line of progress."""
    with Progress(transient=True) as bar:
        task = bar.add_task(f"{left} against {right}", total=1000)
        return play_match(
            left,
            right,
            seed,
            map_size,
            replay=replay,
            log_dir=logs,
            progress=lambda turn, _: bar.update(task, completed=turn),
            record_thoughts=record_thoughts,
        )


@contextmanager
def game_progress() -> Iterator[Callable[[str, int], None]]:
    """A line of progress for each of some games, which are told apart by their titles."""
    with Progress(transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def show(title: str, turn: int) -> None:
            if title not in tasks:
                tasks[title] = bar.add_task(f"Verifying: {title}", total=1000)
            bar.update(tasks[title], completed=turn)

        yield show
