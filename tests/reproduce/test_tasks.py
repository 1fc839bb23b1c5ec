"""The small tasks: the port of spread equals the library, the others keep their laws, and the learner learns."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from reproduce.tasks import TASKS, make_task
from reproduce.tasks.blind_particles import BlindParticles, BlindParticlesConfig
from reproduce.tasks.cue import Cue, CueConfig
from reproduce.tasks.disturbed import gaussian
from reproduce.tasks.learn import LearnConfig, Learner
from reproduce.tasks.predator_prey import EMPTY, MOVES, PREDATOR, PREY, VIEW, PredatorPrey, PredatorPreyConfig
from reproduce.tasks.spread import Spread, SpreadConfig

torch.set_num_threads(1)


def play(name: str, seed: int, steps: int = 30, envs: int = 5, **options):
    """Observations, rewards and ends of random play; legal actions only."""
    task = make_task(name, envs, seed, **options)
    random = np.random.default_rng(99)
    seen = []
    for _ in range(steps):
        mask = task.mask()
        action = np.where(mask, random.random(mask.shape), -1.0).argmax(-1)
        seen.append(task.observe().copy())
        step = task.step(action)
        seen += [step.reward.copy(), step.done, step.truncated]
        task.restart(step.done | step.truncated)
    return seen


# --------------------------------------------------------------------------------------------------------- all the tasks


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_the_shapes_it_says_and_the_same_course_at_a_seed(name):
    task = make_task(name, 3, 0)
    step = task.step(np.zeros((3, task.agents), np.int64))
    assert task.observe().shape == (3, task.agents, task.features) and task.observe().dtype == np.float32
    assert task.state().shape == (3, task.states) and task.state().dtype == np.float32
    assert task.mask().shape == (3, task.agents, task.actions) and task.mask().any(-1).all()
    assert step.reward.shape == (3, task.agents) and step.done.shape == step.truncated.shape == (3,)
    assert task.kinds.shape == (task.agents,)
    once, again, other = (play(name, seed) for seed in (4, 4, 5))
    assert all(np.array_equal(a, b) for a, b in zip(once, again))
    without_chance = name == "two_step"
    assert all(np.array_equal(a, b) for a, b in zip(once, other)) == without_chance


@pytest.mark.parametrize("name", TASKS)
def test_an_episode_ends_at_its_horizon_and_environments_are_apart(name):
    task = make_task(name, 4, 1)
    ages = np.zeros(4, np.int64)
    for _ in range(task.horizon + 3):
        step = task.step(np.zeros((4, task.agents), np.int64))
        ages += 1
        over = step.done | step.truncated
        assert (ages <= task.horizon).all() and not (step.done & step.truncated).any()
        assert over[ages == task.horizon].all()
        before = task.observe()
        task.restart(over)
        assert np.array_equal(before[~over], task.observe()[~over])  # restarting one leaves the others
        ages[over] = 0


def test_an_unknown_task_or_option_is_named():
    with pytest.raises(ValueError, match="no task 'chess'; accepted are spread"):
        make_task("chess", 1, 0)
    with pytest.raises(ValueError, match="spread has no option 'colours'; accepted are agents"):
        make_task("spread", 1, 0, colours=3)


# ---------------------------------------------------------------------------------------------------------------- spread


@pytest.mark.parametrize(("agents", "local_ratio", "seed"), [(3, 0.5, 0), (3, 0.5, 1), (5, 0.2, 2), (2, 1.0, 3)])
def test_spread_equals_the_library_step_by_step(agents, local_ratio, seed):
    """Same start and actions: same observations, rewards and end, collisions included."""
    library = pytest.importorskip("mpe2.simple_spread_v3").parallel_env(N=agents, local_ratio=local_ratio, max_cycles=25)
    task = Spread(2, seed, SpreadConfig(agents, local_ratio))
    observed, _ = library.reset(seed=seed)
    world = library.unwrapped.world
    random = np.random.default_rng(seed)
    for place, landmark in zip(0.2 * random.standard_normal((agents, 2)), world.landmarks):
        landmark.state.p_pos = place  # close together, so that agents bump into each other
    for place, agent in zip(0.2 * random.standard_normal((agents, 2)), world.agents):
        agent.state.p_pos = place
    task.position[1] = [agent.state.p_pos for agent in world.agents]
    task.landmark[1] = [landmark.state.p_pos for landmark in world.landmarks]
    touching = 0
    for time in range(25):
        action = random.integers(5, size=(2, agents))
        observed, reward, _, truncated, _ = library.step({f"agent_{i}": int(action[1, i]) for i in range(agents)})
        step = task.step(action)
        np.testing.assert_allclose(task.observe()[1], [observed[f"agent_{i}"] for i in range(agents)], atol=1e-6)
        np.testing.assert_allclose(step.reward[1], [reward[f"agent_{i}"] for i in range(agents)], atol=1e-6)
        assert bool(step.truncated[1]) == all(truncated.values()) == (time == 24)
        gaps = np.linalg.norm(task.position[1, :, None] - task.position[1], axis=-1)
        touching += int((gaps < 0.3).sum()) - agents
    assert touching > 0


# --------------------------------------------------------------------------------------------------------- predator-prey


def scene(predators: list[tuple[int, int]], prey: list[tuple[int, int]], seed: int = 0) -> PredatorPrey:
    """One environment with things at these cells of the 7x7 grid."""
    task = PredatorPrey(1, seed, PredatorPreyConfig(agents=len(predators), prey=len(prey)))
    task.grid[:, VIEW:-VIEW, VIEW:-VIEW] = EMPTY
    for what, cells, place in ((PREDATOR, predators, task.predator), (PREY, prey, task.prey)):
        for i, cell in enumerate(cells):
            place[0, i] = np.array(cell) + VIEW
            task.grid[0, cell[0] + VIEW, cell[1] + VIEW] = what
    return task


STAY = 4


@pytest.mark.parametrize(("hunters", "reward"), [(0, -0.01), (1, -0.76), (2, 4.99), (3, 4.99)])
def test_a_capture_needs_two_predators_and_one_alone_is_punished(hunters, reward):
    beside, away = [(2, 3), (4, 3), (3, 2)], [(0, 0), (0, 1), (1, 0)]
    task = scene(beside[:hunters] + away[hunters:], [(3, 3), (6, 6)])
    step = task.step(np.full((1, 3), STAY))
    np.testing.assert_allclose(step.reward, reward, atol=1e-6)  # of every predator, wherever it is
    assert bool(task.alive[0, 0]) == (hunters < 2) and task.alive[0, 1]
    assert (task.grid[0] == PREY).sum() == task.alive.sum() and not step.done[0]


def test_a_corner_counts_as_away_and_the_last_capture_ends_the_episode():
    task = scene([(2, 2), (4, 4)], [(3, 3)])
    assert task.step(np.full((1, 2), STAY)).reward[0, 0] == pytest.approx(-0.01)  # diagonal is not beside
    task = scene([(2, 3), (4, 3)], [(3, 3)])
    step = task.step(np.full((1, 2), STAY))
    assert step.done[0] and not step.truncated[0] and step.reward[0, 0] == pytest.approx(4.99)


def test_nothing_enters_a_wall_or_another_and_prey_does_not_step_beside_a_predator():
    task = PredatorPrey(16, 3)
    random = np.random.default_rng(3)
    for _ in range(200):
        prey, alive = task.prey.copy(), task.alive.copy()
        over = task.step(random.integers(5, size=(16, 4)))
        for env in range(16):
            cells = [tuple(c) for c in task.predator[env]] + [tuple(c) for i, c in enumerate(task.prey[env]) if task.alive[env, i]]
            assert len(set(cells)) == len(cells)  # one thing a cell
            assert all(VIEW <= x < 7 + VIEW and VIEW <= y < 7 + VIEW for x, y in cells)
            assert (task.grid[env] == PREDATOR).sum() == 4 and (task.grid[env] == PREY).sum() == task.alive[env].sum()
            for i in np.flatnonzero(alive[env] & task.alive[env]):
                moved = np.abs(task.prey[env, i] - prey[env, i]).sum()
                near = sum(tuple(task.prey[env, i] + move) in cells[:4] for move in MOVES[:4])
                assert moved <= 1 and (moved == 0 or near == 0)
        task.restart(over.done | over.truncated)
        for env in np.flatnonzero(over.done | over.truncated):
            assert task.beside(np.full(2, env), task.prey[env]).sum() == 0


def test_a_predator_sees_prey_in_the_cells_around_it_only():
    task = scene([(3, 3), (0, 6)], [(5, 2), (6, 6)])
    seen = task.observe()[0]
    view = seen[:, 2:27].reshape(2, 5, 5)
    assert view[0].sum() == 1 and view[0, 2 + 2, 2 - 1] == 1  # two to the right, one up
    assert view[1].sum() == 0  # nothing within two cells of the corner
    np.testing.assert_allclose(seen[:, :2], [[0.5, 0.5], [0.0, 1.0]])
    assert (seen[:, 27] == 0).all()
    task.step(np.full((1, 2), STAY))
    assert (task.observe()[0, :, 27] == np.float32(0.01)).all()


# ------------------------------------------------------------------------------------------------ blind particles and cue


def test_a_colour_is_in_the_reward_and_not_in_the_observation():
    """Two agents of different colours in the same state see the same and are paid differently."""
    task = BlindParticles(4, 0, BlindParticlesConfig(group_size=2, colours=3))
    task.position[:] = task.position[:, :1]
    seen = task.observe()
    assert (seen == seen[:, :1]).all()
    step = task.step(np.zeros((4, 6), np.int64))
    same = step.reward.reshape(4, 3, 2)
    assert (same[..., 0] == same[..., 1]).all() and (same[:, 0, 0] != same[:, 1, 0]).all()
    expected = -np.linalg.norm(task.landmark[:, task.colour] - task.position, axis=-1)
    np.testing.assert_allclose(step.reward, expected, rtol=1e-6)


def test_cue_pays_for_the_symbol_that_is_asked_for():
    task = Cue(64, 0, CueConfig(agents=6))
    assert (task.teacher != np.arange(6)).all() and sorted(task.teacher) == list(range(6))
    shown = task.observe()
    own, asked = shown[..., :4].argmax(-1), shown[..., 4] > 0
    answer = np.where(asked, own[:, task.teacher], own)
    assert task.step(answer).reward.mean() == 1.0 and task.step((answer + 1) % 4).reward.mean() == 0.0
    alone = task.step(own).reward
    assert (alone[~asked] == 1.0).all() and 0.1 < alone[asked].mean() < 0.4  # 1 of 4 by chance
    assert task.alone == pytest.approx(0.625)


# ----------------------------------------------------------------------------------------------------------- the learner

QUICK = LearnConfig(task="cue", options={"own": 1.0, "distractors": 2}, width=32, env_steps=8_192, envs=64, rollout_steps=8, evaluations=2)


def test_the_learner_learns_to_name_what_it_sees():
    result = Learner(dataclasses.replace(QUICK, reward_scale=1.0, gamma=0.9)).run()
    first, last = result["curve"]["return"][0], result["curve"]["return"][-1]
    assert 0.15 < first < 0.35 and last > 0.9  # 0.25 is chance
    assert result["curve"]["env_steps"] == [0, 4096, 8192] and result["stats"]["flops"] > 0


def test_a_run_is_the_same_at_a_seed_and_evaluating_leaves_it_alone():
    config = dataclasses.replace(QUICK, env_steps=1_024)
    one, other = Learner(config), Learner(config)
    one.iterate()
    for disturb in (None, gaussian(0.5)):
        assert one.evaluate(8, disturb) == one.evaluate(8, disturb)
    one.iterate()
    other.iterate()
    other.iterate()
    for a, b in zip(one.policy.parameters(), other.policy.parameters()):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("backbone", "method"),
    [
        ("dense", {}),
        ("bun", {"agents": "slots", "seats": 4, "interval": 4}),
        ("communication", {"sharing": "slot", "slots": 4, "kinds": 1, "hearing": "ordered"}),
        ("adaps", {"key": "slot", "slots": 4, "warmup": 0.3, "epochs": 1}),
    ],
)
@pytest.mark.parametrize("separate", [False, True])
def test_the_ratio_is_1_before_the_first_step_of_every_backbone(backbone, method, separate):
    """What acting stored is what learning computes again; the agents' rows are in order."""
    learner = Learner(LearnConfig(backbone=backbone, method=method, separate=separate, epochs=1, minibatches=1, **small()))
    for _ in range(3):
        learner.collect()
        metrics = learner.learn()
        assert metrics["losses/approx_kl"] < 1e-7 and metrics["losses/clipfrac"] == 0.0
        learner.env_steps += 32
        learner.policy.backbone.between_iterations(learner.env_steps / 96, learner.optimizer, learner.experience)


