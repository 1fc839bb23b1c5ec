"""Replays of any origin as one `Recording`: ours, those of the official runner, and Kaggle's episodes.

A Kaggle episode keeps `steps`, a list of both agents' dicts a turn: the shared observation is JSON text in the first
one that has it, an action stands in the step that it led to, and a side that failed has a status or no reward.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.scripted.protocol import View
from arena.process import printable
from arena.replay import read_json

PLAYERS = ("player_0", "player_1")
SIDES = ("left", "right")
KAGGLE_NAMES = ("lux_ai_s2", "lux_ai_2022")  # the second is what the beta was called
FAILED = {
    "TIMEOUT": "ran out of time",
    "ERROR": "crashed",
    "INVALID": "sent an invalid action",
}


@dataclass
class Recording:
    """One match. `observations[t]` is the state in which both sides gave `actions[t]`; `thoughts[t]` is by entity name.

    `winner` is left, right, draw, or empty where the recording ends before the match does.
    """

    names: tuple[str, str]
    seed: int | None
    env_cfg: dict[str, Any]
    observations: list[dict[str, Any]]
    actions: list[dict[str, Any]]
    winner: str
    reason: str
    thoughts: dict[int, list[Any]] = field(default_factory=dict)


def read_recording(path: Path | str) -> Recording:
    """The match in a file. Raises `ValueError` with a sentence if it is no replay of this game."""
    path = Path(path)
    data = read_json(path)
    if isinstance(data, dict) and "steps" in data and ("rewards" in data or "specification" in data):
        read: Callable[[Path, dict[str, Any]], Recording] = _from_kaggle
    elif isinstance(data, dict) and isinstance(data.get("observations"), list) and isinstance(data.get("actions"), list):
        read = _from_runner
    else:
        raise ValueError(f"{path} is no replay: it has neither observations and actions, as ours have, nor a Kaggle episode's steps.")
    with damage_told(path):
        recording = read(path, data)
        first = recording.observations[0] if recording.observations else {}
        if not {"board", "units", "factories", "teams", "real_env_steps"} <= set(first):
            raise ValueError("its first observation is not one of Lux AI Season 2")
        if any("bid" not in team for obs in recording.observations for team in obs["teams"].values()):
            raise ValueError("it was recorded by version 2.0 of the game, whose rules differ")
        if len(recording.actions) != len(recording.observations) - 1:
            counts = f"{len(recording.observations)} observations and {len(recording.actions)} actions"
            raise ValueError(f"it has {counts}, where there is one action less, between each two of them")
        return recording


@contextmanager
def damage_told(path: Path | str) -> Iterator[None]:
    """Whatever in a file one stumbles over inside is told as a sentence about the file, a `ValueError`."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, MemoryError, RecursionError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split()).rstrip(".")
        raise ValueError(f"{path} is no replay of Lux AI Season 2: {printable(what)}.") from error


def _from_runner(path: Path, data: dict[str, Any]) -> Recording:
    """Ours, and those of the official runner, which lack the rules and the result."""
    observations, actions = data["observations"], data["actions"]
    metadata = data.get("metadata") or {}
    names = metadata.get("players") or {}
    named = names if isinstance(names, dict) else {}
    env_cfg = data.get("env_cfg") or {"map_size": len(observations[0]["board"]["rubble"])}
    winner, reason = str(metadata.get("winner") or ""), str(metadata.get("reason") or "")
    if not reason:
        winner, reason = _verdict(observations, env_cfg)
    seed = metadata.get("seed", data.get("default_seed"))
    thoughts: dict[int, list[Any]] = {}
    for player, turns in (data.get("thoughts") or {}).items():
        for turn in turns:
            step = int(turn["step"])
            if 0 <= step < len(observations):  # a side writes of its own entities only, whatever it says of others
                own = {*observations[step]["units"][player], *observations[step]["factories"][player]}
                thoughts.setdefault(step, []).extend(row for row in turn["rows"] if row[0] in own)
    return Recording(_names([named.get(player) for player in PLAYERS]), seed, env_cfg, observations, actions, winner, reason, thoughts)


