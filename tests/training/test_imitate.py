"""Imitation: lessons say what the teacher does, our codec does what lessons say, a policy learns them, and runs resume exactly."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from agent.heads import LOGITS, Distribution
from agent.opening import opening
from agent.policy import PolicyConfig
from agent.scripted import make_act
from agent.stored import load_agent
from arena.replay import write_replay
from arena.replay_page.recording import read_recording
from engine.config import MAX_FACTORIES, MAX_ROBOTS, SIZE, GameConfig
from engine.maps import MapPool
from engine.state import DX, DY, empty_orders
from tests.recorded import record
from training.config import PPOConfig, TrainConfig
from training.imitation import imitate
from training.imitation.imitate import ImitateConfig, Imitator, held_out, lessons_of_round, measure, passes_in_all, read_replays
from training.imitation.lessons import Lesson, LessonConfig, load, play, returns_of, store
from training.imitation.replays import lessons_of
from training.ppo.guidance import coefficient, kl_to_policy
from training.run import checkpoint
from training.train import train
from wrappers.action import DIG, MOVE, PICKUP, TRANSFER, WAIT, write_orders
from wrappers.judge import PLAYERS
from wrappers.teacher import Teacher, allowed, has_choice
from wrappers.vec_env import VecEnv

FARMER = partial(make_act, "farmer")
SMALL = LessonConfig(map_size=24, max_turns=120, keep=1.0)


@pytest.fixture(scope="module")
def lessons(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three short games of the farmer, stored."""
    folder = tmp_path_factory.mktemp("lessons")
    paths = [folder / f"game-{i:05d}.npz" for i in range(3)]
    for i, path in enumerate(paths):
        store(path, play(SMALL, Lesson(path, i), FARMER))
    return paths


def test_nearly_all_decisions_of_the_farmer_can_be_taught(lessons: list[Path]) -> None:
    counts = np.sum([load(path).count for path in lessons], 0)
    assert counts[0, [WAIT, MOVE, TRANSFER, PICKUP, DIG]].min() > 20
    assert counts[1:].sum() < 0.01 * counts[0].sum()


def test_lessons_survive_storing(lessons: list[Path], tmp_path: Path) -> None:
    first = load(lessons[0])
    again = play(SMALL, Lesson(lessons[0], 0), FARMER)
    for name in first._fields:
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name), err_msg=name)
    (tmp_path / "junk.npz").write_bytes(b"junk")
    with pytest.raises(ValueError, match="is no stored lesson"):
        load(tmp_path / "junk.npz")


def test_our_codec_does_what_the_teacher_decided() -> None:
    """The queue that the codec leaves or writes for a decision begins as the teacher's own queue does."""
    config = GameConfig.for_map_size(24)
    teachers = [Teacher(FARMER, config, player, SMALL.actions.amounts_offered()) for player in range(2)]

    def start(game, rules, player, orders) -> None:
        teachers[player].open(game, rules)
        opening(game, rules, player, orders)

    env = VecEnv(config, 1, MapPool(config, [3]), start, actions=SMALL.actions, shuffle=False)
    compared = dict.fromkeys((MOVE, TRANSFER, PICKUP, DIG), 0)
    obs = env.reset()
    for _ in range(150):
        action = np.zeros((obs.rows, 4), np.int64)
        for player, teacher in enumerate(teachers):
            rows = slice(int(obs.first[player]), int(obs.first[player + 1]))
            slot = obs.slot[rows].copy()
            told, said = teacher.decide(env.games[0], env.rules, slot, obs.mask[rows])
            taught = said & allowed(obs.mask[rows], told)
            action[rows] = told * taught[:, None]
            orders = empty_orders(1)[0]
            write_orders(env.games[0], env.rules, player, slot[taught], told[taught], orders)
            for s, a in zip(slot[taught], told[taught]):
                r = player * MAX_ROBOTS + int(s) - MAX_FACTORIES
                if s < MAX_FACTORIES or a[0] not in compared:
                    continue
                compared[int(a[0])] += 1
                ours = orders["queue"][r, 0] if orders["queue_len"][r] > 0 else env.games[0]["queue"][r, 0]
                theirs = teacher.queues()["queue"][r, 0]
                assert (ours[:3] == theirs[:3]).all() and ours[0] == a[0] - 1
                if a[3] < 2:
                    continue
                # all of what there is: no more than asked for, or nearer to it than half of it is
                assert int(ours[3]) <= max(int(theirs[3]), 1) or int(ours[3]) - int(theirs[3]) <= int(ours[3]) / 2
            teacher.watch(slot, action[rows])
        env.step(action)
        obs = env.obs
    assert min(compared.values()) > 5


