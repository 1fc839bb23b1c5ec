"""Several ranks train as one: real processes, real gloo, started by torchrun on this machine's loopback.

As a script (started by torchrun, see `gradients_of_ranks`) this file is what one rank does for the law of gradients.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from agent.backbones.adaps import AdapsConfig
from agent.policy import SAYS_KIND, PolicyConfig
from tests.training.test_league import differences, same
from training.config import PPOConfig, TrainConfig
from training.ppo.learner import PPOLearner
from training.ppo.loss import ppo_loss
from training.run import checkpoint, parallel
from training.run.metrics import read_metrics
from training.train import train
from training.trajectories.grouping import Parts

torch.set_num_threads(1)

ROOT = Path(__file__).parents[2]
# a free port each time, and nothing that leaves this machine
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
if sys.platform == "linux":
    ENVIRONMENT["GLOO_SOCKET_IFNAME"] = "lo"

SMALL = TrainConfig(
    env_steps=256,
    train_maps=4,
    eval_every=10**9,
    eval_maps=1,
    checkpoint_every=64,
    device="cpu",
    ppo=PPOConfig(num_games=4, rollout_steps=8, epochs=2, minibatches=2),
)
OPTIONS = ["--train-maps", "4", "--eval-every", "0", "--eval-maps", "1", "--device", "cpu", "--ppo.num-games", "4"]
OPTIONS += ["--ppo.rollout-steps", "8", "--ppo.epochs", "2", "--ppo.minibatches", "2"]


def start(run: Path, *options: str) -> subprocess.Popen[str]:
    command = [*TORCHRUN, "main.py", "train", *OPTIONS, "--run-dir", str(run), *options]
    return subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str], timeout: float = 180) -> str:
    """What a launch printed, once it has ended; it is killed, and the test fails, if it does not end."""
    try:
        return process.communicate(timeout=timeout)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"It still ran after {timeout} s: {process.communicate()[0]}")


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(child) for child in children if b"main.py" in Path(f"/proc/{child}/cmdline").read_bytes()]


def wait_for_metrics(run: Path, process: subprocess.Popen[str], deadline: float = 120) -> None:
    end = time.time() + deadline
    metrics = run / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text()):
        if time.time() > end or process.poll() is not None:
            process.kill()
            pytest.fail(f"It never trained: {process.communicate()[0]}")
        time.sleep(0.2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run of two ranks from start to end."""
    run = tmp_path_factory.mktemp("parallel") / "whole"
    process = start(run, "--env-steps", "256", "--checkpoint-every", "64")
    output = finish(process)
    assert process.returncode == 0, output
    assert output.count("unseen maps") == 1 and output.count("The run is in") == 1
    return run


def test_two_ranks_end_with_equal_weights_and_write_one_run(whole):
    stored = checkpoint.load(whole, which="latest")
    trainer = PPOLearner(SMALL)
    trainer.policy.load_state_dict(stored.policy_state)
    # both ranks gave this checksum (a run whose ranks differ saves nothing), and it is that of what was saved
    assert stored.trainer_state["weights"] == parallel.checksum(trainer.policy)
    assert stored.step == 256
    steps = [line["step"] for line in read_metrics(whole)]
    assert steps == [64, 128, 192, 256]  # an iteration is 2 ranks * 4 games * 8 turns
    assert len(list(whole.glob("events.out.tfevents.*"))) == 1
    first, second = stored.trainer_state["ranks"]
    assert first["env"]["games"].shape == second["env"]["games"].shape
    assert not np.array_equal(first["env"]["games"], second["env"]["games"])
    assert first["env"]["rng"] != second["env"]["rng"]
    assert not torch.equal(first["generator"], second["generator"])


def test_resuming_two_ranks_equals_not_stopping(whole, tmp_path):
    run = tmp_path / "parts"
    shutil.copytree(whole, run)
    shutil.rmtree(run / "step-000000256")  # as if it had been killed in its last iteration
    (run / "latest").write_text("step-000000192\n")
    (run / "best").unlink()
    process = start(run, "--env-steps", "256", "--resume")
    output = finish(process)
    assert process.returncode == 0, output
    assert [line["step"] for line in read_metrics(run)] == [64, 128, 192, 256]
    uninterrupted, parts = (checkpoint.load(path, which="latest") for path in (whole, run))
    for name, tensor in uninterrupted.policy_state.items():
        assert torch.equal(tensor, parts.policy_state[name]), name
    for before, after in zip(uninterrupted.trainer_state["ranks"], parts.trainer_state["ranks"]):
        assert np.array_equal(before["env"]["games"], after["env"]["games"])
        assert torch.equal(before["generator"], after["generator"])


