"""Groupings on small hand-made rollouts: who shares a group, and what is linked to what."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.trajectories.grouping import GROUPINGS, Grouping, Groups, Parts, Rows, make_groups, sum_by_group
from training.trajectories.switchboard import PUBLISHED_ROWS, Switchboard, collect, collect_part, group_rewards

MAP_SIZE = 48
FACTORY, LIGHT, HEAVY = 0, 1, 2


def cell(x: int, y: int) -> int:
    return x * 64 + y


def make_rows(*entities: tuple[int, int, int, int, int, int, int]) -> Rows:
    """Rows of (step, side, slot, kind, cell, ident, home)."""
    columns = np.array(entities, np.int64).reshape(-1, 7).T
    types = (np.int32, np.int32, np.int16, np.int8, np.int16, np.int32, np.int16)
    return Rows(*(column.astype(kind) for column, kind in zip(columns, types, strict=True)))


def no_restart(steps: int, games: int = 1) -> np.ndarray:
    return np.zeros((steps + 1, games), bool)


def members(groups: Groups) -> list[set[int]]:
    """The rows of every group row."""
    return [set(np.flatnonzero(groups.group_of_row == group).tolist()) for group in range(len(groups))]


# one step of one side: two factories and five robots; the other side has one factory and one heavy near the first side's
TEAM = make_rows(
    (0, 0, 0, FACTORY, cell(10, 10), 0, 0),
    (0, 0, 1, FACTORY, cell(40, 40), 2, 1),
    (0, 0, 10, LIGHT, cell(12, 10), 4, 1),
    (0, 0, 11, HEAVY, cell(38, 40), 5, 0),
    (0, 0, 12, LIGHT, cell(30, 20), 6, 0),
    (0, 0, 13, HEAVY, cell(12, 30), 7, 1),
    (0, 0, 15, LIGHT, cell(40, 38), 9, 1),
    (0, 1, 0, FACTORY, cell(12, 12), 1, 0),
    (0, 1, 10, HEAVY, cell(12, 11), 8, 0),
)
SHARED = {  # groups of the rows of both sides when robots and factories choose the same
    "each": [{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}, {8}],
    "all": [{0, 1, 2, 3, 4, 5, 6}, {7, 8}],
    "kind": [{0, 1}, {2, 4, 6}, {3, 5}, {7}, {8}],
    "id_mod": [{0, 4, 6}, {1, 3}, {2, 5}, {7}, {8}],  # modulo 3: 0 2 1 2 0 1 0 and 1 2
    "quadrant": [{0, 2}, {1, 3, 6}, {4}, {5}, {7, 8}],
    "nearest_factory": [{0, 2, 4, 5}, {1, 3, 6}, {7, 8}],  # row 4 is 30 away from both: the lower slot
    "nearest_heavy": [{0, 2, 5}, {1, 3, 4, 6}, {7, 8}],
    "home": [{0, 3, 4}, {1, 2, 5, 6}, {7, 8}],
}


@pytest.mark.parametrize("name", list(GROUPINGS))
def test_groups_of_one_step(name: str) -> None:
    groups = make_groups(TEAM, no_restart(1), Grouping(name, name, modulo=3), MAP_SIZE)  # pyright: ignore[reportArgumentType]
    assert members(groups) == SHARED[name]
    assert groups.size.tolist() == [len(rows) for rows in SHARED[name]]
    assert (groups.next == -1).all()


def test_nearest_is_by_manhattan_distance_among_own_entities() -> None:
    """Each robot against a direct search, on random positions; sides never share."""
    rng = np.random.default_rng(0)
    entities = []
    for side in range(4):
        slots = [*range(3), *range(10, 25)]
        entities += [
            (0, side, s, 0 if s < 10 else int(rng.integers(1, 3)), cell(*rng.integers(0, 48, 2)), 100 * side + s, 0) for s in slots
        ]
    rows = make_rows(*entities)
    for name, kind in (("nearest_factory", FACTORY), ("nearest_heavy", HEAVY)):
        groups = make_groups(rows, no_restart(1, 2), Grouping(robots=name), MAP_SIZE)  # pyright: ignore[reportArgumentType]
        for row in np.flatnonzero(rows.kind != FACTORY):
            anchors = np.flatnonzero((rows.kind == kind) & (rows.side == rows.side[row]))
            distance = abs(rows.cell[anchors] // 64 - rows.cell[row] // 64) + abs(rows.cell[anchors] % 64 - rows.cell[row] % 64)
            group = groups.group_of_row[row]
            assert groups.ident[group] == rows.ident[anchors[np.argmin(distance)]]
            assert groups.side[group] == rows.side[row]


def test_without_an_anchor_there_is_one_group_of_the_rest() -> None:
    rows = make_rows((0, 0, 0, FACTORY, 0, 0, 0), (0, 0, 10, LIGHT, 5, 3, -1), (0, 0, 11, LIGHT, 70, 4, -1))
    for name in ("nearest_heavy", "home"):
        assert members(make_groups(rows, no_restart(1), Grouping(robots=name), MAP_SIZE)) == [{0}, {1, 2}]


def test_robots_and_factories_choose_separately() -> None:
    def of(robots: str, factories: str) -> list[set[int]]:
        return members(make_groups(TEAM, no_restart(1), Grouping(robots, factories), MAP_SIZE))  # pyright: ignore[reportArgumentType]

    assert of("all", "kind") == [{0, 1}, {2, 3, 4, 5, 6}, {7}, {8}]
    assert of("each", "all") == [{0, 1}, {2}, {3}, {4}, {5}, {6}, {7}, {8}]
    assert of("all", "each") == [{0}, {1}, {2, 3, 4, 5, 6}, {7}, {8}]


def test_each_is_linked_by_identity_through_death_birth_and_recycled_slot() -> None:
    rows = make_rows(
        (0, 0, 0, FACTORY, 0, 0, 0),  # 0
        (0, 0, 10, LIGHT, 5, 7, 0),  # 1 dies after step 0
        (1, 0, 0, FACTORY, 0, 0, 0),  # 2
        (1, 0, 10, LIGHT, 5, 9, 0),  # 3 another robot in the same slot
        (1, 0, 11, LIGHT, 6, 10, 0),  # 4 born
        (2, 0, 0, FACTORY, 0, 0, 0),  # 5
        (2, 0, 11, LIGHT, 6, 10, 0),  # 6
    )
    groups = make_groups(rows, no_restart(2), Grouping(), MAP_SIZE)
    assert groups.one_row_each and groups.group_of_row.tolist() == list(range(7))
    assert groups.next.tolist() == [2, -1, 5, -1, 6, -1, -1]
    assert groups.acted == 5
    assert groups.active.tolist() == [True] * 5 + [False] * 2


def test_shared_groups_go_on_when_their_entities_change_and_end_when_all_are_gone() -> None:
    rows = make_rows(
        (0, 0, 10, LIGHT, 0, 5, 0),
        (1, 0, 11, LIGHT, 0, 6, 0),  # another light: the same group of lights
        (2, 0, 12, HEAVY, 0, 7, 0),  # no light: their group ends
        (3, 0, 13, LIGHT, 0, 8, 0),  # lights again, after a step without: a new trajectory
    )
    grouping = Grouping(robots="kind")
    groups = make_groups(rows, no_restart(3), grouping, MAP_SIZE)
    assert groups.next.tolist() == [1, -1, -1, -1]
    # a global done keeps both going: rows of size 0 fill the gap
    filled = make_groups(rows, no_restart(3), grouping, MAP_SIZE, until_game_end=True)
    assert filled.step.tolist() == [0, 1, 2, 2, 3, 3]
    lights = [0, int(filled.next[0]), int(filled.next[filled.next[0]]), int(filled.next[filled.next[filled.next[0]]])]
    assert filled.size[lights].tolist() == [1, 1, 0, 1]
    assert filled.step[lights].tolist() == [0, 1, 2, 3] and filled.next[lights[-1]] == -1
    heavy = int(filled.group_of_row[2])
    assert filled.size[[heavy, filled.next[heavy]]].tolist() == [1, 0]
    assert filled.active.sum() == 3


def test_a_restart_breaks_every_link_of_that_game_only() -> None:
    entities = [(step, side, 0, FACTORY, 0, side % 2, 0) for step in range(3) for side in range(4)]
    new_game = no_restart(2, 2)
    new_game[2, 1] = True
    for grouping in (Grouping(), Grouping("all", "all")):
        groups = make_groups(make_rows(*entities), new_game, grouping, MAP_SIZE)
        assert groups.next.tolist() == [4, 5, 6, 7, 8, 9, -1, -1, -1, -1, -1, -1]


def test_global_done_ends_with_the_game() -> None:
    """A robot that dies at step 0 goes on as an empty row up to the step before the restart, and not beyond."""
    rows = make_rows((0, 0, 10, LIGHT, 0, 5, 0), (3, 0, 10, LIGHT, 0, 5, 0))  # the same number recurs in the next game
    new_game = no_restart(4)
    new_game[3] = True
    groups = make_groups(rows, new_game, Grouping(), MAP_SIZE, until_game_end=True)
    assert groups.step.tolist() == [0, 1, 2, 3, 4]
    assert groups.size.tolist() == [1, 0, 0, 1, 0]
    assert groups.next.tolist() == [1, 2, -1, 4, -1]
    assert groups.group_of_row.tolist() == [0, 3]


def test_sums_keep_the_total_and_the_minibatches_cover_the_rollout() -> None:
    rng = np.random.default_rng(1)
    entities = [
        (step, side, slot, 0 if slot < 10 else 1 + slot % 2, cell(*rng.integers(0, 48, 2)), slot, 0)
        for step in range(5)
        for side in range(6)
        for slot in (0, 1, 10, 11, 12, 13, 14)
        if rng.random() < 0.7
    ]
    rows = make_rows(*entities)
    values = rng.standard_normal(len(rows))
    for grouping, switches in PUBLISHED_ROWS.values():
        groups = make_groups(rows, no_restart(4, 3), grouping, MAP_SIZE, until_game_end=switches.done == "global")
        by_group = collect(values, groups, "group")
        assert by_group.sum() == pytest.approx(values.sum())
        teams, first = np.unique(groups.team, return_index=True)
        assert collect(values, groups, "global")[first].sum() == pytest.approx(values[np.isin(groups.team_of_row, teams)].sum())
        parts = Parts(groups)
        seen = np.zeros(len(groups), int)
        for pairs in np.split(rng.permutation(parts.pairs), 4):
            part = parts.part(pairs)
            seen[part.groups.numpy()] += 1
            inside = torch.from_numpy(values)[part.rows]
            for scope in ("group", "global"):
                whole = collect(values, groups, scope)[part.groups.numpy()]
                np.testing.assert_allclose(collect_part(inside, part, scope).numpy(), whole, atol=1e-12)
        assert (seen == groups.active).all()  # every active group exactly once, no other ever


def test_sum_by_group_is_differentiable() -> None:
    values = torch.arange(4.0, requires_grad=True)
    sums = sum_by_group(values, torch.tensor([1, 0, 1, 1]), 3)
    assert sums.tolist() == [1.0, 5.0, 0.0]
    (sums * torch.tensor([2.0, 3.0, 5.0])).sum().backward()
    assert values.grad is not None and values.grad.tolist() == [3.0, 2.0, 3.0, 3.0]


def test_reward_switches() -> None:
    rows = make_rows((0, 0, 0, FACTORY, 0, 0, 0), (0, 0, 10, LIGHT, 0, 5, 0), (0, 0, 11, LIGHT, 0, 6, 0), (0, 1, 0, FACTORY, 0, 1, 0))
    reward = np.array([1.0, 2.0, 6.0, 10.0])
    groups = make_groups(rows, no_restart(1), Grouping(), MAP_SIZE)
    assert group_rewards(reward, groups, Switchboard()).tolist() == [1, 2, 6, 10]
    assert group_rewards(reward, groups, Switchboard(reward="global")).tolist() == [9, 9, 9, 10]
    assert group_rewards(reward, groups, Switchboard(own_reward_weight=0.0)).tolist() == [3, 3, 3, 10]
    assert group_rewards(reward, groups, Switchboard(own_reward_weight=0.75)).tolist() == [1.5, 2.25, 5.25, 10]
    pairs = make_groups(rows, no_restart(1), Grouping(robots="all"), MAP_SIZE)
    # the mean is over groups, not over entities
    assert group_rewards(reward, pairs, Switchboard(own_reward_weight=0.0)).tolist() == [4.5, 4.5, 10]


def test_errors_name_value_and_alternatives() -> None:
    with pytest.raises(ValueError, match="robots is 'pairs'; accepted are each, all"):
        Grouping(robots="pairs")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="grouping.modulo is 0; accepted are 1 to 4096"):
        Grouping(modulo=0)
    with pytest.raises(ValueError, match="switches.value is 'team'; accepted are group, global"):
        Switchboard(value="team")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="own_reward_weight is 1.5"):
        Switchboard(own_reward_weight=1.5)
    with pytest.raises(ValueError, match="Row 1 comes after a row of a later step or side"):
        make_groups(make_rows((1, 0, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 0, 0)), no_restart(1), Grouping(), MAP_SIZE)
    with pytest.raises(ValueError, match="accepted are steps 0 to 1 and sides 0 to 1"):
        make_groups(make_rows((0, 2, 0, 0, 0, 0, 0)), no_restart(1), Grouping(), MAP_SIZE)
