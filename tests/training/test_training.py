"""The loop: its first step, determinism, exact resume, and what it survives."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import tyro

from agent.plain import from_dict, to_dict
from agent.policy import Policy, PolicyConfig, policy_sizes
from agent.scripted import make_act
from agent.stored import Agent, load_agent
from arena.evaluate import EVALUATION_SEEDS, Scripted, evaluate
from engine.config import GameConfig
from training.config import PPOConfig, QConfig, TrainConfig
from training.learner import outfit
from training.ppo.learner import PPOLearner
from training.presets import PRESETS
from training.run import checkpoint
from training.run.metrics import read_metrics
from training.run.progress import Clock
from training.run.stopping import TrainingError
from training.train import LEARNERS, Run, run_to_resume, train
from training.trajectories.grouping import Parts
from training.trajectories.switchboard import PUBLISHED_ROWS
from wrappers.action import ActionConfig

torch.set_num_threads(1)

SMALL = TrainConfig(
    env_steps=128,
    train_maps=4,
    eval_every=10**9,
    eval_maps=1,
    checkpoint_every=64,
    device="cpu",
    ppo=PPOConfig(num_games=4, rollout_steps=8, epochs=2, minibatches=2),
)


def weights(trainer: PPOLearner) -> np.ndarray:
    return np.concatenate([p.detach().numpy().ravel() for p in trainer.policy.parameters()])


def test_before_the_first_step_of_epoch_0_the_ratio_is_one():
    trainer = PPOLearner(SMALL)
    trainer.collect()
    taught = trainer.targets()
    parts = Parts(taught.groups)
    columns = {name: torch.from_numpy(getattr(taught, name)) for name in ("advantage", "returns", "value")}
    pairs = np.arange(parts.pairs)
    part = parts.part(pairs)
    _, metrics = trainer.minibatch_loss(part, torch.from_numpy(pairs), columns)
    assert metrics["losses/clipfrac"] == 0
    assert abs(metrics["losses/approx_kl"]) < 1e-8
    # every row that acted is in, each once, with the advantage of its own side's entity
    assert sorted(part.rows.tolist()) == list(range(trainer.rollout.acted))
    rows = trainer.rollout.rows()
    groups = taught.groups
    for row, group in zip(part.rows.tolist(), part.groups[part.group_of_row].tolist()):
        assert (groups.step[group], groups.side[group], groups.ident[group]) == (rows.step[row], rows.side[row], rows.ident[row])


def test_every_minibatch_of_every_epoch_is_a_step():
    trainer = PPOLearner(SMALL)
    trainer.step_iteration()
    steps = {int(state["step"]) for state in trainer.optimizer.state_dict()["state"].values()}
    assert steps == {SMALL.ppo.epochs * SMALL.ppo.minibatches}


def test_same_seed_same_weights_and_another_seed_others():
    def trained(seed: int) -> np.ndarray:
        trainer = PPOLearner(dataclasses.replace(SMALL, seed=seed))
        for _ in range(3):
            trainer.step_iteration()
        return weights(trainer)

    first = trained(1)
    assert np.array_equal(first, trained(1))
    assert not np.array_equal(first, trained(2))


def test_evaluation_does_not_change_training(tmp_path):
    train(SMALL, tmp_path / "without")
    train(dataclasses.replace(SMALL, eval_every=64), tmp_path / "with")
    without, with_evaluations = (checkpoint.load(tmp_path / name, which="latest") for name in ("without", "with"))
    for name, tensor in without.policy_state.items():
        assert torch.equal(tensor, with_evaluations.policy_state[name]), name


def test_resuming_equals_not_stopping(tmp_path):
    config = dataclasses.replace(SMALL, ppo=dataclasses.replace(SMALL.ppo, anneal_learning_rate=False))  # which env_steps would decide
    train(config, tmp_path / "whole")
    train(dataclasses.replace(config, env_steps=64), tmp_path / "parts")
    folder, stored = run_to_resume(tmp_path / "parts")
    assert folder == tmp_path / "parts" and stored == dataclasses.replace(config, env_steps=64)
    train(config, folder, resume=True)
    whole, parts = (checkpoint.load(tmp_path / name, which="latest") for name in ("whole", "parts"))
    assert whole.step == parts.step == SMALL.env_steps
    for name, tensor in whole.policy_state.items():
        assert torch.equal(tensor, parts.policy_state[name]), name
    assert whole.trainer_state["ranks"][0]["env"]["rng"] == parts.trainer_state["ranks"][0]["env"]["rng"]
    assert torch.equal(whole.trainer_state["ranks"][0]["generator"], parts.trainer_state["ranks"][0]["generator"])
    assert [m["step"] for m in read_metrics(tmp_path / "parts")] == [m["step"] for m in read_metrics(tmp_path / "whole")]


@pytest.mark.parametrize(
    "row", ["separate", "single_global", "robots_mod_4", "global_log_prob", "global_value", "global_done", "own_reward_50"]
)
def test_every_kind_of_published_row_trains(row):
    grouping, switches = PUBLISHED_ROWS[row]
    trainer = PPOLearner(dataclasses.replace(SMALL, grouping=grouping, switches=switches))
    before = weights(trainer)
    metrics = trainer.step_iteration()
    assert np.isfinite(list(metrics.values())).all()
    assert not np.array_equal(before, weights(trainer))


def test_truncated_games_are_bootstrapped_with_the_final_state():
    trainer = PPOLearner(SMALL)
    trainer.env.limit[:2] = 3  # two games are cut off after three turns
    trainer.collect()
    rollout = trainer.rollout
    assert rollout.truncated[:, :2].sum() == 2 and rollout.truncated.sum() == 2
    rows = rollout.rows()
    cut = rollout.truncated[np.minimum(rows.step, rollout.steps - 1), rows.side // 2] & (rows.step < rollout.steps)
    assert cut.any()
    assert (rollout.cut_value[: rollout.count][cut] != 0).all()
    assert (rollout.cut_value[: rollout.count][~cut] == 0).all()


def test_a_number_that_is_not_finite_stops_training_with_good_weights_saved(tmp_path, monkeypatch):
    config = dataclasses.replace(SMALL, env_steps=10**6)
    broken = PPOLearner.targets

    def poisoned(self: PPOLearner):
        taught = broken(self)
        if self.env_steps >= 64:
            taught.returns[0] = np.nan
        return taught

    monkeypatch.setattr(PPOLearner, "targets", poisoned)
    with pytest.raises(TrainingError, match="gradient's norm is nan after 64 .* saved in"):
        train(config, tmp_path / "run")
    stored = checkpoint.load(tmp_path / "run", which="latest")
    assert all(torch.isfinite(tensor).all() for tensor in stored.policy_state.values())


def test_a_checkpoint_plays_again(tmp_path):
    train(SMALL, tmp_path / "run")
    agent, config, stored = load_agent(str(tmp_path / "run"))
    assert stored.step == SMALL.env_steps and config.map_size == SMALL.map_size
    seeds = range(EVALUATION_SEEDS, EVALUATION_SEEDS + 2)
    first = evaluate(agent, config, seeds)
    assert first == evaluate(agent, config, seeds)
    assert [game.seed for game in first.games] == list(seeds)
    against = evaluate(agent, config, seeds, opponent=Agent(agent.policy, agent.actions))
    assert 0 <= against.scores["win_rate"] <= 1 and against.scores["episodes"] == 2


def test_config_round_trip_and_unknown_keys():
    for config in PRESETS.values():
        assert from_dict(TrainConfig, to_dict(config)) == config
    values = to_dict(SMALL)
    values["ppo"]["learning_speed"] = 1
    with pytest.raises(ValueError, match=r"The ppo config has unknown: learning_speed"):
        from_dict(TrainConfig, values)
    with pytest.raises(ValueError, match="ppo.minibatches is 99, more than ppo.num_games"):
        PPOConfig(num_games=2, rollout_steps=2, minibatches=99)


def parts_of(config: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """A config's parts and theirs, each with its name."""
    for field in dataclasses.fields(config):
        if dataclasses.is_dataclass(part := getattr(config, field.name)):
            yield field.name, part
            yield from parts_of(part)


