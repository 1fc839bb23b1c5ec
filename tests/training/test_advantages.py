"""Advantages: by hand, against a direct sum over every group's life, and against stable-baselines3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer

from training.trajectories.advantages import Targets, gae, normalize, targets
from training.trajectories.grouping import Grouping, Rows
from training.trajectories.switchboard import PUBLISHED_ROWS, Switchboard

GAMMA, LAM = 0.9, 0.8
Row = tuple[int, int, int, int, int]  # step, side, slot, kind, ident


@dataclass
class World:
    """A rollout in the making: rows with their reward, value and cut value; and what happened to the games."""

    steps: int
    games: int
    rows: list[Row] = field(default_factory=list)
    numbers: list[tuple[float, float, float]] = field(default_factory=list)
    done: np.ndarray = field(init=False)
    truncated: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.done = np.zeros((self.steps, self.games), bool)
        self.truncated = np.zeros((self.steps, self.games), bool)

    def add(self, step: int, side: int, ident: int, reward: float, value: float, cut: float = 0.0, slot: int = 10, kind: int = 1) -> None:
        self.rows.append((step, side, slot, kind, ident))
        self.numbers.append((reward, value, cut))

    def targets(
        self, grouping: Grouping | None = None, switches: Switchboard | None = None, gamma: float = GAMMA, lam: float = LAM
    ) -> Targets:
        columns = np.array(self.rows).reshape(-1, 5).T.astype(np.int32)
        reward, value, cut = np.array(self.numbers).reshape(-1, 3).T
        step, side, slot, kind, ident = columns
        new_game = np.concatenate([np.zeros((1, self.games), bool), self.done | self.truncated])
        return targets(
            Rows(step, side, slot, kind, np.zeros_like(slot), ident, np.zeros_like(slot)),
            *(reward, value, cut, new_game, self.done, self.truncated),
            *(grouping or Grouping(), switches or Switchboard(), 48, gamma, lam),
        )


def test_by_hand_an_entity_that_dies_is_terminal() -> None:
    world = World(3, 1)
    world.add(0, 0, 5, reward=1.0, value=2.0)
    world.add(1, 0, 5, reward=3.0, value=4.0)  # dies in this step: nothing follows
    result = world.targets()
    last = 3.0 - 4.0
    first = 1.0 + 0.9 * 4.0 - 2.0 + 0.9 * 0.8 * last
    assert result.advantage.tolist() == pytest.approx([first, last])
    assert result.returns.tolist() == pytest.approx([first + 2.0, last + 4.0])


def test_by_hand_birth_and_a_recycled_slot() -> None:
    world = World(3, 1)
    world.add(0, 0, 5, 1.0, 2.0)  # dies; its slot goes to number 6 at once
    world.add(1, 0, 6, 10.0, 20.0)
    world.add(2, 0, 6, 100.0, 200.0)
    world.add(3, 0, 6, 0.0, 7.0)
    third = 100.0 + 0.9 * 7.0 - 200.0
    second = 10.0 + 0.9 * 200.0 - 20.0 + 0.72 * third
    assert world.targets().advantage.tolist() == pytest.approx([1.0 - 2.0, second, third, 0.0])


def test_by_hand_truncation_is_bootstrapped_and_the_end_of_a_game_is_not() -> None:
    world = World(2, 3)
    for side in range(0, 6, 2):
        world.add(0, side, 5, 1.0, 2.0, cut=50.0)
    for side in range(0, 6, 2):
        world.add(1, side, 5, 3.0, 4.0, cut=60.0)  # the same number, but in games 0 and 1 another game
    for side in range(0, 6, 2):
        world.add(2, side, 5, 0.0, 8.0)
    world.truncated[0, 0] = True
    world.done[0, 1] = True
    last = 3.0 + 0.9 * 8.0 - 4.0
    expected = [1.0 + 0.9 * 50.0 - 2.0, 1.0 - 2.0, 1.0 + 0.9 * 4.0 - 2.0 + 0.72 * last, last, last, last, 0.0, 0.0, 0.0]
    assert world.targets().advantage.tolist() == pytest.approx(expected)


def test_the_last_step_of_a_rollout_is_bootstrapped_and_learned_from() -> None:
    """Known defect 1: GAE that stops one step early leaves the last step with advantage 0."""
    world = World(1, 1)
    world.add(0, 0, 5, reward=1.0, value=2.0)
    world.add(1, 0, 5, reward=99.0, value=10.0)  # nothing was done here: its reward must not enter
    result = world.targets()
    assert result.advantage.tolist() == pytest.approx([1.0 + 0.9 * 10.0 - 2.0, 0.0])
    assert result.reward.tolist() == [1.0, 0.0]
    assert result.groups.active.tolist() == [True, False]


def test_a_cut_off_game_at_the_last_step_takes_the_cut_value_not_the_new_games_value() -> None:
    world = World(1, 1)
    world.add(0, 0, 5, reward=1.0, value=2.0, cut=6.0)
    world.add(1, 0, 5, reward=0.0, value=1000.0)
    world.truncated[0, 0] = True
    assert world.targets().advantage[0] == pytest.approx(1.0 + 0.9 * 6.0 - 2.0)


def test_one_side_never_sees_the_other() -> None:
    """Known defect 5: what side 1 earns and is worth leaves side 0's targets alone, whatever is taken globally."""
    for grouping, switches in PUBLISHED_ROWS.values():
        first, second = (random_world(3, scale_of_side_1=scale) for scale in (1.0, -7.0))
        mine = first.targets(grouping, switches).groups.side % 2 == 0
        np.testing.assert_array_equal(first.targets(grouping, switches).advantage[mine], second.targets(grouping, switches).advantage[mine])