def small() -> dict:
    return {"task": "predator_prey", "width": 32, "envs": 4, "rollout_steps": 8, "env_steps": 96}


def test_the_advantage_of_an_agent_is_its_own_and_a_cut_is_bootstrapped(monkeypatch):
    """Against sums by hand: rewards of one agent, with the value of the last state where time ran out."""
    config = LearnConfig(task="spread", options={"horizon": 3}, envs=2, rollout_steps=5, env_steps=10, gamma=0.9, gae_lambda=1.0)
    learner = Learner(config)
    learner.collect()
    parts = []
    monkeypatch.setattr(learner, "descend", lambda part: parts.append(part) or {})
    learner.learn()
    returns = torch.cat([part["returns"] for part in parts[:4]])
    reward, rows = config.reward_scale * learner.reward.astype(np.float64), learner.rows
    expected = np.zeros((5, rows))
    for t in reversed(range(5)):
        following = learner.value[-1].numpy() if t == 4 else expected[t + 1]
        expected[t] = reward[t] + 0.9 * np.where(learner.ended[t], learner.bootstrap[t], following)
    assert learner.ended[2].all() and (learner.bootstrap[2] != 0).all() and not learner.ended[[0, 1, 3, 4]].any()
    np.testing.assert_allclose(np.sort(returns.numpy()), np.sort(expected.ravel()), atol=1e-5)


