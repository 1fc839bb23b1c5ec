"""What verbs share in showing what they do: tables, and lines of progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TaskID
from rich.table import Table

from arena.match import NO_FACTORIES, MatchResult, play_match
from arena.process import printable

REASON_LIMIT = 1000  # characters
SHARES = ("finished", "win_rate", "pool_win_rate", "share_against_warden")  # shown in percent


def print_scores(scores: dict[str, float], title: str) -> None:
    """A table of evaluation scores."""
    table = Table("score", "value", title=title)
    for name, value in scores.items():
        table.add_row(name.replace("_", " "), f"{value:.1%}" if name in SHARES else f"{value:,.1f}")
    Console().print(table)


def print_match(result: MatchResult, names: tuple[str, str] | None = None) -> None:
    """A table of a match result."""
    ending = "a draw" if result.winner == "draw" else f"{result.winner} wins"
    title = f"{ending}; {result.turns} turns were played after the opening"
    table = Table("", *map(said, names or (result.left.name, result.right.name)), title=title)
    sides = (result.left, result.right)
    for label in ("lichen", "factories", "robots", "turn_ms_median", "turn_ms_p99"):
        table.add_row(label.replace("_", " "), *(f"{getattr(side, label):g}" for side in sides))
    table.add_row("lost because it", *("-" if side.error is None else said(side.error) for side in sides))
    Console().print(table)
    print(printable(result.reason, REASON_LIMIT))
    if any(side.error not in (None, NO_FACTORIES) and side.log is None for side in sides):
        print("All that a side wrote to stderr is kept with --logs FOLDER.")


def said(text: str) -> str:
    """Words of somebody else, for a table or a title of rich."""
    return escape(printable(text))


def play_shown(
    left: str,
    right: str,
    seed: int,
    map_size: int,
    replay: Path | None = None,
    logs: Path | None = None,
    record_thoughts: bool = False,
    sandbox: bool = False,
) -> MatchResult:
    """A match with a line of progress."""
    with Progress(transient=True) as bar:
        task = bar.add_task(f"{said(left)} against {said(right)}", total=1000)
        return play_match(
            left,
            right,
            seed,
            map_size,
            replay=replay,
            log_dir=logs,
            progress=lambda turn, _: bar.update(task, completed=turn),
            record_thoughts=record_thoughts,
            sandbox=sandbox,
        )


@contextmanager
def game_progress() -> Iterator[Callable[[str, int], None]]:
    """A line of progress for each of some games, which are told apart by their titles."""
    with Progress(transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def show(title: str, turn: int) -> None:
            if title not in tasks:
                tasks[title] = bar.add_task(f"Verifying: {said(title)}", total=1000)
            bar.update(tasks[title], completed=turn)

        yield show