def test_moves_of_lessons_are_moves_of_the_game(lessons: list[Path]) -> None:
    """A robot whose row says MOVE is one step on in that direction a turn later, in games that the teacher plays."""
    moved = 0
    for path in lessons:
        kept = load(path)
        cell = {}
        for view, slot, place, action, taught in zip(kept.view, kept.slot, kept.cell, kept.action, kept.taught):
            cell[int(view), int(slot)] = (int(place), action, bool(taught))
        for (view, slot), (place, action, taught) in cell.items():
            after = cell.get((view + 2, slot))  # views of both sides, every turn kept
            if slot < MAX_FACTORIES or not taught or after is None or action[0] != MOVE:
                continue
            moved += 1
            assert after[0] == place + DX[action[1]] * SIZE + DY[action[1]]
    assert moved > 200


def test_a_policy_learns_a_few_lessons_by_heart(lessons: list[Path]) -> None:
    torch.manual_seed(0)
    config = ImitateConfig(lessons=SMALL, games=1, rounds=0, batch=128, learning_rate=3e-3, vf_coef=0.01)
    imitator = Imitator(config)
    few = lessons[:1]
    before = measure(imitator.policy, few, imitator.device)["accuracy/all"]
    for _ in range(16):
        imitator.epoch(few, 20)
    after = measure(imitator.policy, few, imitator.device)
    assert before < 0.6 and after["accuracy/all"] > 0.9
    shares = {name: value for name, value in after.items() if name.startswith("confusion/move>")}
    assert sum(shares.values()) == pytest.approx(1.0)


def test_absent_weights_of_a_sparse_pupil_stay_absent(lessons: list[Path]) -> None:
    torch.manual_seed(0)
    imitator = Imitator(ImitateConfig(lessons=SMALL, games=1, rounds=0, batch=128, policy=PolicyConfig(sparsity=0.9)))
    imitator.epoch(lessons[:1], 20)
    topology = imitator.policy.topology
    assert topology is not None
    assert all(bool((weight[~mask] == 0).all()) for weight, mask in zip(topology.weights, topology.masks))


def test_returns_are_discounted_rewards_of_a_life() -> None:
    keys = [np.array([0, 1]), np.array([0]), np.array([0, 2])]
    rewards = [np.array([1.0, 5.0]), np.array([2.0]), np.array([4.0, 7.0])]
    first, second, third = returns_of(keys, rewards, 0.5)
    np.testing.assert_allclose(first, [1 + 0.5 * 2 + 0.25 * 4, 5.0])
    np.testing.assert_allclose(second, [2 + 0.5 * 4])
    np.testing.assert_allclose(third, [4.0, 7.0])


def test_a_student_plays_and_the_teacher_tells(lessons: list[Path], tmp_path: Path) -> None:
    imitator = Imitator(ImitateConfig(lessons=SMALL, games=1, rounds=0))
    checkpoint.save(tmp_path / "student", imitator.stored_config(), imitator.policy.state_dict())
    lesson = Lesson(tmp_path / "game.npz", 1, str(tmp_path / "student"), 1.0)
    kept = play(dataclasses.replace(SMALL, max_turns=60), lesson, FARMER)
    assert kept.taught.sum() > 50
    assert allowed(kept.mask[kept.taught], kept.action[kept.taught].astype(np.int64)).all()
    # an untrained student wanders about; the teacher's lessons there are not those of its own games
    own = load(lessons[1])
    assert (kept.planes[60:120] != own.planes[60:120]).any()