def test_resuming_with_another_number_of_ranks_is_refused(whole):
    config = dataclasses.replace(SMALL, env_steps=512)
    with pytest.raises(ValueError, match="of a run with 2 ranks, this one has 1; to resume, start as many"):
        train(config, whole, resume=True)


def test_no_two_ranks_of_no_two_runs_share_a_seed():
    seeds = [parallel.seed_of(seed, rank) for seed in range(50) for rank in range(50)]
    assert len(set(seeds)) == len(seeds) and parallel.seed_of(7, 0) == 7


# ------------------------------------------------------------------------------------------------------ law of gradients


def half_minibatch(trainer: PPOLearner) -> tuple[Any, torch.Tensor, dict[str, torch.Tensor]]:
    """A minibatch of a fresh rollout: its part, pairs and columns."""
    trainer.collect()
    taught = trainer.targets()
    parts = Parts(taught.groups)
    columns = {name: torch.from_numpy(getattr(taught, name)) for name in ("advantage", "returns", "value")}
    pairs = np.arange(parts.pairs // 2)
    return parts.part(pairs), torch.from_numpy(pairs), columns


def another_bias(trainer: PPOLearner) -> torch.Tensor:
    """What moves the policy away from ratio 1."""
    return torch.randn(len(trainer.policy.heads.linear.bias), generator=torch.Generator().manual_seed(0))


def gradients_of_three_layers(rank: int) -> list[float | None]:
    """The averaged gradients of three biases: one that both ranks used, one that rank 1 alone did, and one that nobody did."""
    layers = [torch.nn.Linear(1, 1) for _ in range(3)]
    torch.stack([layer(torch.zeros(1)) for layer in layers[: 1 + rank]]).sum().backward()
    parallel.average_gradients(torch.nn.ModuleList(layers), 1 + rank)
    return [None if layer.bias.grad is None else float(layer.bias.grad) for layer in layers]


def clusters_of_ranks(rank: int, shared: bool) -> str:
    """What ranks whose autoencoders come to other identities say of their policies after one iteration, "" if they are equal."""
    identities = torch.randn(30, 10, generator=torch.Generator().manual_seed(rank))
    policy = PolicyConfig(backbone="adaps", adaps=AdapsConfig(warmup=0.0, clusters=2, hidden_features=SAYS_KIND))
    trainer = PPOLearner(dataclasses.replace(SMALL, policy=policy))
    backbone = trainer.policy.backbone
    backbone.identities = lambda _: identities
    if not shared:  # as it would be without the broadcast
        find = backbone.between_iterations
        backbone.between_iterations = lambda *told: find(*told) and False
    trainer.step_iteration()
    assert int(backbone.clusters) == 2
    try:
        parallel.check_equal(trainer.policy)
    except parallel.RanksDiffer as error:
        return str(error)
    return ""


def gradients_of_ranks(folder: Path) -> None:
    """What each rank does: its part of one gradient, and what ranks do when they disagree; the results are saved."""
    with parallel.group():
        trainer = PPOLearner(SMALL)
        part, pairs, columns = half_minibatch(trainer)
        # where clipping, and so the normalised advantage's sign, matters
        with torch.no_grad():
            trainer.policy.heads.linear.bias.add_(another_bias(trainer))
        loss, _ = trainer.minibatch_loss(part, pairs, columns)
        loss.backward()
        parallel.average_gradients(trainer.policy, len(part.groups))
        gradient = torch.cat([p.grad.flatten() for p in trainer.policy.parameters() if p.grad is not None])
        equal = parallel.check_equal(trainer.policy)
        rank = parallel.rank()
        flags = [parallel.any_rank(rank == 1), parallel.any_rank(False)]
        with torch.no_grad():
            trainer.policy.value.bias.add_(rank * 1e-6)
        try:
            parallel.check_equal(trainer.policy)
            differ = ""
        except parallel.RanksDiffer as error:
            differ = str(error)
        told = parallel.on_first(lambda: f"rank {rank} says")
        try:
            parallel.on_first(lambda: checkpoint.load(folder / "missing"))
            ended = "no"
        except checkpoint.CheckpointError as error:
            ended = str(error)
        except SystemExit as quiet:
            ended = f"quietly with {quiet.code}"
        facts = {"groups": len(part.groups), "equal": equal, "flags": flags, "differ": differ, "told": told, "ended": ended}
        facts["biases"] = gradients_of_three_layers(rank)
        facts["clusters"] = [clusters_of_ranks(rank, shared) for shared in (True, False)]
        torch.save(gradient, folder / f"{rank}.pt")
        importlib.import_module("torch._dynamo")  # as optimisers do at times
    facts["threads"] = threads_of_groups()
    (folder / f"{rank}.json").write_text(json.dumps(facts))


def threads_of_groups() -> int:
    """How many threads of process groups this process has; on Linux, which alone names them."""
    return sum("gloo" in path.read_text() for path in Path("/proc/self/task").glob("*/comm"))


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("gradients")
    done = subprocess.run([*TORCHRUN, __file__, str(folder)], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return folder


def test_averaged_gradient_of_two_minibatches_is_that_of_the_joined_minibatch(two_ranks):
    # rank 1 is a lone trainer with rank 1's seed and rank 0's weights
    trainers = [PPOLearner(dataclasses.replace(SMALL, seed=parallel.seed_of(SMALL.seed, rank))) for rank in (0, 1)]
    trainers[1].policy.load_state_dict(trainers[0].policy.state_dict())
    minibatches = [half_minibatch(trainer) for trainer in trainers]
    policy = trainers[0].policy
    with torch.no_grad():
        policy.heads.linear.bias.add_(another_bias(trainers[0]))
    joined: list[list[torch.Tensor]] = []
    for trainer, (part, pairs, columns) in zip(trainers, minibatches):
        batch, action = trainer.rollout.minibatch(part, pairs)
        logits, value, _ = policy(batch)
        log_prob, entropy = policy.distribution(logits, batch.mask).evaluate(action)
        kept = [columns[name][part.groups] for name in ("advantage", "value", "returns")]
        joined.append([log_prob, trainer.rollout.old_log_prob(part), value, entropy, *kept])
    new, old, value, entropy, advantage, old_value, returns = (torch.cat(columns) for columns in zip(*joined))
    advantage = (advantage - advantage.mean()) / advantage.std()
    ppo = SMALL.ppo
    loss, metrics = ppo_loss(
        new, old, advantage, value, old_value, returns, entropy, ppo.clip_coef, ppo.clip_value_loss, ppo.vf_coef, ppo.ent_coef
    )
    assert 0.01 < metrics["losses/clipfrac"] < 0.99
    loss.backward()
    expected = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
    gradients = [torch.load(two_ranks / f"{rank}.pt") for rank in (0, 1)]
    assert torch.equal(gradients[0], gradients[1])
    assert float((gradients[0] - expected).norm() / expected.norm()) < 1e-5
    facts = [json.loads((two_ranks / f"{rank}.json").read_text()) for rank in (0, 1)]
    # else the weights of the average would not be tested
    assert facts[0]["groups"] != facts[1]["groups"] and sum(fact["groups"] for fact in facts) == len(new)


def test_what_no_rank_used_has_no_gradient(two_ranks):
    for rank in (0, 1):
        both, one, none = json.loads((two_ranks / f"{rank}.json").read_text())["biases"]
        # rank 1 weighs twice as much as rank 0
        assert both == 1.0 and one == pytest.approx(2 / 3) and none is None


def test_masks_that_every_rank_would_choose_otherwise_are_the_first_ones(two_ranks):
    for rank in (0, 1):
        shared, alone = json.loads((two_ranks / f"{rank}.json").read_text())["clusters"]
        assert shared == "" and "The weights of rank 1" in alone


def test_ranks_agree_or_all_know_that_they_do_not(two_ranks):
    first, second = (json.loads((two_ranks / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["equal"] == second["equal"]
    assert first["flags"] == second["flags"] == [True, False]
    assert first["differ"] == second["differ"] and "The weights of rank 1" in first["differ"]
    assert first["told"] == second["told"] == "rank 0 says"
    assert "missing" in first["ended"] and second["ended"] == "quietly with 2"


def test_a_group_that_was_left_has_no_threads(two_ranks):
    # one that lives on may abort the process at exit
    for rank in (0, 1):
        assert json.loads((two_ranks / f"{rank}.json").read_text())["threads"] == 0


def test_without_torchrun_there_is_one_rank_and_nothing_happens():
    assert not dist.is_initialized()
    with parallel.group():
        assert not dist.is_initialized()
    module = torch.nn.Linear(2, 2)
    module(torch.ones(1, 2)).sum().backward()
    assert module.weight.grad is not None
    before = module.weight.grad.clone()
    parallel.average_gradients(module, 7)
    assert torch.equal(module.weight.grad, before)
    assert (parallel.size(), parallel.rank(), parallel.everywhere(3), parallel.at_first(3)) == (1, 0, [3], [3])


@pytest.mark.slow
def test_two_ranks_of_a_league_resume_as_if_they_had_not_stopped(tmp_path):
    """The checkpoint has the first rank's pool and results: had the other rank's differed, it would go on otherwise."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = ["--env-steps", "384", "--checkpoint-every", "128", "--max-turns", "20", "--league.share", "0.75"]
    options += ["--league.scripted", "miner", "--league.max-steps", "128", "--league.pool", "6", "--league.match-games", "2"]
    process = start(whole, *options)
    output = finish(process)
    assert process.returncode == 0, output
    shutil.copytree(whole, parts)
    shutil.rmtree(parts / "step-000000384")  # as if it had been killed in its last iteration
    (parts / "latest").write_text("step-000000256\n")
    (parts / "best").unlink()
    process = start(parts, "--env-steps", "384", "--resume")
    output = finish(process)
    assert process.returncode == 0, output
    first, second = (checkpoint.load(run, which="latest") for run in (whole, parts))
    league = first.trainer_state["league"]
    assert league["games"] > 0 and league["last_entry"] == 384, league  # the last one entered after the stop
    assert first.step == second.step == 384 and differences(first.trainer_state, second.trainer_state) == []
    assert same(first.policy_state, second.policy_state)
    for rank in first.trainer_state["ranks"]:
        assert set(rank["seats"]["opponent"].tolist()) <= {-1, *(member["uid"] for member in league["members"])}


# ------------------------------------------------------------------------------------------------------- how a run ends


@pytest.mark.slow
def test_a_stop_request_saves_and_ends_all_ranks(tmp_path):
    process = start(tmp_path / "run", "--env-steps", "10000000", "--checkpoint-every", "10000000")
    wait_for_metrics(tmp_path / "run", process)
    process.send_signal(signal.SIGINT)
    finish(process, timeout=60)
    stored = checkpoint.load(tmp_path / "run", which="latest")
    assert [line["step"] for line in read_metrics(tmp_path / "run")][-1] == stored.step > 0
    assert len(stored.trainer_state["ranks"]) == 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the ranks in /proc")
def test_one_rank_asked_to_stop_stops_both(tmp_path):
    process = start(tmp_path / "run", "--env-steps", "10000000", "--checkpoint-every", "10000000")
    wait_for_metrics(tmp_path / "run", process)
    os.kill(ranks_of(process)[1], signal.SIGTERM)
    output = finish(process, timeout=60)
    assert process.returncode == 0, output
    assert checkpoint.load(tmp_path / "run", which="latest").step > 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the ranks in /proc")
@pytest.mark.parametrize("which", [0, 1])
def test_a_killed_rank_ends_the_other(tmp_path, which):
    process = start(tmp_path / "run", "--env-steps", "10000000", "--checkpoint-every", "64")
    wait_for_metrics(tmp_path / "run", process)
    ranks = ranks_of(process)
    assert len(ranks) == 2
    os.kill(ranks[which], signal.SIGKILL)
    finish(process, timeout=60)  # the run alone would take hours
    assert process.returncode != 0
    assert not any(Path(f"/proc/{rank}").exists() for rank in ranks)


@pytest.mark.slow
def test_a_mistake_of_the_user_is_told_once(whole):
    process = start(whole, "--env-steps", "256")
    output = finish(process, timeout=120)
    assert process.returncode != 0
    assert output.count("exists; resume the run, or choose another run folder") == 1
    assert "[rank" not in output  # no rank ended in a traceback; torchrun adds one of its own


if __name__ == "__main__":
    gradients_of_ranks(Path(sys.argv[1]))