def _from_kaggle(path: Path, data: dict[str, Any]) -> Recording:
    name = data.get("name")
    if name is not None and name not in KAGGLE_NAMES:
        raise ValueError(f"it is an episode of {name}")
    steps = data["steps"]
    observations: list[dict[str, Any]] = []
    for t, step in enumerate(steps):
        shown = [agent["observation"]["obs"] for agent in step if agent["observation"].get("obs")]
        if not shown:
            raise ValueError(f"step {t} shows no observation")
        obs = json.loads(shown[0]) if isinstance(shown[0], str) else shown[0]
        if observations and obs == observations[-1]:  # a turn that the engine did not take
            continue
        observations.append(obs)
    actions = [{player: agent.get("action") for player, agent in zip(PLAYERS, step)} for step in steps[1:]]
    configuration = data.get("configuration") or {}
    env_cfg = dict(configuration.get("env_cfg") or {})
    env_cfg.setdefault("map_size", len(observations[0]["board"]["rubble"]))
    info = data.get("info") or {}
    names = info.get("TeamNames") or [agent.get("Name") for agent in info.get("Agents") or []] or [None, None]
    winner, reason = _kaggle_verdict(data, observations, env_cfg)
    return Recording(_names(names), configuration.get("seed"), env_cfg, observations, actions[: len(observations) - 1], winner, reason)


def _kaggle_verdict(data: dict[str, Any], observations: list[dict[str, Any]], env_cfg: dict[str, Any]) -> tuple[str, str]:
    """Statuses say who failed; then the last state decides, and rewards where the episode ended before the match."""
    statuses = data.get("statuses") or [agent.get("status") for agent in data["steps"][-1]]
    rewards = data.get("rewards") or [agent.get("reward") for agent in data["steps"][-1]]
    failures = [FAILED.get(str(status)) for status in statuses]
    if any(failures):
        told = " and ".join(f"{side} {failure}" for side, failure in zip(SIDES, failures) if failure)
        return "draw" if all(failures) else SIDES[failures.index(None)], f"{told}."
    winner, reason = _verdict(observations, env_cfg)
    if winner or None in rewards or any(status != "DONE" for status in statuses):
        return winner, reason
    left, right = rewards
    winner = "draw" if left == right else "left" if left > right else "right"
    said = "both sides have the same" if winner == "draw" else f"{winner} has the higher"
    return winner, f"The episode is over and {said} reward ({left:g} : {right:g})."


def _verdict(observations: list[dict[str, Any]], env_cfg: dict[str, Any]) -> tuple[str, str]:
    """Who won by the last state and why, as the match runner says it; nobody where the match goes on."""
    last = observations[-1]
    step = last["real_env_steps"]
    if step >= 0:
        dead = [not last["factories"][player] for player in PLAYERS]
        if any(dead):
            told = " and ".join(f"{side} lost all factories" for side, gone in zip(SIDES, dead) if gone)
            return "draw" if all(dead) else SIDES[dead.index(False)], f"{told}."
    if step < int(env_cfg.get("max_episode_length", 1000)):
        return "", "The recording ends before the match is over."
    left, right = _lichen(observations)
    winner = "draw" if left == right else "left" if left > right else "right"
    said = "both sides have the same" if winner == "draw" else f"{winner} has more"
    return winner, f"The match is over and {said} lichen ({left} : {right})."


def _lichen(observations: list[dict[str, Any]]) -> list[int]:
    """Lichen of both sides at the end, that of dead factories included."""
    view = View()
    for step, obs in enumerate(observations):
        view.update({"obs": obs, "step": step, "remainingOverageTime": 0, "player": PLAYERS[0], "info": {}})
    lichen, strains = view.boards["lichen"], view.boards["lichen_strains"]
    own = [set(observations[-1]["teams"][player]["factory_strains"]) for player in PLAYERS]
    return [sum(int(lichen[strains == strain].sum()) for strain in side) for side in own]


def _names(names: Any) -> tuple[str, str]:
    return str(names[0] or "left"), str(names[1] or "right")
