"""The rollout store: T observations and actions of N games, kept as rows.

Memory follows the number of entities that really lived: the row buffers grow to the largest rollout seen and are
reused. `Rollout.nbytes` is what they hold; a row costs about 4 bytes a feature and 80 bytes more.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from agent.backbones import Experience
from agent.batch import Batch
from training.trajectories.grouping import ROW_TYPES, Grouping, Part, Rows, make_groups


class RowColumns(NamedTuple):
    """What is kept of every row, as tensors on the learning device."""

    feature: Tensor  # [cap, D] float32
    slot: Tensor  # [cap] int64
    kind: Tensor  # [cap] int64
    home: Tensor  # [cap] int64
    block: Tensor  # [cap] int64
    mask: Tensor  # [cap] int64
    action: Tensor  # [cap, 4] int64
    log_prob: Tensor  # [cap] float32
    value: Tensor  # [cap] float32


class Rollout:
    """T steps of N games; `begin`, then T times `add` and `outcome`, then `finish`.

    With `keep_last` the observation of step T is kept too, so that values can be computed anew (`whole`).
    """

    def __init__(
        self, steps: int, games: int, sizes: dict, device: torch.device, fields: dict[str, int] | None = None, keep_last: bool = False
    ) -> None:
        self.steps, self.games, self.device, self.keep_last = steps, games, device, keep_last
        self._fields = {name: torch.zeros(steps * 2 * games * 12, width, device=device) for name, width in (fields or {}).items()}
        sides, side = 2 * games, sizes["plane_size"]
        seen = steps + keep_last
        self.planes = torch.zeros(seen, sides, side * side * sizes["planes"], device=device)
        self.scalar = torch.zeros(seen, sides, sizes["scalars"], device=device)
        self.new_game = np.zeros((steps + 1, games), bool)
        self.done = np.zeros((steps, games), bool)
        self.truncated = np.zeros((steps, games), bool)
        self.width = sizes["entity"] + sizes.get("own", 0) + sizes.get("advice", 0)
        self._columns = self._make_columns(steps * sides * 12)
        self._rows = Rows(**{name: np.zeros(len(self._columns.slot), dtype) for name, dtype in ROW_TYPES.items()})
        self.reward = np.zeros(len(self._columns.slot), np.float32)
        self.cut_value = np.zeros(len(self._columns.slot), np.float32)
        self.count = 0  # rows so far
        self.acted = 0  # rows of steps 0..T-1
        self._step = 0
        self._last = 0  # first row of the current step

    def _make_columns(self, cap: int) -> RowColumns:
        def column(dtype: torch.dtype, *shape: int) -> Tensor:
            return torch.zeros(cap, *shape, dtype=dtype, device=self.device)

        i, f = torch.int64, torch.float32
        return RowColumns(column(f, self.width), column(i), column(i), column(i), column(i), column(i), column(i, 4), column(f), column(f))

    @property
    def nbytes(self) -> int:
        """Bytes held, on the device and off it."""
        tensors = [*self._columns, *self._fields.values(), self.planes, self.scalar]
        arrays = [*vars(self._rows).values(), self.reward, self.cut_value]
        return sum(t.nbytes for t in tensors) + sum(array.nbytes for array in arrays)

    def begin(self) -> None:
        """Forget the last rollout."""
        self.count = self._step = self._last = 0
        self.new_game[0] = False

    def _reserve(self, rows: int) -> None:
        cap = len(self._columns.slot)
        if rows <= cap:
            return
        cap = max(rows, cap * 3 // 2)
        old, self._columns = self._columns, self._make_columns(cap)
        for before, after in zip(old, self._columns):
            after[: self.count] = before[: self.count]
        for name, before in self._fields.items():
            self._fields[name] = before.new_zeros(cap, before.shape[1])
            self._fields[name][: self.count] = before[: self.count]
        self._rows = Rows(**{name: grown(column, cap) for name, column in vars(self._rows).items()})
        self.reward, self.cut_value = grown(self.reward, cap), grown(self.cut_value, cap)

    def add(
        self,
        obs,
        batch: Batch,
        value: Tensor,
        action: Tensor | None = None,
        log_prob: Tensor | None = None,
        fields: dict[str, Tensor] | None = None,
    ) -> None:
        """The observation of the current step; without actions it is step T, which only bootstraps.

        `fields` are what the policy says it must see again (`Policy.fields`), `[rows, width]` each.
        """
        rows = obs.rows
        self._reserve(self.count + rows)
        first, last = self.count, self.count + rows
        columns = self._columns
        columns.value[first:last] = value
        self._rows.step[first:last] = self._step
        for name in ("side", "slot", "kind", "cell", "ident", "home"):
            getattr(self._rows, name)[first:last] = getattr(obs, name)[:rows]
        self.reward[first:last] = 0.0
        self.cut_value[first:last] = 0.0
        if self._step < self.steps or self.keep_last:
            columns.feature[first:last] = batch.feature
            columns.slot[first:last] = batch.slot
            columns.kind[first:last] = batch.kind
            columns.home[first:last] = batch.home
            columns.block[first:last] = batch.block
            columns.mask[first:last] = batch.mask
            self.planes[self._step] = batch.planes.flatten(1)
            self._planes_shape = batch.planes.shape[1:]
            self.scalar[self._step] = batch.scalar
        if action is not None and log_prob is not None:
            columns.action[first:last] = action
            columns.log_prob[first:last] = log_prob
            for name, column in self._fields.items():
                column[first:last] = (fields or {})[name]
        self._last, self.count = first, last

    def outcome(self, reward: np.ndarray, done: np.ndarray, truncated: np.ndarray) -> None:
        """What the current step's actions brought; games that ended restart before the next step."""
        self.reward[self._last : self.count] = reward
        self.done[self._step] = done
        self.truncated[self._step] = truncated & ~done
        self.new_game[self._step + 1] = done | truncated
        self._step += 1

    def cut(self, obs, value: Tensor) -> None:
        """Values `value [rows]` of the final states `obs`, for the last step's rows of games that were truncated."""
        side, ident = (column[self._last : self.count] for column in (self._rows.side, self._rows.ident))
        cut = np.flatnonzero(self.truncated[self._step - 1][side // 2])
        # an entity is told by its side and its creation number; one that is not there any more is worth nothing
        _, now, later = np.intersect1d(
            entity(side[cut], ident[cut]), entity(obs.side[: obs.rows], obs.ident[: obs.rows]), assume_unique=True, return_indices=True
        )
        self.cut_value[self._last + cut[now]] = value.cpu().numpy()[later]

    def finish(self) -> None:
        """All T steps acted and the observation after them was added."""
        if self._step != self.steps:
            raise ValueError(f"The rollout has {self._step} steps with outcomes; it holds {self.steps}.")
        self.acted = self._last

    def rows(self) -> Rows:
        """Who the rows are, step T included."""
        return Rows(**{name: column[: self.count].copy() for name, column in vars(self._rows).items()})

    @property
    def value(self) -> np.ndarray:
        """[R] float32 on the CPU."""
        return self._columns.value[: self.count].cpu().numpy()

    def stored(self, part: Part) -> dict[str, Tensor]:
        """The policy's extra fields of a minibatch's rows, [r, width] each."""
        return {name: column[part.rows] for name, column in self._fields.items()}

    def experience(self) -> Experience:
        """The rows of steps 0..T-1 as arrays, each linked to the same entity's row one turn later; copies."""
        columns, acted = self._columns, self.acted
        # one group an entity: the grouping of the advantages knows who goes on as whom
        following = make_groups(self.rows(), self.new_game, Grouping("each", "each"), 64).next[:acted]

        def host(column: Tensor) -> np.ndarray:
            return column[:acted].cpu().numpy().copy()

        return Experience(
            feature=host(columns.feature),
            kind=host(columns.kind),
            slot=host(columns.slot),
            group=host(columns.home),
            action=host(columns.action),
            reward=self.reward[:acted].copy(),
            next=np.where(following < acted, following, -1),
        )

    def old_log_prob(self, part: Part) -> Tensor:
        """[r] of a minibatch's rows, as they were when acting."""
        return self._columns.log_prob[part.rows]

    def minibatch(self, part: Part, pairs: Tensor) -> tuple[Batch, Tensor]:
        """Observation and actions of a minibatch; `pairs` are its (step, game) numbers `step * N + game`."""
        columns = self._columns
        planes = self.planes.view(len(self.planes) * self.games, -1).index_select(0, pairs)
        scalar = self.scalar.view(len(self.scalar) * self.games, -1).index_select(0, pairs).view(-1, self.scalar.shape[2])
        return self._batch(part.rows, part.team_of_row, planes, scalar), columns.action[part.rows]

    def whole(self) -> Batch:
        """All rows of steps 0..T as one batch, whose sides are numbered `step * 2 N + side`; needs `keep_last`."""
        if not self.keep_last:
            raise ValueError("The rollout did not keep the observation of its last step; make it with keep_last.")
        sides = 2 * self.games
        step, side = (column[: self.count].astype(np.int64) for column in (self._rows.step, self._rows.side))
        team = torch.from_numpy(step * sides + side).to(self.device)
        rows = torch.arange(self.count, device=self.device)
        return self._batch(rows, team, self.planes.flatten(0, 1), self.scalar.flatten(0, 1))

    def _batch(self, rows: Tensor, side: Tensor, planes: Tensor, scalar: Tensor) -> Batch:
        columns = self._columns
        kind = columns.kind[rows]
        return Batch(
            feature=columns.feature.index_select(0, rows),
            side=side,
            slot=columns.slot[rows],
            kind=kind,
            home=columns.home[rows],
            block=columns.block[rows],
            mask=columns.mask[rows],
            planes=planes.view(-1, *self._planes_shape),
            scalar=scalar,
            robots=torch.nonzero(kind != 0)[:, 0],
            factories=torch.nonzero(kind == 0)[:, 0],
        )

    def state(self) -> dict[str, Any]:
        """A finished rollout for a checkpoint, without room that is not used; `fields` are not in it."""
        count = self.count
        return {
            "columns": [column[:count] for column in self._columns],
            "facts": np.stack([column[:count] for column in vars(self._rows).values()]).astype(np.int64),  # in the order of `Rows`
            "rows": [self.reward[:count], self.cut_value[:count]],
            "steps": [self.new_game, self.done, self.truncated],
            "seen": [self.planes, self.scalar],
            "planes_shape": list(self._planes_shape),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Become the rollout that `state` was made of."""
        self.begin()
        count = state["facts"].shape[1]
        self._reserve(count)
        for column, stored in zip(self._columns, state["columns"]):
            column[:count] = stored
        for column, stored in zip(vars(self._rows).values(), state["facts"]):
            column[:count] = stored
        for own, stored in zip((self.reward, self.cut_value), state["rows"]):
            own[:count] = stored
        for own, stored in zip((self.new_game, self.done, self.truncated), state["steps"]):
            own[:] = stored
        for own, stored in zip((self.planes, self.scalar), state["seen"]):
            own.copy_(stored)
        self._planes_shape = torch.Size(state["planes_shape"])
        self.count, self._step = count, self.steps
        self.acted = self._last = int(np.searchsorted(self._rows.step[:count], self.steps))


def grown(column: np.ndarray, cap: int) -> np.ndarray:
    """The column `[n]` with zeros behind it, `[cap]`."""
    return np.concatenate([column, np.zeros(cap - len(column), column.dtype)])


def entity(side: np.ndarray, ident: np.ndarray) -> np.ndarray:
    """`[r]` int64, a number for each entity of all games."""
    return side.astype(np.int64) << 32 | ident


def join(parts: list[Experience]) -> Experience:
    """Several rollouts' rows as one."""
    starts = np.cumsum([0, *(len(part.next) for part in parts)])
    linked = [np.where(part.next >= 0, part.next + start, -1) for part, start in zip(parts, starts)]
    return Experience._make([*(np.concatenate(columns) for columns in zip(*(part[:-1] for part in parts))), np.concatenate(linked)])