def test_experience_links_an_agent_to_itself_within_an_episode():
    learner = Learner(LearnConfig(task="spread", options={"horizon": 3}, envs=2, rollout_steps=5, env_steps=10))
    learner.collect()
    seen = learner.experience()
    linked = np.flatnonzero(seen.next >= 0)
    assert len(linked) == (5 - 1 - 1) * 6  # no next over the end after step 2, nor after the rollout
    assert (seen.slot[seen.next[linked]] == seen.slot[linked]).all()
    landmarks = seen.feature[:, 4:10] + np.tile(seen.feature[:, 2:4], 3)  # in the world, so the same all episode long
    np.testing.assert_allclose(landmarks[linked], landmarks[seen.next[linked]], atol=1e-5)


def test_separate_agents_have_no_common_parameter():
    """A loss of one agent alone gives no other agent's weights a gradient."""
    method = {"sharing": "slot", "slots": 4, "kinds": 1, "hearing": "ordered"}
    learner = Learner(LearnConfig(backbone="communication", method=method, separate=True, **small()))
    learner.collect()
    output = learner.policy(learner.feature[0], learner.mask[0])
    rows = torch.arange(learner.rows) % 4 == 2
    (output.logits[rows].square().sum() + output.value[rows].sum()).backward()
    for name, parameter in learner.policy.named_parameters():
        if name.startswith(("enter", "actor", "critic")):
            assert parameter.grad is not None
            assert parameter.grad[[0, 1, 3]].abs().max() == 0 and parameter.grad[2].abs().max() > 0, name
        else:
            own = ".of_group.2." in name
            assert (parameter.grad is None or parameter.grad.abs().max() == 0) == (not own), name