@pytest.mark.parametrize(("name", "part"), [pytest.param(*found, id=found[0]) for found in parts_of(TrainConfig())])
def test_messages_of_wrong_options_name_their_part(name, part):
    refused = 0
    for field in dataclasses.fields(part):
        if dataclasses.is_dataclass(getattr(part, field.name)):
            continue
        for value in (-1, 1e9, "nonsense", ("nonsense", "nonsense")):
            try:
                dataclasses.replace(part, **{field.name: value})
            except TypeError:  # of another kind, which the command line does not let through
                continue
            except ValueError as error:
                refused += 1
                assert f"{name}." in str(error).split(" ")[0], error
    assert refused or name == "dense"  # which has nothing to refuse


def test_the_advice_after_a_number_that_is_not_finite_is_an_option_of_what_learns(tmp_path, monkeypatch):
    for algo, part in (("mppo", "ppo"), ("iql", "q"), ("vdn", "q"), ("qmix", "q")):
        config = dataclasses.replace(SMALL, algo=algo, q=QConfig(num_games=2, rollout_steps=4, replay=1, passes=1, minibatches=1))
        run = Run(LEARNERS[algo](config, Clock()), tmp_path / algo)
        for parameter in run.learner.policy.parameters():
            parameter.register_hook(lambda gradient: gradient * np.nan)
        with pytest.raises(TrainingError, match=rf"--algo {algo} --{part}\.learning-rate \d") as caught:
            run.step()
        options = str(caught.value).partition("train --init ")[2].split()[1:]
        assert tyro.cli(TrainConfig, args=options).algo == algo


