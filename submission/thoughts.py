"""What a policy thinks of each of its entities, recorded turn by turn for the replay page when somebody asks for it.

The match runner names a folder in the environment variable `LUXS2_THOUGHTS`; the agent then writes `player_0.jsonl` or
`player_1.jsonl` there, a line a turn: `{"step": .., "rows": [[name, value, [kind, direction, resource, amount],
[the four's probabilities], [[kind, its probability], ...]], ...]}`. Kinds under `SMALLEST` are left out. The actions
are those that the agent would take unrecorded. Copied into submissions, so it needs numpy and torch only and keeps to
Python 3.7.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any, List, Optional

import numpy as np
import torch

VARIABLE = "LUXS2_THOUGHTS"
SMALLEST = 0.005
LIMIT = 256 << 20  # bytes of one side's file


class Recorder:
    """Writes one side's thoughts to a file; where that fails, it says so on stderr and stops."""

    def __init__(self, folder: str, player: str) -> None:
        self.path = os.path.join(folder, player + ".jsonl")
        self._mode = "w"

    def act(self, policy: Any, step: int, seen: Any, generator: Any, greedy: bool) -> np.ndarray:
        """`policy.act` for an observation of one game, and its line in the file."""
        with torch.no_grad():
            batch = policy.batch(seen)
            output = policy(batch)
            distribution = policy.distribution(output.logits, batch.mask)
            action, _ = distribution.sample(generator, greedy)
            chances = [chance(*distribution.factor(index, action)) for index in range(action.shape[1])]
        chosen = torch.stack([p.gather(1, action[:, i, None])[:, 0] for i, p in enumerate(chances)], 1)
        self._write({"step": step, "rows": rows(seen, output.value.numpy(), action.numpy(), chosen.numpy(), chances[0].numpy())})
        return action.numpy()

    def _write(self, thoughts: Any) -> None:
        if not self._mode:
            return
        try:
            with open(self.path, self._mode) as file:
                file.write(json.dumps(thoughts, separators=(",", ":")) + "\n")
            self._mode = "a"
        except OSError as error:
            self._mode = ""
            print(f"Thoughts are not recorded any more: {error}.", file=sys.stderr)


def recorder(player: str) -> Optional[Recorder]:
    """The recorder of a side, if the environment asks for one."""
    folder = os.environ.get(VARIABLE)
    return Recorder(folder, player) if folder else None


def chance(logits: torch.Tensor, legal: torch.Tensor) -> torch.Tensor:
    """Probabilities [M, n] of a factor's choices; an illegal one has exactly 0."""
    return torch.softmax(logits.masked_fill(~legal, float("-inf")), -1)


def rows(seen: Any, value: np.ndarray, action: np.ndarray, chosen: np.ndarray, kinds: np.ndarray) -> List[List[Any]]:
    """The rows of a line; value [M], action [M, 4], chosen [M, 4] probabilities, kinds [M, KINDS] probabilities."""
    made = []
    for i in range(seen.rows):
        name = ("unit_%d" if seen.kind[i] else "factory_%d") % seen.ident[i]
        likely = np.flatnonzero(kinds[i] >= SMALLEST)
        likely = likely[np.argsort(-kinds[i][likely], kind="stable")]
        shares = [[int(kind), round(float(kinds[i][kind]), 3)] for kind in likely]
        shown = float(f"{value[i]:.4g}") if np.isfinite(value[i]) else None  # JSON has no NaN
        made.append([name, shown, action[i].tolist(), [round(float(p), 3) for p in chosen[i]], shares])
    return made


def is_row(row: Any) -> bool:
    """Whether this is what `rows` makes of an entity; a program may write something else."""
    if not isinstance(row, list) or len(row) != 5 or not all(isinstance(part, list) for part in row[2:]):
        return False
    name, value, action, chosen, shares = row
    if not isinstance(name, str) or not re.match(r"(unit|factory)_[0-9]{1,9}\Z", name) or len(action) != 4 or len(chosen) != 4:
        return False
    if not all(isinstance(share, list) and len(share) == 2 for share in shares):
        return False
    whole = action + [share[0] for share in shares]
    numbers = chosen + [share[1] for share in shares] + ([] if value is None else [value])
    return all(type(part) is int and abs(part) < 10**9 for part in whole) and all(
        type(part) in (int, float) and abs(part) < 1e30
        for part in numbers  # neither NaN nor infinity
    )


def read_thoughts(folder: str, player: str) -> List[Any]:
    """The turns that a side recorded, up to the first line that is none: a program may leave anything there, or nothing."""
    path = os.path.join(folder, player + ".jsonl")
    if not os.path.isfile(path) or os.path.getsize(path) > LIMIT:
        return []
    turns = []
    with open(path, "rb") as file:
        for line in file.read(LIMIT).splitlines():
            try:
                turn = json.loads(line.decode())
            except (ValueError, RecursionError):
                break
            if not isinstance(turn, dict) or type(turn.get("step")) is not int or not isinstance(turn.get("rows"), list):
                break
            if not all(is_row(row) for row in turn["rows"]):
                break
            turns.append({"step": turn["step"], "rows": turn["rows"]})
    return turns