def test_illegal_actions_are_never_chosen():
    learner = Learner(LearnConfig(task="foraging", envs=2, rollout_steps=10, env_steps=20, minibatches=2))
    learner.collect()
    assert not learner.mask.all()
    assert learner.mask.gather(2, learner.action[..., None]).all()
    assert np.isfinite(list(learner.learn().values())).all()


def test_wrong_settings_are_told():
    with pytest.raises(ValueError, match="backbone is 'transformer'; accepted are"):
        LearnConfig(backbone="transformer")
    with pytest.raises(ValueError, match="envs is 0; it must be at least 1"):
        LearnConfig(envs=0)
    with pytest.raises(ValueError, match="width is 8, but without an input layer"):
        Learner(LearnConfig(width=8, input_layer=False))


# -------------------------------------------------------------------------------------------------------------- two-step


def test_the_two_step_game_pays_what_is_published():
    """All 16 courses: the first agent's first action chooses the game, the second agent's does not matter."""
    task = make_task("two_step", 16, 0)
    first, second = (np.stack(np.divmod(part, 2), 1) for part in (np.arange(16) // 4, np.arange(16) % 4))
    step = task.step(first)
    assert not step.reward.any() and not step.done.any() and not step.truncated.any()
    assert np.array_equal(task.state().argmax(1), 1 + first[:, 0]) and np.array_equal(task.observe()[:, 0], task.observe()[:, 1])
    step = task.step(second)
    paid = [7.0 if a[0] == 0 else [[0.0, 1.0], [1.0, 8.0]][b[0]][b[1]] for a, b in zip(first, second)]
    assert step.reward[:, 0].tolist() == step.reward[:, 1].tolist() == paid and step.done.all()
