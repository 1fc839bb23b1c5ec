"""Groupings: which entities share one trajectory, and how groups are linked from step to step.

A rollout is kept as rows, one a living entity and step. A *grouping* gives every row a group; the groups of a step are
rows of their own, each knowing the same group's row in the next step. Trajectory separation proper is the grouping
`each`, where every entity is a group; a group whose entities are all gone has ended.

Sizes: T steps of N games, B = 2 N sides, R rows, G group rows. Step T is the observation after the last action: its
rows have values but no actions, and only serve to bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch

from engine.config import MAX_FACTORIES, MAX_ROBOTS, SIZE, check_choice, check_range
from engine.jit import jit

SLOTS = MAX_FACTORIES + MAX_ROBOTS
FACTORY, LIGHT, HEAVY = 0, 1, 2  # the kinds of a row

GroupingName = Literal["each", "all", "kind", "id_mod", "quadrant", "nearest_factory", "nearest_heavy", "home"]


@dataclass(frozen=True)
class Grouping:
    """Which trajectories the entities of a side share; robots and factories choose separately.

    `each`: every entity has its own. `all`: one a side. `kind`: one a kind (factory, light, heavy). `id_mod`: by creation
    number modulo `modulo`. `quadrant`: by quarter of the map. `nearest_factory`, `nearest_heavy`: by the closest one of
    the own side. `home`: by the factory that built the robot. Robots and factories that make the same choice share
    groups: `nearest_factory` for both is a factory with the robots around it, `all` for both is one trajectory a side,
    and `all` beside `kind` is one group of robots and one of factories.
    """

    robots: GroupingName = "each"
    factories: GroupingName = "each"
    modulo: int = 4
    """Number of groups that `id_mod` makes."""

    def __post_init__(self) -> None:
        check_choice(self, GROUPINGS, "robots", "factories", prefix="grouping.")
        check_range(self, 1, 4096, "modulo", prefix="grouping.")


ROW_TYPES = {
    "step": np.int32,
    "side": np.int32,
    "slot": np.int16,
    "kind": np.int8,
    "cell": np.int16,
    "ident": np.int32,
    "home": np.int16,
}


@dataclass(frozen=True)
class Rows:
    """The rows of a rollout, ordered by step, then side; columns as in `Observation`."""

    step: np.ndarray  # [R] int32, 0..T
    side: np.ndarray  # [R] int32, 2 * game + player
    slot: np.ndarray  # [R] int16, kept for life
    kind: np.ndarray  # [R] int8, 0 factory, 1 light, 2 heavy
    cell: np.ndarray  # [R] int16, x * 64 + y
    ident: np.ndarray  # [R] int32, creation number: never recurs in a game
    home: np.ndarray  # [R] int16, slot of the home factory, -1 for none

    def __post_init__(self) -> None:
        for name in ROW_TYPES:
            if getattr(self, name).shape != self.step.shape:
                raise ValueError(f"Column {name} of the rows has shape {getattr(self, name).shape}; step has {self.step.shape}.")

    def __len__(self) -> int:
        return len(self.step)


# A key function gives every row (key [R] in 0..width-1, ident [R], width). Two rows of one step and side are in the same
# group if their keys are equal; a group goes on in the next step if key and ident are equal: ident tells the entity that
# the group is named after from a later one in the same slot, and is 0 for groups that are named after no entity.
Keys = tuple[np.ndarray, np.ndarray, int]


def _nobody(rows: Rows) -> np.ndarray:
    return np.zeros(len(rows), np.int32)


def _each(rows: Rows, modulo: int, map_size: int) -> Keys:
    return rows.slot, rows.ident, SLOTS


def _all(rows: Rows, modulo: int, map_size: int) -> Keys:
    return _nobody(rows), _nobody(rows), 1


def _kind(rows: Rows, modulo: int, map_size: int) -> Keys:
    return rows.kind, _nobody(rows), 3


def _id_mod(rows: Rows, modulo: int, map_size: int) -> Keys:
    return rows.ident % modulo, _nobody(rows), modulo


def _quadrant(rows: Rows, modulo: int, map_size: int) -> Keys:
    x, y = np.divmod(rows.cell.astype(np.int32), SIZE)
    return 2 * (2 * x >= map_size) + (2 * y >= map_size), _nobody(rows), 4


def _nearest_factory(rows: Rows, modulo: int, map_size: int) -> Keys:
    return *_nearest(rows.step, rows.side, rows.slot, rows.kind, rows.cell, rows.ident, FACTORY, SLOTS), SLOTS + 1


def _nearest_heavy(rows: Rows, modulo: int, map_size: int) -> Keys:
    return *_nearest(rows.step, rows.side, rows.slot, rows.kind, rows.cell, rows.ident, HEAVY, SLOTS), SLOTS + 1


def _home(rows: Rows, modulo: int, map_size: int) -> Keys:
    return np.where(rows.home < 0, MAX_FACTORIES, rows.home), _nobody(rows), MAX_FACTORIES + 1


GROUPINGS: dict[str, Callable[[Rows, int, int], Keys]] = {
    "each": _each,
    "all": _all,
    "kind": _kind,
    "id_mod": _id_mod,
    "quadrant": _quadrant,
    "nearest_factory": _nearest_factory,
    "nearest_heavy": _nearest_heavy,
    "home": _home,
}
assert set(GROUPINGS) == set(get_args(GroupingName))


@jit
def _nearest(step, side, slot, kind, cell, ident, wanted, nobody):  # pyright: ignore[reportMissingParameterType]
    """Slot and ident of the closest own entity of kind `wanted` (Manhattan, ties to the lower slot); `nobody`, 0 without one."""
    count = len(step)
    key = np.empty(count, np.int32)
    anchor = np.zeros(count, np.int32)
    start = 0
    while start < count:
        stop = start
        while stop < count and step[stop] == step[start] and side[stop] == side[start]:
            stop += 1
        for row in range(start, stop):
            key[row] = nobody
            best = 4 * SIZE
            x, y = cell[row] // SIZE, cell[row] % SIZE
            for other in range(start, stop):
                if kind[other] == wanted:
                    distance = abs(cell[other] // SIZE - x) + abs(cell[other] % SIZE - y)
                    if distance < best or (distance == best and slot[other] < key[row]):
                        best = distance
                        key[row] = slot[other]
                        anchor[row] = ident[other]
        start = stop
    return key, anchor


@dataclass(frozen=True)
class Groups:
    """The groups of a rollout as rows, ordered by step, then side."""

    steps: int  # T
    games: int  # N
    group_of_row: np.ndarray  # [R] int64
    step: np.ndarray  # [G] int32
    side: np.ndarray  # [G] int32
    key: np.ndarray  # [G] int32
    ident: np.ndarray  # [G] int32
    size: np.ndarray  # [G] int32, entities in it; 0 only in the rows that `until_game_end` adds
    next: np.ndarray  # [G] int64, row of the same group in the next step, or -1: all gone, or the game restarted
    team_of_row: np.ndarray  # [R] int64, step * B + side
    one_row_each: bool  # every group row is exactly one row, in the same order

    def __len__(self) -> int:
        return len(self.step)

    @property
    def acted(self) -> int:
        """Number of group rows of steps 0..T-1; those that follow belong to step T."""
        return int(np.searchsorted(self.step, self.steps))

    @property
    def active(self) -> np.ndarray:
        """[G] bool: the group has entities and they acted; only these enter losses and normalisation."""
        return (self.size > 0) & (self.step < self.steps)

    @property
    def team(self) -> np.ndarray:
        """[G] int64: step * B + side."""
        return self.step.astype(np.int64) * (2 * self.games) + self.side

    @property
    def teams(self) -> int:
        """(T + 1) * B."""
        return (self.steps + 1) * 2 * self.games


def keys_of_rows(rows: Rows, grouping: Grouping, map_size: int) -> Keys:
    """Key and ident of every row; where robots and factories choose differently their keys do not meet."""
    if grouping.robots == grouping.factories:
        return GROUPINGS[grouping.robots](rows, grouping.modulo, map_size)
    robot_key, robot_ident, robot_width = GROUPINGS[grouping.robots](rows, grouping.modulo, map_size)
    factory_key, factory_ident, factory_width = GROUPINGS[grouping.factories](rows, grouping.modulo, map_size)
    is_factory = rows.kind == FACTORY
    key = np.where(is_factory, factory_key.astype(np.int32) + robot_width, robot_key)
    return key, np.where(is_factory, factory_ident, robot_ident), robot_width + factory_width


def make_groups(rows: Rows, new_game: np.ndarray, grouping: Grouping, map_size: int, until_game_end: bool = False) -> Groups:
    """Group the rows of a rollout and link the groups from step to step.

    `new_game [T + 1, N]` bool: the game was restarted just before the step, so nothing links into it from before.
    `until_game_end` (the switch `done = "global"`): a group whose entities are all gone goes on as rows of size 0, until
    it has entities again, the game restarts or the rollout ends.
    Raises `ValueError` when rows are not ordered by step and side, or lie outside of `new_game`.
    """
    if new_game.ndim != 2 or new_game.shape[0] < 2:
        raise ValueError(f"new_game has shape {new_game.shape}; expected is [T + 1, N] with T of at least 1.")
    steps, games = new_game.shape[0] - 1, new_game.shape[1]
    team = rows.step.astype(np.int64) * (2 * games) + rows.side
    if len(rows):
        if rows.step.min() < 0 or rows.step.max() > steps or rows.side.min() < 0 or rows.side.max() >= 2 * games:
            raise ValueError(
                f"Rows have steps {rows.step.min()} to {rows.step.max()} and sides {rows.side.min()} to {rows.side.max()}; "
                f"accepted are steps 0 to {steps} and sides 0 to {2 * games - 1}."
            )
        if (team[1:] < team[:-1]).any():
            raise ValueError(f"Row {int(np.argmax(team[1:] < team[:-1])) + 1} comes after a row of a later step or side.")
    key, ident, width = keys_of_rows(rows, grouping, map_size)
    group_of_row, first, size, following = _link(
        rows.step, rows.side, key.astype(np.int32), ident.astype(np.int32), np.ascontiguousarray(new_game, dtype=np.bool_), width
    )
    groups = Groups(
        steps=steps,
        games=games,
        group_of_row=group_of_row,
        step=rows.step[first],
        side=rows.side[first],
        key=key[first].astype(np.int32),
        ident=ident[first].astype(np.int32),
        size=size,
        next=following,
        team_of_row=team,
        one_row_each=len(first) == len(rows),
    )
    return _until_game_end(groups, new_game) if until_game_end else groups


@jit
def _link(step, side, key, ident, new_game, width):  # pyright: ignore[reportMissingParameterType]
    """One pass over the rows: (group of each row, first row of each group, its size, its row in the next step)."""
    count = len(step)
    group_of_row = np.empty(count, np.int64)
    first = np.empty(count, np.int64)
    size = np.zeros(count, np.int32)
    following = np.full(count, -1, np.int64)
    latest = np.full(2 * new_game.shape[1] * width, -1, np.int64)  # the newest group row of each (side, key)
    groups = 0
    for row in range(count):
        place = side[row] * width + key[row]
        group = latest[place]
        since = step[first[group]] if group >= 0 else -2
        if since != step[row]:
            goes_on = since == step[row] - 1 and ident[first[group]] == ident[row] and not new_game[step[row], side[row] // 2]
            if goes_on:
                following[group] = groups
            group = groups
            first[group] = row
            latest[place] = group
            groups += 1
        group_of_row[row] = group
        size[group] += 1
    return group_of_row, first[:groups], size[:groups], following[:groups]


def _until_game_end(groups: Groups, new_game: np.ndarray) -> Groups:
    """Fill the steps in which a group has no entities with rows of size 0."""
    last = np.empty(new_game.shape, np.int64)  # last step of the game that is going on at (step, game)
    last[-1] = groups.steps
    for step in range(groups.steps - 1, -1, -1):
        last[step] = np.where(new_game[step + 1], step, last[step + 1])
    end = last[groups.step, groups.side // 2]

    count = len(groups)
    order = np.lexsort((groups.step, groups.ident, groups.key, groups.side))
    here, there = order[:-1], order[1:]
    same = (groups.side[here] == groups.side[there]) & (groups.key[here] == groups.key[there])
    same &= (groups.ident[here] == groups.ident[there]) & (groups.step[there] <= end[here])
    again = np.full(count, -1, np.int64)  # row in which the group has entities again
    again[here[same]] = there[same]

    gap = np.where(again >= 0, groups.step[again], end + 1) - groups.step - 1
    begin = count + np.cumsum(gap) - gap  # the row that fills a gap's first step
    owner = np.repeat(np.arange(count), gap)
    filler = count + np.arange(len(owner))
    offset = filler - begin[owner]
    step = np.concatenate([groups.step, (groups.step[owner] + 1 + offset).astype(np.int32)])
    side = np.concatenate([groups.side, groups.side[owner]])
    following = np.concatenate([np.where(gap > 0, begin, again), np.where(offset + 1 < gap[owner], filler + 1, again[owner])])

    order = np.lexsort((np.arange(len(step)), side, step))
    place = np.empty(len(step) + 1, np.int64)
    place[order] = np.arange(len(step))
    place[-1] = -1  # so that -1 stays -1
    source = np.concatenate([np.arange(count), owner])[order]
    return replace(
        groups,
        group_of_row=place[groups.group_of_row],
        step=step[order],
        side=side[order],
        key=groups.key[source],
        ident=groups.ident[source],
        size=np.concatenate([groups.size, np.zeros(len(owner), np.int32)])[order],
        next=place[following][order],
        one_row_each=groups.one_row_each and len(owner) == 0,
    )


@dataclass(frozen=True)
class Part:
    """A minibatch: all rows of some (step, game) pairs, and their active groups. Index tensors are int64."""

    rows: torch.Tensor  # [r], into the rows of the rollout
    groups: torch.Tensor  # [k], into the group rows of the rollout
    group_of_row: torch.Tensor  # [r], into `groups`
    team_of_row: torch.Tensor  # [r], 0..teams-1
    team: torch.Tensor  # [k], 0..teams-1
    teams: int
    one_row_each: bool


class Parts:
    """Cuts minibatches out of a rollout.

    A minibatch is made of whole (step, game) pairs, numbered `step * N + game` for steps 0..T-1, so that sums over a group
    or a side are complete in it.
    """

    def __init__(self, groups: Groups, device: torch.device | str = "cpu") -> None:
        self.groups, self.device = groups, device
        self.pairs = groups.steps * groups.games
        bounds = np.arange(self.pairs + 1) * 2
        self._row_start = np.searchsorted(groups.team_of_row, bounds)
        self._group_start = np.searchsorted(groups.team, bounds)

    def part(self, pairs: np.ndarray) -> Part:
        """The minibatch of these pairs `[m]` int, in this order."""
        if len(pairs) and not 0 <= int(pairs.min()) <= int(pairs.max()) < self.pairs:
            raise ValueError(f"Pairs are {pairs.min()} to {pairs.max()}; accepted are 0 to {self.pairs - 1}.")
        rows, pair_of_row = _ranges(self._row_start, pairs)
        groups, pair_of_group = _ranges(self._group_start, pairs)
        filled = self.groups.size[groups] > 0
        groups, pair_of_group = groups[filled], pair_of_group[filled]
        place = np.empty(len(self.groups), np.int64)
        place[groups] = np.arange(len(groups))
        player_of_row = self.groups.team_of_row[rows] & 1
        arrays = (
            rows,
            groups,
            place[self.groups.group_of_row[rows]],
            2 * pair_of_row + player_of_row,
            2 * pair_of_group + (self.groups.side[groups] & 1),
        )
        tensors = [torch.from_numpy(array.astype(np.int64)).to(self.device) for array in arrays]
        return Part(*tensors, teams=2 * len(pairs), one_row_each=self.groups.one_row_each)


def _ranges(start: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers `start[p] .. start[p + 1] - 1` for all pairs one after the other, and the position of each one's pair."""
    length = start[pairs + 1] - start[pairs]
    position = np.repeat(np.arange(len(pairs)), length)
    inside = np.arange(len(position)) - np.repeat(np.cumsum(length) - length, length)
    return start[pairs][position] + inside, position


def sum_by_group(values: torch.Tensor, group_of_row: torch.Tensor, count: int) -> torch.Tensor:
    """Sum rows `values [r, ...]` into `[count, ...]`; differentiable."""
    return values.new_zeros((count, *values.shape[1:])).index_add(0, group_of_row, values)