def test_lessons_against_an_opponent_are_of_one_side() -> None:
    kept = play(dataclasses.replace(SMALL, max_turns=20), Lesson(Path("game.npz"), 1), FARMER, partial(make_act, "idle"))
    assert len(kept.planes) <= 20
    both = play(dataclasses.replace(SMALL, max_turns=20), Lesson(Path("game.npz"), 1), FARMER)
    assert len(both.planes) > len(kept.planes)


def test_replays_teach_the_same_decisions(tmp_path: Path) -> None:
    """Ours and Kaggle's; a MOVE is where the robot is a turn later."""
    replay = record(("farmer", "farmer"), 2, 80)
    texts = [[json.dumps(value) for value in replay[name]] for name in ("observations", "actions")]
    path = write_replay(tmp_path / "replay.json.gz", texts[0], texts[1], replay["metadata"], replay["env_cfg"])
    kept = lessons_of(read_recording(path), SMALL)
    assert kept.count[1:].sum() < 0.02 * kept.count[0].sum() and np.isnan(kept.returns).all()
    assert (np.bincount(kept.action[kept.taught, 0], minlength=10)[[MOVE, PICKUP, DIG]] > 10).all()
    steps = [
        [{"observation": {"obs": obs}, "action": done.get(agent, {})} for agent in PLAYERS]
        for obs, done in zip(texts[0], [{}, *replay["actions"]])
    ]
    (tmp_path / "kaggle.json").write_text(
        json.dumps({"steps": steps, "rewards": [1, 0], "configuration": {"env_cfg": replay["env_cfg"], "seed": 2}})
    )
    kaggles = read_recording(tmp_path / "kaggle.json")
    for match in (kaggles, dataclasses.replace(kaggles, env_cfg={})):  # the usual rules, if none are given
        same = lessons_of(match, SMALL)
        for name in ("feature", "action", "taught", "planes"):
            np.testing.assert_array_equal(getattr(kept, name), getattr(same, name))
    winner = lessons_of(dataclasses.replace(read_recording(path), winner="right"), SMALL, winner_only=True)
    assert len(winner.planes) == len(kept.planes) // 2


def test_a_replay_that_lacks_something_is_a_sentence(tmp_path: Path) -> None:
    """As some of other origins lack `global_id`, without which new robots cannot be followed."""
    replay = record(("farmer", "farmer"), 2, 20)
    texts = [[json.dumps(value) for value in replay[name]] for name in ("observations", "actions")]
    observations = [json.dumps({key: value for key, value in obs.items() if key != "global_id"}) for obs in map(json.loads, texts[0])]
    path = write_replay(tmp_path / "replay.json", observations, texts[1], replay["metadata"], replay["env_cfg"])
    with pytest.raises(ValueError, match="replay.json is no replay of Lux AI Season 2: it has no 'global_id'"):
        read_replays([path], read_recording, ImitateConfig(lessons=SMALL), tmp_path / "run")


