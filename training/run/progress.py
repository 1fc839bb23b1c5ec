"""What a person sees while training: speed, time left, where the time goes, and whether the agents learn.

On a terminal a live panel; elsewhere (a log file, a pipe) one plain line of at most `COLUMNS` characters every few seconds.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import SupportsFloat

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table

REST = "rest"
COLUMNS = 100
TITLE = 24  # characters of a run's name in a line

# label -> (metric, format); a metric that was not reported yet is left out
SHOWN = {
    "finished": ("eval/finished", "{:.0%}"),
    "rating": ("league/rating", "{:.1f}"),
    "ice per game": ("charts/ice_per_game", "{:,.0f}"),
    "entropy": ("losses/entropy", "{:.3f}"),
    "KL": ("losses/approx_kl", "{:.4f}"),
    "epsilon": ("charts/epsilon", "{:.2f}"),
    "TD loss": ("losses/td_loss", "{:.4f}"),
}


class Clock:
    """Where the time goes: `with clock("forward"): ...`. Time inside an inner section is not counted in the outer one, and
    time outside of all of them is `rest`, so the sections add up to the time since the start."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {REST: 0.0}
        self._open = [REST]
        self._sections: dict[str, _Section] = {}
        self._since = time.perf_counter()

    def __call__(self, name: str) -> _Section:
        section = self._sections.get(name)
        if section is None:
            section = self._sections[name] = _Section(self, name)
            self.seconds.setdefault(name, 0.0)
        return section

    def restart(self) -> None:
        """Forget the time until now; no section is open."""
        self.seconds = dict.fromkeys(self.seconds, 0.0)
        self._since = time.perf_counter()

    def charge(self) -> None:
        """Book the time until now to the section that is open."""
        now = time.perf_counter()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def split(self) -> dict[str, float]:
        """Share of every section, in the order of first use, `rest` last; they add up to 1."""
        self.charge()
        total = sum(self.seconds.values()) or 1.0
        return {name: self.seconds[name] / total for name in [*(n for n in self.seconds if n != REST), REST]}


class _Section:
    """The context manager of one name; made once and entered many times."""

    def __init__(self, clock: Clock, name: str) -> None:
        self._clock, self._name = clock, name

    def __enter__(self) -> None:
        self._clock.charge()
        self._clock._open.append(self._name)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._clock.charge()
        self._clock._open.pop()


class Listener(Console):
    """A console that falls silent when nobody reads it any more (`train ... | head`); what it tells of goes on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


class Progress:
    """The view of a run of `total_steps` environment steps, the first `start_step` of them done before (resume).

    Use it as a context manager and call `update` as often as you like; it draws a few times a second on a terminal and
    prints a line every `every` seconds elsewhere. `shown` maps labels to (metric name, format).
    """

    def __init__(
        self,
        total_steps: int,
        clock: Clock,
        start_step: int = 0,
        title: str = "training",
        console: Console | None = None,
        every: float = 5.0,
        shown: Mapping[str, tuple[str, str]] = SHOWN,
    ) -> None:
        self.total_steps, self.clock, self.title, self.every, self.shown = total_steps, clock, title, every, shown
        self.console = console or Listener()
        self.step = self._printed_step = start_step
        self.latest: dict[str, float] = {}
        now = time.perf_counter()
        self._marks: deque[tuple[float, int]] = deque([(now, start_step)])  # about the last half minute, for the speed
        self._printed_at = -float("inf")
        self._live = Live(console=self.console, get_renderable=self._panel, refresh_per_second=4) if self.console.is_terminal else None

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()
        elif self.step != self._printed_step:
            self._print()

    def update(self, step: int, metrics: Mapping[str, SupportsFloat] | None = None) -> None:
        """Report the step reached, and metrics where there are new ones (others keep their latest value)."""
        self.step = step
        for name, _ in self.shown.values():
            if metrics and name in metrics:
                self.latest[name] = float(metrics[name])
        now = time.perf_counter()
        self._marks.append((now, step))
        while len(self._marks) > 2 and now - self._marks[0][0] > 30.0:
            self._marks.popleft()
        if not self._live and now - self._printed_at >= self.every:
            self._print()

    def steps_per_second(self) -> float:
        (begin, first), (end, last) = self._marks[0], self._marks[-1]
        return (last - first) / (end - begin) if end > begin else 0.0

    def line(self) -> str:
        """The state in one line: how far it is and what it learns, then where most of the time goes, as far as `COLUMNS` reach."""
        title = self.title if len(self.title) <= TITLE else self.title[: TITLE - 1] + "…"
        facts = [f"{self.steps_per_second():,.0f} steps/s", f"{self._left()} left"]
        facts += [f"{label} {value}" for label, value in self._numbers()]
        facts += [f"{name} {share:.0%}" for name, share in sorted(self.clock.split().items(), key=lambda part: -part[1])]
        line = f"{title}: {self.step:,}/{self.total_steps:,} steps"
        for fact in facts:
            if len(line) + len(", ") + len(fact) > COLUMNS:
                break
            line += f", {fact}"
        return line

    def _print(self) -> None:
        self._printed_at, self._printed_step = time.perf_counter(), self.step
        self.console.out(self.line(), highlight=False)

    def _numbers(self) -> list[tuple[str, str]]:
        return [(label, form.format(self.latest[name])) for label, (name, form) in self.shown.items() if name in self.latest]

    def _left(self) -> str:
        speed = self.steps_per_second()
        return duration((self.total_steps - self.step) / speed) if speed > 0 else "unknown"

    def _panel(self) -> Panel:
        table = Table.grid(padding=(0, 2), expand=True)
        for _ in range(4):
            table.add_column()
        table.add_row("steps", f"{self.step:,} of {self.total_steps:,}", "speed", f"{self.steps_per_second():,.0f} steps/s")
        table.add_row("left", self._left(), "", ProgressBar(self.total_steps, self.step, width=24))
        numbers, times = self._numbers(), list(self.clock.split().items())
        for i in range(max(len(numbers), len(times))):
            label, value = numbers[i] if i < len(numbers) else ("", "")
            name, share = times[i] if i < len(times) else ("", None)
            table.add_row(label, value, name, "" if share is None else f"{share:4.0%} {'█' * round(share * 20)}")
        return Panel(table, title=self.title, width=min(self.console.width, 90))


def duration(seconds: float) -> str:
    """Seconds as `m:ss` or `h:mm:ss`."""
    minutes, second = divmod(round(max(seconds, 0.0)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