@pytest.mark.slow
def test_killed_at_ten_random_moments_it_always_resumes_and_ends_the_same(tmp_path):
    command = [sys.executable, "main.py", "train", "--env-steps", "16384", "--eval-every", "0", "--eval-maps", "1", "--train-maps", "4"]
    command += ["--checkpoint-every", "256", "--ppo.num-games", "4", "--ppo.rollout-steps", "8", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "--run-dir", str(tmp_path / "whole")], check=True, env=environment, capture_output=True)
    generator = np.random.default_rng(0)
    run = tmp_path / "killed"
    metrics = run / "metrics.jsonl"
    for kill in range(11):
        argv = [*command, "--run-dir", str(run), *(["--resume"] if list(run.glob("step-*")) else [])]
        process = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if kill == 10:  # let it end
            output, _ = process.communicate(timeout=600)
            assert process.returncode == 0, output.decode()
            break
        if kill >= 2:  # the first two may be killed before they have begun to train
            before = metrics.stat().st_mtime_ns if metrics.exists() else 0
            while process.poll() is None and not (metrics.exists() and metrics.stat().st_mtime_ns != before):
                time.sleep(0.01)
        time.sleep(generator.uniform(0, 1))
        assert process.poll() is None, process.communicate()[0].decode()
        process.send_signal(signal.SIGKILL)
        process.communicate()
    whole, killed = (checkpoint.load(tmp_path / name, which="latest") for name in ("whole", "killed"))
    assert whole.step == killed.step == 16384
    for name, tensor in whole.policy_state.items():
        assert torch.equal(tensor, killed.policy_state[name]), name


def test_ctrl_c_saves_and_resumes(tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "main.py", "train", "--env-steps", "1000000", "--train-maps", "4", "--run-dir", str(run)]
    command += ["--checkpoint-every", "1000000", "--eval-every", "0", "--ppo.num-games", "4", "--ppo.rollout-steps", "8", "--device", "cpu"]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.time() + 120
    metrics = run / "metrics.jsonl"
    while time.time() < deadline and process.poll() is None and not (metrics.exists() and metrics.read_text()):
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    stored = checkpoint.load(run, which="latest")
    assert stored.step > 0
    assert [m["step"] for m in read_metrics(run)][-1] == stored.step