def distributions(rows: int, seed: int) -> tuple[Distribution, Distribution, torch.Tensor]:
    """Two distributions over the same legal actions, and actions sampled from the second."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.tensor([0b1, 0b11 | 0b11 << 11, 0b1 | 1 << 3 | 1 << 44, 0b10101 | 0b110 << 10 | 0b11 << 15] * rows)
    amounts = torch.tensor([True, False, True])
    pair = [Distribution(3 * torch.randn(len(mask), LOGITS, generator=generator), mask, amounts) for _ in range(2)]
    return pair[0], pair[1], pair[1].sample(generator)[0]


def test_kl_is_that_of_the_factors_and_0_for_equals() -> None:
    teacher, policy, action = distributions(40, 0)
    kl = kl_to_policy(teacher, policy, action)
    torch.testing.assert_close(kl_to_policy(policy, policy, action), torch.zeros_like(kl))
    expected = torch.zeros_like(kl)
    for index in range(4):
        logits, legal = policy.factor(index, action)
        theirs, _ = teacher.factor(index, action)
        for i in range(len(action)):
            p, q = (torch.softmax(x[i][legal[i]], 0) for x in (theirs, logits))
            expected[i] += (p * (p / q).log()).sum()
    torch.testing.assert_close(kl, expected, rtol=1e-4, atol=1e-5)
    assert (kl >= -1e-6).all() and (kl[::4] == 0).all()  # every fourth row has nothing to choose


def test_kl_has_a_finite_gradient() -> None:
    teacher, policy, action = distributions(10, 1)
    logits = policy.logits.clone().requires_grad_()
    kl_to_policy(teacher, Distribution(logits, policy.mask, policy.amounts), action).mean().backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all() and logits.grad.abs().sum() > 0


def test_the_weight_of_the_teacher_falls_to_0() -> None:
    assert [coefficient(0.4, 0.5, p) for p in (0.0, 0.25, 0.5, 0.75)] == pytest.approx([0.4, 0.2, 0.0, 0.0])
    with pytest.raises(ValueError, match="teacher_share"):
        PPOConfig(teacher_share=0.0)


def tiny(run_dir: Path, **changes) -> dict[str, float]:
    """A whole run of imitation: 4 games of the teacher and 2 of the student, of 40 turns."""
    config = ImitateConfig(
        games=4, rounds=1, round_games=2, epochs=1, batch=512, eval_maps=1, lessons=dataclasses.replace(SMALL, max_turns=40)
    )
    return imitate.imitate(dataclasses.replace(config, **changes), run_dir, FARMER, resume=run_dir.exists())


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tiny(tmp_path / "whole")
    monkeypatch.setattr(imitate, "keep_student", stop_at_round_1)
    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path / "cut")
    monkeypatch.undo()
    resumed = tiny(tmp_path / "cut")
    assert resumed == whole
    ends = [checkpoint.load(tmp_path / name, which="latest") for name in ("whole", "cut")]
    assert ends[0].step == ends[1].step == passes_in_all(ImitateConfig(games=4, rounds=1, round_games=2, epochs=1), 0)
    for name, weights in ends[0].policy_state.items():
        assert torch.equal(weights, ends[1].policy_state[name]), name


def stop_at_round_1(imitator: Imitator, run_dir: Path, number: int) -> None:
    if number == 1:
        raise KeyboardInterrupt


@pytest.mark.slow
def test_training_goes_on_from_an_imitation_near_its_teacher(tmp_path: Path) -> None:
    tiny(tmp_path / "teacher", rounds=0)
    agent, game, stored = load_agent(str(tmp_path / "teacher"))
    assert game.map_size == 24 and agent.actions.rubble_distance == 10
    kl = {}
    for coef in (0.0, 20.0):
        ppo = PPOConfig(num_games=2, rollout_steps=8, teacher=str(tmp_path / "teacher"), teacher_coef=coef, teacher_share=1.0, ent_coef=0.1)
        config = TrainConfig(map_size=24, env_steps=16 * 12, eval_maps=1, train_maps=2, max_turns=30, ppo=ppo, actions=agent.actions)
        run_dir = tmp_path / f"run-{coef}"
        train(config, run_dir, init=str(tmp_path / "teacher"))
        lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
        kl[coef] = [line.get("losses/teacher_kl") for line in lines]
    assert kl[0.0] == [None] * len(kl[0.0])  # a teacher without weight costs nothing
    assert kl[20.0][0] < 0.2 and kl[20.0][-1] < 0.5
    with pytest.raises(checkpoint.CheckpointError, match="imitation"):
        from training.train import run_to_resume

        run_to_resume(tmp_path / "teacher")


def test_rounds_have_maps_of_their_own(tmp_path: Path) -> None:
    config = ImitateConfig(games=5, rounds=2, round_games=3)
    rounds = [lessons_of_round(config, tmp_path, number) for number in range(3)]
    seeds = [lesson.seed for games in rounds for lesson in games]
    assert len(set(seeds)) == len(seeds) == 11
    assert [lesson.student is None for games in rounds for lesson in games] == [True] * 5 + [False] * 6
    assert held_out([Path("a")] * 3)[0] == [Path("a")] * 3 and len(held_out([Path("a")] * 16)[1]) == 2


def test_choice_and_permission() -> None:
    assert has_choice(np.array([0b1, 0b11, 0b11 << 20])).tolist() == [False, True, False]
    up = np.array([[MOVE, 1, 0, 0]])
    assert allowed(np.array([1 << MOVE | 1 << 11]), up).all() and not allowed(np.array([1 << MOVE | 1 << 12]), up).any()
