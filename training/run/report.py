"""A run on one page: its curves over training time, its league, its alarms and its settings, in one HTML file without a network.

Curves come from `metrics.jsonl`, settings and league from the latest checkpoint, alarms from `alarms.jsonl`. Training time is
wall time between a run's own lines; the time between a stop and its resumption is left out.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from agent.plain import to_dict
from arena.plots import COLORS, STYLES
from submission.files import write_whole
from training.league.league import Member
from training.presets import PRESETS
from training.run import checkpoint
from training.run.health import read_alarms
from training.run.metrics import read_metrics
from training.run.progress import duration

POINTS = 250  # of a curve, each the mean of a stretch
PAUSE = 60.0  # seconds without a line from which a run was stopped, unless it evaluated

Line = dict[str, Any]
Curve = tuple[np.ndarray, np.ndarray]  # time [k], values [k]


class Panel(NamedTuple):
    """One plot: label -> metric. A metric that ends in `*` stands for all that begin so and were there to the last, each labelled by
    its rest: the members of the pool, without those that were dropped."""

    title: str
    metrics: Mapping[str, str]
    log: bool = False


PANELS = (
    Panel("rating (openskill)", {"in training games": "league/rating", "performance against the pool": "eval/rating"}),
    Panel("win rate against the pool", {"evaluation": "eval/pool_win_rate", "": "league/win_rate/*"}),
    Panel("ratings of the pool", {"": "league/rating/*", "policy": "league/rating"}),
    Panel("games finished", {"training": "charts/finished", "evaluation": "eval/finished"}),
    Panel("lichen a player and game", {"training": "charts/lichen", "evaluation": "eval/lichen"}),
    Panel("ice a player and game", {"training": "charts/ice_per_game", "evaluation": "eval/ice_transferred"}),
    Panel("turns a game", {"training": "charts/game_length", "evaluation": "eval/episode_length"}),
    Panel("at the end of a game", {"robots": "charts/robots", "factories": "charts/factories"}),
    Panel("reward of an entity and turn", {"": "charts/reward_per_entity_turn"}),
    Panel("entropy", {"": "losses/entropy"}),
    Panel("approximate KL of an update", {"approx_kl": "losses/approx_kl", "to the teacher": "losses/teacher_kl"}, log=True),
    Panel("clip fraction", {"": "losses/clipfrac"}),
    Panel("explained variance", {"": "losses/explained_variance"}),
    Panel("value loss", {"": "losses/value_loss"}, log=True),
    Panel("policy loss", {"": "losses/policy_loss"}),
    Panel("TD loss", {"": "losses/td_loss"}, log=True),
    Panel("mean Q-value", {"": "losses/q_values"}),
    Panel("random actions", {"epsilon": "charts/epsilon"}),
    Panel("gradient norm before clipping", {"": "losses/grad_norm"}, log=True),
    Panel("learning rate", {"": "charts/learning_rate"}, log=True),
    Panel("imitation: accuracy", {"": "accuracy/all"}),
    Panel("imitation: loss", {"training": "losses/imitation", "unseen": "losses/imitation_unseen"}),
    Panel("environment steps", {"": "step"}),
    Panel("environment steps a second", {"": "charts/SPS"}),
    Panel("entities an environment step", {"": "charts/entities_per_env_step"}),
)

STYLE = """body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: white; }
body { margin: 24px auto; max-width: 1280px; padding: 0 16px; }
h1 { font-size: 22px; } h2 { font-size: 17px; margin-top: 28px; }
#plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(380px, 1fr)); gap: 10px; }
#plots svg { width: 100%; height: auto; }
table { border-collapse: collapse; } td, th { text-align: left; padding: 2px 14px 2px 0; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.changed { font-weight: 600; } .alarm { border-left: 4px solid #D55E00; padding: 4px 10px; margin: 6px 0; background: #fff4ec; }
"""


def write_report(run: Path, output: Path) -> int:
    """Write the page of a run folder; returns the number of plots. Raises `CheckpointError` or `ValueError` if it is no run."""
    stored = checkpoint.load(run, which="latest")
    folder = stored.folder.parent
    try:
        lines = list(read_metrics(folder))
    except FileNotFoundError as error:
        raise ValueError(f"{folder} has no metrics.jsonl; a report is made of a run folder.") from error
    seconds = training_seconds(lines)
    unit, scale = ("hours", 3600.0) if len(seconds) and seconds[-1] > 5400 else ("minutes", 60.0)
    plots = [drawn for panel in PANELS if (drawn := draw(panel, curves_of(panel, lines, seconds / scale)))]
    league = (stored.trainer_state or {}).get("league")
    parts = [
        f"<h1>{escape(folder.resolve().name)}</h1>",
        facts_table(folder, stored, lines, seconds),
        alarms_list(read_alarms(folder)),
        f"<h2>Curves</h2><p>Over {unit} of training.</p><div id='plots'>{''.join(plots)}</div>",
        league_table(league) if league else "",
        settings_table(stored.config),
    ]
    title = escape(f"Training run {folder.resolve().name}")
    page = f"<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'><title>{title}</title><style>{STYLE}</style></head><body>"
    write_whole(output, page + "\n".join(parts) + "</body></html>\n")
    return len(plots)


def training_seconds(lines: Sequence[Line]) -> np.ndarray:
    """Seconds of training at each line `[k]`, from 0; pauses between a stop and its resumption left out."""
    if not lines:
        return np.zeros(0)
    gaps = np.diff([line["time"] for line in lines])
    usual = median(gaps) if len(gaps) else 0.0
    evaluated = np.array([any(name.startswith("eval/") for name in line) for line in lines[1:]], bool)
    paused = (gaps > max(PAUSE, 20 * usual)) & ~evaluated
    return np.concatenate([[0.0], np.cumsum(np.where(paused, usual, np.maximum(gaps, 0.0)))])


def curves_of(panel: Panel, lines: Sequence[Line], times: np.ndarray) -> dict[str, Curve]:
    """The panel's curves, by label; those without a value are left out."""
    names: dict[str, str] = {}
    for label, metric in panel.metrics.items():
        if metric.endswith("*"):
            latest = next((line for line in reversed(lines) if any(name.startswith(metric[:-1]) for name in line)), {})
            names.update({name[len(metric) - 1 :]: name for name in latest if name.startswith(metric[:-1])})
        else:
            names[label] = metric
    curves = {}
    for label, name in names.items():
        found = [(time, line[name]) for time, line in zip(times, lines) if line.get(name) is not None]
        if found:
            curves[label] = thinned(np.array(found).T)
    return curves


def thinned(points: np.ndarray) -> Curve:
    """`[2, k]` as a curve of at most `POINTS` points, each the mean of as many."""
    parts = np.array_split(points, min(points.shape[1], POINTS), axis=1)
    times, values = np.stack([part.mean(axis=1) for part in parts], axis=1)
    return times, values


def draw(panel: Panel, curves: Mapping[str, Curve]) -> str:
    """The plot as SVG to put into a page; empty without curves."""
    if not curves:
        return ""
    figure = Figure(figsize=(4.4, 2.7), facecolor="white", layout="constrained")
    axes = figure.subplots()
    for i, (label, (times, values)) in enumerate(curves.items()):
        style = STYLES[i // len(COLORS) % len(STYLES)] + ("o" if len(times) <= 30 else "")
        axes.plot(times, values, style, color=COLORS[i % len(COLORS)], linewidth=1.3, markersize=3, label=label)
    if panel.log and all((values > 0).all() for _, values in curves.values()):
        axes.set_yscale("log")
    axes.set_title(panel.title, fontsize=10)
    axes.tick_params(labelsize=8)
    axes.grid(color="#dddddd", linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if len(curves) > 5:
        figure.legend(loc="outside right upper", fontsize=6, frameon=False)
    elif any(curves):
        axes.legend(fontsize=7, frameon=False)
    buffer = io.StringIO()
    # ids that depend on the title keep the plots of a page apart, and the page equal when it is made again
    with rc_context({"svg.hashsalt": panel.title, "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    mark = re.sub(r"\W+", "-", panel.title)
    return re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{mark}-", svg)


def facts_table(folder: Path, stored: checkpoint.Checkpoint, lines: Sequence[Line], seconds: np.ndarray) -> str:
    """What the run is and how far it came."""
    last: Line = {}
    for line in lines:
        last.update({name: value for name, value in line.items() if value is not None})
    facts = {
        "steps": f"{last.get('step', stored.step):,} of {settings_of(stored.config).get('env_steps', 0):,}",
        "training time": duration(float(seconds[-1])) if len(seconds) else "none",
        "code": stored.config.get("revision", "unknown"),
        "latest checkpoint": stored.folder.name,
        "best checkpoint": pointed if (pointed := best_of(folder)) else "none yet",
    }
    wanted = {
        "eval/rating": "rating",
        "eval/pool_win_rate": "win rate against the pool",
        "eval/finished": "finished",
        "eval/lichen": "lichen",
    }
    facts.update(
        {
            f"last evaluation: {label}": f"{last[name]:,.0f}" if last[name] >= 100 else f"{last[name]:.3g}"
            for name, label in wanted.items()
            if name in last
        }
    )
    return table((), [(escape(name), escape(str(value))) for name, value in facts.items()])


def best_of(folder: Path) -> str:
    """The name that the run's pointer `best` holds; empty if there is none."""
    pointer = folder / "best"
    return pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else ""


def alarms_list(alarms: Sequence[dict[str, Any]]) -> str:
    """The alarms as boxes."""
    told = "".join(f"<div class='alarm'>Step {alarm['step']:,}: {escape(alarm['alarm'])}</div>" for alarm in alarms)
    return f"<h2>Alarms</h2>{told}" if told else ""


def league_table(league: dict[str, Any]) -> str:
    """The pool, the strongest first."""
    members = sorted((Member(**member) for member in league["members"]), key=lambda member: -member.rating)
    rows = [("<b>the policy</b>", f"{league['rating']:.1f} ± {1.96 * league['sigma']:.1f}", "", str(league["games"]), "")]
    for member in members:
        dropped = " (dropped)" if member.retired else ""
        rate = f"{member.win_rate:.0%}" if member.total else ""
        spread = f"{member.rating:.1f} ± {1.96 * member.sigma:.1f}"
        rows.append((escape(member.name) + dropped, spread, rate, str(member.total), f"{member.entered:,}"))
    head = ("player", "rating", "the policy's win rate lately", "games", "entered at step")
    return f"<h2>League</h2>{table(head, rows)}"


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The run's settings, flat: `ppo.gamma` and so on."""
    flat: dict[str, Any] = {}

    def put(values: Mapping[str, Any], prefix: str) -> None:
        for name, value in values.items():
            if isinstance(value, Mapping):
                put(value, f"{prefix}{name}.")
            else:
                flat[prefix + name] = list(value) if isinstance(value, (list, tuple)) else value

    put(config.get("imitate") or config["train"], "")
    return flat


def settings_table(config: Mapping[str, Any]) -> str:
    """All settings; those that differ from the defaults in bold."""
    usual = settings_of({"train": to_dict(PRESETS["demo"])})
    rows = []
    for name, value in settings_of(config).items():
        changed = name in usual and usual[name] != value
        text = "" if value is None else str(value) if not isinstance(value, float) or math.isfinite(value) else repr(value)
        rows.append(tuple(f"<span class='changed'>{escape(cell)}</span>" if changed else escape(cell) for cell in (name, text)))
    return f"<h2>Settings</h2><p>In bold what differs from the preset demo.</p>{table((), rows)}"


def table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """An HTML table of cells that are HTML; all columns but the first are numbers if there is a head."""
    names = list(head)
    kinds = [""] + [" class='number'"] * 20 if names else [""] * 20
    top = "<tr>" + "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, names)) + "</tr>" if names else ""
    body = "".join("<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row)) + "</tr>" for row in rows)
    return f"<table>{top}{body}</table>"