def random_world(seed: int, steps: int = 25, games: int = 3, scale_of_side_1: float = 1.0) -> World:
    """Births, deaths, recycled slots, ends and truncations, numbers that recur from game to game."""
    rng = np.random.default_rng(seed)
    world = World(steps, games)
    world.done = rng.random((steps, games)) < 0.05
    world.truncated = rng.random((steps, games)) < 0.08  # sometimes both: done wins
    alive: list[dict[int, tuple[int, int]]] = [{} for _ in range(2 * games)]  # slot -> (ident, kind)
    number = [0] * games
    for step in range(steps + 1):
        for side in range(2 * games):
            game, team = side // 2, alive[side]
            if step and (world.done | world.truncated)[step - 1, game]:
                team.clear()
                number[game] = number[game] if side % 2 else 0
            for slot in [slot for slot in team if rng.random() < 0.15]:
                del team[slot]
            while rng.random() < 0.5 and len(team) < 6:
                kind = int(rng.integers(0, 3))
                room = range(0, 10) if kind == 0 else range(10, 20)
                team[min(slot for slot in room if slot not in team)] = (number[game], kind)
                number[game] += 1
            scale = scale_of_side_1 if side % 2 else 1.0
            for slot, (ident, kind) in sorted(team.items()):
                cut = 0.0 if rng.random() < 0.3 else rng.normal() * scale
                world.add(step, side, ident, rng.normal() * scale, rng.normal() * scale, cut, slot, kind)
    return world


Label = Callable[[Row], object]
LABELS: dict[str, tuple[Grouping, Label]] = {
    "each": (Grouping(), lambda row: row[4]),
    "kind": (Grouping("kind", "kind"), lambda row: row[3]),
    "id_mod": (Grouping("id_mod", "id_mod", modulo=3), lambda row: row[4] % 3),
    "all": (Grouping("all", "all"), lambda row: 0),
    "robots each, factories all": (Grouping("each", "all"), lambda row: "factories" if row[3] == 0 else row[4]),
    "robots id_mod": (Grouping("id_mod", modulo=2), lambda row: ("factory", row[4]) if row[3] == 0 else row[4] % 2),
}
SWITCHES = {
    "separate": Switchboard(),
    "global reward": Switchboard(reward="global"),
    "global value": Switchboard(value="global"),
    "global done": Switchboard(done="global"),
    "all global": Switchboard("global", "global", "global", "global", "global"),
    "half reward": Switchboard(own_reward_weight=0.5),
    "half reward, global done": Switchboard(own_reward_weight=0.5, done="global"),
}


