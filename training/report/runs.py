"""A run folder as the report reads it: metrics, settings beside what they usually are, alarms, league, sessions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agent.plain import flat, to_dict
from training.imitation.imitate import ImitateConfig
from training.presets import PRESETS
from training.report.curves import Line, training_seconds
from training.run import checkpoint
from training.run.health import read_alarms
from training.run.metrics import read_metrics
from training.run.progress import duration
from training.run.sessions import read_sessions
from training.tasks.learner import Options

OUTCOMES = {
    "eval/ice_transferred": "ice",
    "eval/lichen": "lichen",
    "eval/finished": "games finished",
    "eval/rating": "rating",
    "eval/pool_win_rate": "win rate against the pool",
    "eval/share_rule": "share of the lichen against the rule",
}
IN_TRAINING = {"charts/ice_per_game": "ice", "charts/lichen": "lichen"}


@dataclass(frozen=True)
class ReportedRun:
    """One run; `usual` are the settings that it would have by default."""

    name: str
    folder: Path
    lines: list[Line]
    seconds: np.ndarray  # [lines], of training
    settings: dict[str, Any]
    usual: dict[str, Any]
    facts: dict[str, str]
    alarms: list[dict[str, Any]] = field(default_factory=list)
    league: dict[str, Any] | None = None

    def changed(self, name: str) -> bool:
        """Whether a setting is another than by default."""
        return name in self.settings and self.settings[name] != self.usual.get(name)


def read_run(run: Path) -> ReportedRun:
    """A run folder of `train`, `imitate` or `tasks`. Raises `CheckpointError` or `ValueError` if it is none."""
    if (options := tasks_options(run)) is not None:
        folder, config, stored = run, {"tasks": options}, None
    else:
        stored = checkpoint.load(run, which="latest")
        folder, config = stored.folder.parent, stored.config
    try:
        lines = list(read_metrics(folder))
    except FileNotFoundError as error:
        raise ValueError(f"{folder} has no metrics.jsonl; a report is made of a run folder.") from error
    seconds = training_seconds(lines)
    settings, usual = settings_of(config)
    facts = {**progress_facts(lines, seconds, settings), **origin_facts(folder, config)}
    if stored is not None:
        facts |= {"latest checkpoint": stored.folder.name, "best checkpoint": best_of(folder) or "none yet"}
    league = (stored.trainer_state or {}).get("league") if stored else None
    return ReportedRun(folder.resolve().name, folder, lines, seconds, settings, usual, facts, read_alarms(folder), league)


def tasks_options(run: Path) -> dict[str, Any] | None:
    """The options of a run of `tasks`, None for any other folder."""
    try:
        config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config["tasks"] if isinstance(config, dict) and isinstance(config.get("tasks"), dict) else None


def settings_of(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of a stored config and those of the preset demo, or the command's defaults; flat."""
    for kind, usual in (("tasks", Options()), ("imitate", ImitateConfig()), ("train", PRESETS["demo"])):
        if config.get(kind) is not None:
            return flat(config[kind]), flat(json.loads(json.dumps(to_dict(usual), default=str)))
    raise ValueError(f"It is stored with {', '.join(config)}, and no settings of train, imitate or tasks.")


def progress_facts(lines: list[Line], seconds: np.ndarray, settings: Mapping[str, Any]) -> dict[str, str]:
    """How far the run came, and how good it is."""
    last: Line = {}
    for line in lines:
        last.update({name: value for name, value in line.items() if value is not None})
    wanted = f" of {settings['env_steps']:,}" if "env_steps" in settings else ""
    facts = {"steps": f"{last.get('step', 0):,}{wanted}", "training time": duration(float(seconds[-1])) if len(seconds) else "none"}
    for names, where in ((OUTCOMES, "last evaluation"), (IN_TRAINING, "in training")):
        facts |= {f"{what}, {where}": number(last[name]) for name, what in names.items() if name in last}
    return facts


def origin_facts(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Where it comes from: the last session's command, machine and versions, and the code."""
    sessions = read_sessions(folder)
    if not sessions:
        return {"code": str(config.get("revision", "unknown"))}
    last = sessions[-1]
    facts = {
        "command": last["command"],
        "machine": last["machine"],
        "versions": ", ".join(f"{name} {version}" for name, version in last["versions"].items()),
        "code": last["code"],
    }
    return facts | ({"sessions": f"{len(sessions)}, the last one from step {last['step']:,}"} if len(sessions) > 1 else {})


def best_of(folder: Path) -> str:
    """The name that the run's pointer `best` holds; empty if there is none."""
    pointer = folder / "best"
    return pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else ""


def number(value: float) -> str:
    """A number to be read."""
    return "not a number" if not math.isfinite(value) else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
