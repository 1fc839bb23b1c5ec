"""Learned heads on the farm's rule: for a kind of entity, a small network that scores the candidates. Numpy only."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional

import numpy as np

from agent.tasks.candidates import CANDIDATE, CANDIDATE_SIZE, STATE_SIZE

RULE = 2.0  # by which the rule's candidate begins above the others, unless a head says otherwise
HEADS = ".tasks.npz"  # how the name of a file of heads ends
SCRIPTED = Path(__file__).resolve().parent.parent / "scripted"
# built-in opponents that are the farm, and the file of their heads
FARMS: Dict[str, Optional[Path]] = {"warden": None, "marshal": SCRIPTED / "marshal" / "heads.tasks.npz"}


class Head(NamedTuple):
    """The weights of one kind's network, H wide."""

    of_state: np.ndarray
    """[STATE_SIZE, H]"""
    state_bias: np.ndarray
    """[H]"""
    of_candidate: np.ndarray
    """[CANDIDATE_SIZE, H]"""
    hidden: np.ndarray
    """[H, H]"""
    hidden_bias: np.ndarray
    """[H]"""
    score: np.ndarray
    """[H]"""
    bare: np.ndarray
    """[], 1 if it was learned from scratch: there is no rule to follow."""
    rule: np.ndarray = np.array(RULE, np.float32)
    """[], by which the rule's candidate is above what the rest says."""
    temperature: np.ndarray = np.array(0, np.float32)
    """[], of the softmax of scores of which choices are samples, as they were when it learned at 1; at 0 it takes the best."""
    since: np.ndarray = np.array(0, np.float32)
    """[], turn from which it chooses; until then the rule does."""


def choose(head: Head, state: np.ndarray, candidates: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The best candidate `[M]` of entities in `state [M, STATE_SIZE]`, among `candidates [M, K, CANDIDATE_SIZE]` that `mask [M, K]` allows;
    or a sample (`Head.temperature`). Where a score is no number it is the rule's, 0."""
    first = (state @ head.of_state + head.state_bias)[:, None] + candidates @ head.of_candidate
    scores = np.maximum(np.maximum(first, 0) @ head.hidden + head.hidden_bias, 0) @ head.score + head.rule * candidates[..., CANDIDATE.rule]
    sound = np.isfinite(scores).all(1)
    if head.temperature:
        scores = scores / head.temperature + rng.gumbel(size=scores.shape)  # the best of them is a sample of the softmax
    return np.where(sound, np.where(mask, scores, -np.inf).argmax(1), 0)


def save_heads(heads: Dict[int, Head]) -> bytes:
    """Heads by kind (`agent.tasks.candidates`: LIGHT, HEAVY, WATERING, BUILDING) as the bytes of a file, the same for the same heads."""
    file = io.BytesIO()
    np.savez(file, **{f"{kind}.{name}": values for kind, head in heads.items() for name, values in head._asdict().items()})
    return file.getvalue()


def is_farm(player: str) -> bool:
    """Whether a player is the farm of tasks: built in, or a file of heads."""
    return player in FARMS or player.endswith(HEADS)


def heads_file(player: str) -> Optional[Path]:
    """Where the heads of a player that is the farm are; None if it plays by the rule alone."""
    return FARMS[player] if player in FARMS else Path(player)


def heads_of(player: str) -> Dict[int, Head]:
    """The heads of a player that is the farm. Raises `ValueError` as `load_heads`."""
    path = heads_file(player)
    return {} if path is None else load_heads(path)


def load_heads(path: Path) -> Dict[int, Head]:
    """Heads that `save_heads` wrote. Raises `ValueError` for a file that is none, for other shapes and for weights that are no numbers."""
    weights: Dict[int, Dict[str, Any]] = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                kind, part = name.split(".")
                weights.setdefault(int(kind), {})[part] = file[name]
        heads = {kind: Head(**parts) for kind, parts in weights.items()}
    except (OSError, EOFError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} holds no heads: {error}.") from error
    for kind, head in heads.items():
        if head.of_state.shape[0] != STATE_SIZE or head.of_candidate.shape[0] != CANDIDATE_SIZE:
            raise ValueError(f"{path} was learned with other observations; learn it anew.")
        if not all(np.isfinite(values).all() for values in head):
            raise ValueError(f"{path} has weights of kind {kind} that are no numbers.")
    return heads