def brute_force(world: World, label: Label, switches: Switchboard) -> dict[tuple[int, int, object], float]:
    """Advantage of every (step, side, label) that has entities, by the definition: a sum of discounted errors along its life."""
    found: dict[tuple[int, int, object], list[int]] = {}
    for index, row in enumerate(world.rows):
        found.setdefault((row[0], row[1], label(row)), []).append(index)
    team: dict[tuple[int, int], list[int]] = {}
    for index, row in enumerate(world.rows):
        team.setdefault((row[0], row[1]), []).append(index)

    def total(step: int, side: int, name: object, what: int, scope: str) -> float:
        members = team.get((step, side), []) if scope == "global" else found.get((step, side, name), [])
        return sum(world.numbers[index][what] for index in members)

    def reward(step: int, side: int, name: object) -> float:
        w, scope = switches.own_reward_weight, switches.reward
        everyone = [key[2] for key in found if key[:2] == (step, side)]
        mean = np.mean([total(step, side, other, 0, scope) for other in everyone]) if everyone else 0.0
        return float(w * total(step, side, name, 0, scope) + (1 - w) * mean)

    def life(step: int, side: int, name: object) -> tuple[list[int], str]:
        """Steps from here to the end of the trajectory, and how it ends."""
        lived = [step]
        while True:
            now = lived[-1]
            if world.done[now, side // 2]:
                return lived, "done"
            if world.truncated[now, side // 2]:
                return lived, "truncated"
            if switches.done == "group" and (now + 1, side, name) not in found:
                return lived, "gone"
            if now + 1 == world.steps:
                return lived, "rollout over"
            lived.append(now + 1)

    result: dict[tuple[int, int, object], float] = {}
    for key in found:
        step, side, name = key
        if step == world.steps:
            result[key] = 0.0
            continue
        lived, how = life(*key)
        values = [total(now, side, name, 1, switches.value) for now in lived]
        after = {
            "truncated": total(lived[-1], side, name, 2, switches.value),
            "rollout over": total(world.steps, side, name, 1, switches.value),
        }
        values.append(after.get(how, 0.0))
        errors = [reward(now, side, name) + GAMMA * values[i + 1] - values[i] for i, now in enumerate(lived)]
        result[key] = sum((GAMMA * LAM) ** i * error for i, error in enumerate(errors))
    return result


@pytest.mark.parametrize("switches", list(SWITCHES))
@pytest.mark.parametrize("name", list(LABELS))
def test_against_the_definition(name: str, switches: str) -> None:
    grouping, label = LABELS[name]
    for seed in range(3):
        world = random_world(seed)
        result = world.targets(grouping, SWITCHES[switches])
        expected = brute_force(world, label, SWITCHES[switches])
        assert (result.groups.size > 0).sum() == len(expected)
        for index, row in enumerate(world.rows):
            group = result.groups.group_of_row[index]
            assert result.advantage[group] == pytest.approx(expected[(row[0], row[1], label(row))], abs=1e-5)
        np.testing.assert_allclose(result.returns, result.advantage + result.value, atol=1e-5)


def test_one_group_of_everything_equals_stable_baselines() -> None:
    """One global trajectory is plain single-agent GAE: the numbers of stable-baselines3's rollout buffer."""
    rng = np.random.default_rng(5)
    steps, games = 64, 4
    world = World(steps, games)
    world.done = rng.random((steps, games)) < 0.1
    size = rng.integers(1, 5, (steps + 1, 2 * games))
    for step in range(steps + 1):
        for side in range(2 * games):
            for slot in range(size[step, side]):
                world.add(step, side, slot, rng.normal(), rng.normal(), slot=10 + slot)
    columns, numbers = np.array(world.rows), np.array(world.numbers)
    reward, value = np.zeros((2, steps + 1, 2 * games))
    np.add.at(reward, (columns[:, 0], columns[:, 1]), numbers[:, 0])
    np.add.at(value, (columns[:, 0], columns[:, 1]), numbers[:, 1])
    done = np.repeat(world.done, 2, axis=1)

    buffer = RolloutBuffer(steps, spaces.Box(-1, 1, (1,)), spaces.Discrete(2), gae_lambda=LAM, gamma=GAMMA, n_envs=2 * games)
    starts = np.concatenate([np.ones((1, 2 * games)), done])
    for step in range(steps):
        blank = np.zeros((2 * games, 1), np.float32)
        buffer.add(blank, blank, reward[step], starts[step], torch.from_numpy(value[step]), torch.zeros(2 * games))
    buffer.compute_returns_and_advantage(torch.from_numpy(value[steps]).float(), done[-1])

    everything = Switchboard("global", "global", "global", "global", "global")
    for switches in (Switchboard(), everything):  # with one group, its own and the team's are the same
        result = world.targets(Grouping("all", "all"), switches)
        active = result.groups.active
        assert active.sum() == steps * 2 * games
        np.testing.assert_allclose(result.advantage[active].reshape(steps, -1), buffer.advantages, atol=2e-5)
        np.testing.assert_allclose(result.returns[active].reshape(steps, -1), buffer.returns, atol=2e-5)


def test_separate_is_the_same_as_every_entity_alone() -> None:
    """Leaving out all other entities changes nothing for one: trajectories are separate indeed."""
    world = random_world(11)
    together = world.targets()
    for ident in (0, 1, 4):
        alone = World(world.steps, world.games)
        alone.done, alone.truncated = world.done, world.truncated
        kept = [index for index, row in enumerate(world.rows) if row[4] == ident]
        alone.rows, alone.numbers = [world.rows[i] for i in kept], [world.numbers[i] for i in kept]
        np.testing.assert_array_equal(alone.targets().advantage, together.advantage[kept])


def test_lambda_one_gives_the_discounted_return_and_lambda_zero_the_error_of_one_step() -> None:
    world = World(4, 1)
    rewards, values = [1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]
    for step in range(4):
        world.add(step, 0, 1, rewards[step], values[step])
    world.done[3] = True
    discounted = [sum(0.9 ** (k - t) * rewards[k] for k in range(t, 4)) for t in range(4)]
    assert world.targets(lam=1.0).returns.tolist() == pytest.approx(discounted)
    errors = [r + 0.9 * after - v for r, v, after in zip(rewards, values, [*values[1:], 0.0], strict=True)]
    assert world.targets(lam=0.0).advantage.tolist() == pytest.approx(errors)


def test_normalisation_sees_active_rows_only() -> None:
    """Known defect 3: empty slots shift mean and deviation."""
    torch.manual_seed(0)
    values = torch.randn(50) * 3 + 2
    active = torch.arange(50) % 3 == 0
    scaled = normalize(values, active)
    assert scaled[active].mean().item() == pytest.approx(0.0, abs=1e-6)
    assert scaled[active].std().item() == pytest.approx(1.0, abs=1e-5)
    assert (scaled[~active] == 0).all()
    torch.testing.assert_close(scaled[active], normalize(values[active]))
    moved = torch.where(active, values, torch.full_like(values, 1e6))
    torch.testing.assert_close(normalize(moved, active), scaled)
    assert normalize(torch.tensor([3.0])).tolist() == [0.0]


def test_errors() -> None:
    world = World(2, 1)
    world.add(0, 0, 5, 1.0, 2.0)
    rows = Rows(*(np.zeros(1, np.int32) for _ in range(7)))
    one, no = np.ones(1), np.zeros((2, 1), bool)
    new_game = np.array([[False], [True], [False]])
    rest = (Grouping(), Switchboard(), 48, GAMMA, LAM)
    with pytest.raises(ValueError, match="Game 0 was restarted without being done or truncated at the end of step 0"):
        targets(rows, one, one, one, new_game, no, no, *rest)
    with pytest.raises(ValueError, match="Game 0 ended and was not restarted at the end of step 0"):
        targets(rows, one, one, one, np.zeros((3, 1), bool), new_game[1:], no, *rest)
    with pytest.raises(ValueError, match="earlier row"):
        gae(np.zeros(2), np.zeros(2), np.array([-1, 0]), np.zeros(2), GAMMA, LAM, 2)