def test_an_agent_that_builds_nothing_loses_to_the_miner_from_either_side():
    actions = ActionConfig.survival(build_heavy=False)
    agent = Agent(Policy(PolicyConfig(), policy_sizes(actions)), actions)
    seeds = range(EVALUATION_SEEDS, EVALUATION_SEEDS + 2)
    result = evaluate(agent, GameConfig.for_map_size(48), seeds, opponent=Scripted(lambda: make_act("miner")))
    assert [game.result for game in result.games] == [-1, 1]  # it is player_0 in the first game, player_1 in the second
    assert [game.factories[game.game % 2] for game in result.games] == [0, 0]
    assert min(game.factories[1 - game.game % 2] for game in result.games) > 0
    assert result.scores["win_rate"] == 0 and result.scores["finished"] == 0 and result.scores["ice_transferred"] == 0


def test_cut_values_are_those_of_the_same_entities_in_the_final_states():
    trainer = PPOLearner(dataclasses.replace(SMALL, max_turns=8, stagger=False))
    seen = {}
    reset_done = trainer.env.reset_done

    def remember():
        if trainer.env.over.all():
            obs = trainer.env.obs
            with torch.no_grad():
                value = trainer.policy(trainer.policy.batch(obs)).value
            seen.update({(int(s), int(i)): float(v) for s, i, v in zip(obs.side, obs.ident, value)})
        return reset_done()

    trainer.env.reset_done = remember
    trainer.collect()
    rollout = trainer.rollout
    rows = rollout.rows()
    last = np.flatnonzero(rows.step == rollout.steps - 1)
    assert rollout.truncated[-1].all() and len(seen) > 4
    for row in last:
        key = (int(rows.side[row]), int(rows.ident[row]))
        assert rollout.cut_value[row] == pytest.approx(seen.get(key, 0.0), abs=1e-6)


def test_games_cut_short_for_staggering_are_in_no_chart():
    """Of four games of 16 turns the first are cut after 4, 8 and 12."""
    ppo = dataclasses.replace(SMALL.ppo, num_games=4, rollout_steps=8)
    lengths = []
    for algo in ("mppo", "iql"):
        q = QConfig(num_games=4, rollout_steps=8, replay=1, passes=1, minibatches=1)
        learner = LEARNERS[algo](dataclasses.replace(SMALL, algo=algo, max_turns=16, ppo=ppo, q=q), Clock())
        lengths += [learner.step_iteration().get("charts/game_length") for _ in range(4)]
    assert lengths == 2 * [None, 16.0, 16.0, 16.0]


def test_what_is_drawn_for_games_says_nothing_of_the_order_of_minibatches():
    own = outfit(SMALL, 4, Clock())
    games, order = np.random.default_rng(SMALL.seed), own.shuffle
    assert games.bit_generator.state != order.bit_generator.state
    assert not set(games.integers(0, 1 << 60, 1000).tolist()) & set(order.integers(0, 1 << 60, 1000).tolist())


def test_what_is_told_of_the_policy_is_of_those_that_choose():
    trainer = PPOLearner(SMALL)
    trainer.collect()
    parts = Parts(trainer.targets().groups)
    part = parts.part(np.arange(parts.pairs))
    batch, _ = trainer.rollout.minibatch(part, torch.arange(parts.pairs))
    kinds = [bin(int(mask) & 0x3FF).count("1") for mask in batch.mask]
    distribution = trainer.policy.distribution(trainer.policy(batch).logits, batch.mask)
    assert distribution.chooses().tolist() == [count > 1 for count in kinds] and 0 < sum(count > 1 for count in kinds) < len(kinds)
    columns = {name: torch.zeros(len(part.groups)) for name in ("advantage", "returns", "value")}
    told = trainer.minibatch_loss(part, torch.arange(parts.pairs), columns)[1]["losses/entropy"].item()
    entropy = distribution.evaluate(trainer.rollout.minibatch(part, torch.arange(parts.pairs))[1]).entropy
    assert told == pytest.approx(entropy[distribution.chooses()].mean().item(), rel=1e-5)
