"""Value-based learning off the game: targets in closed form, mixers that rise, replays that forget in order, and known optima."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections import deque

import numpy as np
import pytest
import torch

from reproduce.tasks.q_learn import MAST, RIGL, QConfig, QLearner
from training.run.checkpoint import pack, unpack
from training.run.stopping import TrainingError
from training.value_based.mixers import Monotonic, by_seat, make_mixer
from training.value_based.nets import AgentNets, NetConfig, clip_by_net
from training.value_based.replay import EpisodeReplay
from training.value_based.targets import epsilon_at, greedy_action, lambda_returns, masked_max, soft_mellowmax

torch.set_num_threads(1)

TINY = QConfig(task="spread", env_steps=1000, envs=4, batch=4, buffer=16, net=NetConfig(hidden=8), embed=4, hypernet=6, eval_episodes=2)
SPARSE = dataclasses.replace(TINY, sparsity=0.8, sparse={**RIGL, "interval": 2})
TWO_STEP = QConfig(
    task="two_step",
    env_steps=6400,
    envs=32,
    updates_per_episode=0.25,
    batch=64,
    buffer=500,
    epsilon_end=1.0,  # as in the paper: what is learned is the value of random play, so that the best fit is known
    epsilon_steps=1,
    net=NetConfig(hidden=32),
    embed=8,
    hypernet=16,
    learning_rate=1e-3,
    target_interval=50,
    optimizer="adam",
    evaluations=1,
    eval_episodes=4,
)


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def legal(*shape: int, seed: int = 1) -> torch.Tensor:
    """Random masks with at least one legal action."""
    out = torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.6
    out[..., 0] |= ~out.any(-1)
    return out


# --------------------------------------------------------------------------------------------------------------- targets


def test_soft_mellowmax_is_between_mean_and_maximum_and_has_both_as_limits():
    q, mask = 3 * rand(200, 6), legal(200, 6)
    best = masked_max(q, mask)
    soft = soft_mellowmax(q, mask, 1.0, 10.0)
    assert (soft <= best + 1e-6).all() and (soft < best - 1e-4).any()
    assert torch.allclose(soft_mellowmax(q, mask, 1.0, 1e4), best, atol=1e-2)
    count = mask.sum(-1)
    mellow = ((10.0 * q).masked_fill(~mask, -math.inf).logsumexp(-1) - count.log()) / 10.0
    assert torch.allclose(soft_mellowmax(q, mask, 0.0, 10.0), mellow, atol=1e-6)
    nearly_mean = torch.where(mask, q, 0.0).sum(-1) / count
    assert torch.allclose(soft_mellowmax(q.double(), mask, 0.0, 1e-6), nearly_mean.double(), atol=1e-4)
    one = torch.zeros(200, 6, dtype=torch.bool)
    one[:, 2] = True
    assert torch.allclose(soft_mellowmax(q, one), q[:, 2], atol=1e-5)
    with pytest.raises(ValueError, match="omega is 0"):
        soft_mellowmax(q, mask, 1.0, 0.0)


def test_illegal_actions_and_agents_that_are_not_there_count_for_nothing():
    q, mask = rand(50, 5), legal(50, 5)
    mask[:10] = False
    other = torch.where(mask, q, rand(50, 5, seed=9) + 100.0)
    q.requires_grad_()
    for function in (masked_max, soft_mellowmax):
        value = function(q, mask)
        assert torch.equal(value, function(other, mask)) and (value[:10] == 0).all()
        (gradient,) = torch.autograd.grad(value.sum(), q)
        assert torch.isfinite(gradient).all() and (gradient[~mask] == 0).all()
    chosen = greedy_action(other, mask)[10:]
    assert mask[10:].gather(1, chosen[:, None]).all()


def brute_force(reward, value, goes_on, last, gamma, lam, t):
    """The lambda-return as a weighted sum of n-step returns, as the books have it."""
    total, weight = 0.0, 1.0
    collected, discount = 0.0, 1.0
    for step in range(t, len(reward)):
        collected += discount * reward[step]
        discount *= gamma * goes_on[step]
        n_step = collected + discount * value[step]
        if last[step] or not goes_on[step]:
            return total + weight * n_step
        total += weight * (1 - lam) * n_step
        weight *= lam
    raise AssertionError("the last step is the last")


@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
def test_lambda_returns_equal_the_sum_of_n_step_returns(lam):
    reward, value = rand(7, 3).double(), rand(7, 3, seed=1).double()
    goes_on, last = torch.ones(7, 3).double(), torch.zeros(7, 3, dtype=torch.bool)
    last[6] = True
    goes_on[4, 1] = 0.0  # an end
    last[2, 2] = True  # a cut
    out = lambda_returns(reward, value, goes_on, last, 0.9, lam)
    for case in range(3):
        for t in range(7):
            expected = brute_force(reward[:, case], value[:, case], goes_on[:, case], last[:, case], 0.9, lam, t)
            assert float(out[t, case]) == pytest.approx(float(expected), abs=1e-12)


def test_epsilon_falls_in_a_line_and_stays():
    assert [epsilon_at(step, 1.0, 0.05, 50_000) for step in (0, 25_000, 50_000, 90_000)] == pytest.approx([1.0, 0.525, 0.05, 0.05])


# ---------------------------------------------------------------------------------------------------------------- mixers


def test_qmix_never_falls_with_an_agents_value_and_vdn_is_the_sum():
    torch.manual_seed(0)
    mixer = Monotonic(4, 5, 8, 16)
    q, state = rand(64, 4).requires_grad_(), rand(64, 5, seed=1)
    (gradient,) = torch.autograd.grad(mixer(q, state).sum(), q)
    assert (gradient >= 0).all() and (gradient > 0).float().mean() > 0.99
    assert torch.equal(make_mixer("vdn", 4, 5, 8, 16)(q, state), q.sum(-1, keepdim=True))
    assert torch.equal(make_mixer("iql", 4, 5, 8, 16)(q, state), q)
    with pytest.raises(ValueError, match="algo is 'sarsa'; accepted are iql, vdn, qmix"):
        make_mixer("sarsa", 4, 5, 8, 16)


def test_entities_of_few_kinds_are_mixed_as_if_each_had_its_kinds_weights():
    torch.manual_seed(0)
    team, kind = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 1, 1, 2, 0])
    q, state = rand(5), rand(2, 6)
    mixer = Monotonic(3, 6, 4, 8)
    weight = mixer.first(state).abs().view(2, 3, 4)
    summed = torch.zeros(2, 4)
    for i in range(5):
        summed[team[i]] += q[i] * weight[team[i], kind[i]]
    hidden = torch.nn.functional.elu(summed + mixer.shift(state))
    expected = (hidden * mixer.second(state).abs()).sum(1, keepdim=True) + mixer.value(state)
    assert torch.allclose(mixer(by_seat(q, kind, team, 2, 3), state), expected, atol=1e-6)


# ---------------------------------------------------------------------------------------------------------------- replay


def episodes(first: int, count: int, horizon: int = 3) -> dict[str, np.ndarray]:
    """Episodes whose rewards are their number."""
    empty = EpisodeReplay(count, 0, horizon, 2, 1, 2, 1).columns
    numbers = np.arange(first, first + count, dtype=np.float32)
    return {**empty, "reward": empty["reward"] + numbers[:, None, None], "length": np.full(count, 2, np.int32)}


def test_both_memories_are_the_queues_that_mast_describes():
    replay = EpisodeReplay(50, 5, 3, 2, 1, 2, 1)
    large, small = deque(maxlen=50), deque(maxlen=5)
    random = np.random.default_rng(0)
    for first in range(0, 140, 7):
        replay.add(episodes(first, 7))
        large.extend(range(first, first + 7))
        small.extend(range(first, first + 7))
        number = replay.columns["reward"][:, 0, 0]
        assert sorted(number[replay.sample(len(large), 0, random)]) == sorted(large)
        assert sorted(number[replay.sample(0, len(small), random)]) == sorted(small)
    places = replay.sample(24, 4, random)
    assert len(places) == 28 and set(number[places[24:]]) <= set(small) and len(set(places[:24])) == 24
    assert replay.nbytes == sum(column.nbytes for column in replay.columns.values())
    with pytest.raises(ValueError, match="6 episodes are asked for"):
        replay.sample(1, 6, random)
    batch = replay.batch(places)
    assert batch["reward"].shape == (2, 28, 2) and batch["obs"].shape == (3, 28, 2, 1)  # cut to the longest


def test_batches_are_24_of_the_large_and_8_of_the_small_memory():
    learner = QLearner(dataclasses.replace(TINY, envs=32, batch=32, buffer=200, **MAST))
    learner.replay.add(learner.play())
    asked = []
    sample = learner.replay.sample
    learner.replay.sample = lambda old, new, random: asked.append((old, new)) or sample(old, new, random)
    learner.update()
    assert asked == [(24, 8)] and learner.replay.capacity // learner.replay.recent == 2
    published = QConfig(**MAST)
    assert (published.buffer, published.recent, published.batch) == (5000, 100, 32)


def test_a_dual_buffer_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="each must fit in its replay"):
        QConfig(recent=4, recent_batch=8)
    with pytest.raises(ValueError, match="mellow and double_q are both on"):
        QConfig(mellow=True, double_q=True)


# ------------------------------------------------------------------------------------------------------------ the learner


def filled(config: QConfig, rounds: int = 3) -> QLearner:
    learner = QLearner(config)
    for _ in range(rounds):
        learner.replay.add(learner.play())
    return learner


def test_what_is_played_is_legal_and_stored_whole():
    learner = filled(dataclasses.replace(TINY, task="foraging", options={"horizon": 12}, epsilon_steps=100))
    columns = {name: column[: len(learner.replay)] for name, column in learner.replay.columns.items()}
    for episode in range(len(learner.replay)):
        length = columns["length"][episode]
        chosen = np.take_along_axis(columns["legal"][episode, :length], columns["action"][episode, :length, :, None].astype(int), -1)
        assert chosen.all() and columns["legal"][episode, length].any(-1).all()
        assert not columns["legal"][episode, length + 1 :].any() and not columns["reward"][episode, length:].any()
        assert not columns["done"][episode, : length - 1].any()
    assert learner.env_steps == columns["length"].sum()


def dying(learner: QLearner) -> dict[str, torch.Tensor]:
    """Four episodes of 8 steps in which agent 2 dies after step 3 and agent 1 is born at step 2."""
    seen = ("obs", "state", "legal")
    batch = {name: column[: 8 + (name in seen)].clone() for name, column in learner.replay.batch(np.arange(4)).items()}
    batch["length"][:] = 8
    batch["legal"][4:, :, 2] = False
    batch["legal"][:2, :, 1] = False
    return batch


@pytest.mark.parametrize("algo", ["iql", "vdn", "qmix"])
def test_the_dead_and_the_unborn_change_nothing(algo):
    learner = filled(dataclasses.replace(TINY, algo=algo, lam=0.6))
    batch = dying(learner)
    changed = {name: column.clone() for name, column in batch.items()}
    for column, last in (("obs", 9), ("action", 8)):
        part = changed[column]
        part[4:last, :, 2] = part[4:last, :, 2] * 0 + 1  # what a dead agent sees and does
    if algo == "iql":
        changed["reward"][4:, :, 2] += 5.0
    one, other = learner.loss(batch), learner.loss(changed)
    assert torch.equal(one, other)
    gradients = [torch.autograd.grad(loss, list(learner.agent.parameters())) for loss in (one, other)]
    assert all(torch.equal(a, b) for a, b in zip(*gradients))
    if algo == "iql":
        _, target, valid = learner.differences(batch)
        assert torch.allclose(target[3, :, 2], batch["reward"][3, :, 2])  # nothing follows a death
        assert valid[:, 0].tolist() == [[1.0, float(t >= 2), float(t < 4)] for t in range(8)]


def test_targets_are_one_step_before_t0_and_lambda_returns_after():
    learner = filled(dataclasses.replace(TINY, algo="iql", lam=0.6, lam_start=0.5))
    batch = learner.replay.batch(np.arange(4))
    learner.env_steps = 499
    before = learner.differences(batch)[1]
    learner.env_steps = 500
    after = learner.differences(batch)[1]
    never = QLearner(dataclasses.replace(TINY, algo="iql"))
    assert torch.equal(before, never.differences(batch)[1]) and not torch.allclose(before, after)


def test_double_q_judges_the_learning_networks_choice():
    learner = filled(dataclasses.replace(TINY, algo="iql", double_q=True))
    batch = learner.replay.batch(np.arange(4))
    with torch.no_grad():
        for p in learner.target.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    args = batch["obs"], torch.cat([torch.full((1, 4, 3), -1), batch["action"].long()])
    online, target = (nets.agent(*args, nets.agent.start(4))[0] for nets in (learner.online, learner.target))
    value = learner.next_value(*args, batch["legal"], batch["state"], online)
    assert torch.equal(value, target[1:].gather(-1, online[1:].argmax(-1, keepdim=True))[..., 0])
    assert (value <= target[1:].amax(-1)).all() and (value < target[1:].amax(-1)).any()


@pytest.mark.parametrize("config", [SPARSE, dataclasses.replace(SPARSE, net=NetConfig(hidden=8, sharing="separate"), algo="iql")])
def test_a_sparse_learner_keeps_its_count_and_its_target_shares_the_mask(config):
    learner = filled(config)
    topology = learner.topology
    assert topology is not None
    start, places = topology.active, sum(mask.numel() for mask in topology.masks)
    assert start == pytest.approx(0.2 * places, abs=len(topology.masks))
    before = [mask.clone() for mask in topology.masks]
    for _ in range(6):
        learner.update()
        assert sum(int(mask.sum()) for mask in topology.masks) == start
        for one, other in zip(learner.online.modules(), learner.target.modules()):
            if hasattr(one, "mask"):
                assert torch.equal(one.mask, other.mask)  # pyright: ignore[reportArgumentType]
                assert not other.weight[~one.mask].any() and not one.weight[~one.mask].any()  # pyright: ignore
    assert topology.changes == 3 and any(not torch.equal(a, b) for a, b in zip(before, topology.masks))


@pytest.mark.parametrize("config", [dataclasses.replace(SPARSE, mellow=True, recent=8, recent_batch=2, lam=0.6), TINY])
def test_a_resumed_run_goes_on_exactly_replay_included(config):
    straight = QLearner(config)
    for _ in range(6):
        straight.iterate()
    first = QLearner(config)
    for _ in range(3):
        first.iterate()
    stored = {name: value for name, value in first.state().items() if name != "task"}
    stored = {**unpack(pack(stored)), "task": copy.deepcopy(first.task)}
    second = QLearner(config)
    second.load_state(stored)
    for _ in range(3):
        second.iterate()
    for a, b in ((straight.online, second.online), (straight.target, second.target)):
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))
    assert straight.updates == second.updates > 0 and straight.evaluate() == second.evaluate()
    with pytest.raises(ValueError, match="another config"):
        QLearner(dataclasses.replace(config, gamma=0.5)).load_state(first.state())


def test_evaluation_leaves_training_as_it_was_and_random_play_is_the_same_for_all_networks():
    one, other = QLearner(TINY), QLearner(dataclasses.replace(TINY, net=NetConfig(hidden=4), algo="iql"))
    assert one.evaluate(8, epsilon=1.0) == other.evaluate(8, epsilon=1.0) != one.evaluate(8)
    plain, watched = QLearner(TINY), QLearner(TINY)
    for _ in range(3):
        plain.iterate()
        watched.iterate()
        watched.evaluate(epsilon=0.5)
    assert all(map(torch.equal, plain.online.parameters(), watched.online.parameters()))


def test_a_loss_that_is_no_number_stops_with_a_sentence():
    learner = filled(TINY)
    learner.replay.columns["reward"][:] = np.nan
    before = [p.clone() for p in learner.online.parameters()]
    with pytest.raises(TrainingError, match="The loss is nan after 300 environment steps"):
        learner.update()
    assert all(map(torch.equal, before, learner.online.parameters()))


def test_flops_and_sizes_equal_a_hand_count():
    learner = QLearner(dataclasses.replace(TINY, batch=32, buffer=32))
    h, inputs = 8, 18 + 5 + 3  # observation, last action, seat
    agent = (2 * inputs - 1) * h + 3 * h * (2 * (h + h) - 1) + (2 * h - 1) * 5
    states, seats, embed, hyper = 18, 3, 4, 6
    mixer = 2 * (2 * states - 1) * hyper + (2 * hyper - 1) * (seats * embed + embed)
    mixer += (2 * states - 1) * embed + (2 * states - 1) * embed + (2 * embed - 1)
    mixer += (2 * seats - 1) * embed + (2 * embed - 1)  # the two products with the weights that were made
    stats = learner.stats()
    assert stats["flops"] == agent and stats["update_flops"] == 4 * 32 * (3 * agent + mixer)
    weights = inputs * h + 2 * 3 * h * h + h * 5
    assert sum(p.numel() for p in learner.agent.parameters()) == weights + h + 6 * h + 5
    sparse = QLearner(dataclasses.replace(SPARSE, batch=32, buffer=32))
    kept = [float(mask.float().mean()) for mask in sparse.topology.masks[:4]] if sparse.topology is not None else []
    gru = (kept[1] + kept[2]) / 2
    agent = kept[0] * (2 * inputs - 1) * h + gru * 3 * h * (2 * (h + h) - 1) + kept[3] * (2 * h - 1) * 5
    assert sparse.stats()["flops"] == pytest.approx(agent)
    assert sparse.stats()["parameters"] == stats["parameters"] - sum(int((~m).sum()) for m in sparse.topology.masks)  # pyright: ignore


# --------------------------------------------------------------------------------------------------------- communication


def talking(sharing: str = "separate", messages: str = "learned") -> QConfig:
    return dataclasses.replace(TINY, algo="iql", net=NetConfig(hidden=8, sharing=sharing, messages=messages, message=3))


def speaker(nets: AgentNets) -> torch.nn.Module:
    assert nets.message_net is not None
    return nets.message_net


def message_gradient(learner: QLearner) -> list[torch.Tensor]:
    learner.online.zero_grad()
    learner.loss(learner.replay.batch(np.arange(4))).backward()
    return [p.grad for p in speaker(learner.agent).parameters() if p.grad is not None]


def test_without_the_own_message_the_message_net_learns_nothing():
    learner = filled(talking())
    assert all(gradient.abs().sum() > 0 for gradient in message_gradient(learner))
    own = slice(18 + 5 + 2 * 3, 18 + 5 + 3 * 3)  # observation, last action, two others, then oneself
    with torch.no_grad():
        learner.agent.enter.weight[..., own] = 0.0
    assert all((gradient == 0).all() for gradient in message_gradient(learner))
    shared = filled(talking("shared"))
    assert all(gradient.abs().sum() > 0 for gradient in message_gradient(shared))  # they learn through those who hear


def test_an_agents_loss_gives_another_agents_parameters_no_gradient():
    learner = filled(talking())
    chosen, target, valid = learner.differences(learner.replay.batch(np.arange(4)))
    ((chosen - target).square() * valid)[..., 1].sum().backward()
    for name, p in learner.agent.named_parameters():
        assert p.grad is not None and p.grad[1].abs().sum() > 0, name
        assert (p.grad[[0, 2]] == 0).all(), name


def test_hearing_is_in_fixed_order_and_frozen_messages_stay():
    torch.manual_seed(0)
    nets = AgentNets(3, 4, 2, NetConfig(sharing="separate", messages="learned", message=1, hidden=8))
    obs = rand(1, 1, 3, 4)
    others, own = nets.heard(obs)
    said = own[0, 0, :, 0]
    assert others[0, 0].tolist() == [[said[1], said[2]], [said[0], said[2]], [said[0], said[1]]]
    learner = filled(talking(messages="frozen"))
    before = copy.deepcopy(speaker(learner.agent))
    for _ in range(3):
        learner.update()
    for nets in (learner.agent, learner.target.agent):
        assert all(map(torch.equal, before.parameters(), speaker(nets).parameters()))


def test_messages_of_the_next_step_come_from_the_target_nets():
    learner = filled(talking())
    batch = learner.replay.batch(np.arange(4))
    before = learner.differences(batch)[1]
    with torch.no_grad():
        for p in learner.agent.parameters():
            p.add_(1.0)
    assert torch.equal(before, learner.differences(batch)[1])
    with torch.no_grad():
        for p in speaker(learner.target.agent).parameters():
            p.add_(1.0)
    assert not torch.allclose(before, learner.differences(batch)[1])


def test_every_nets_gradient_is_clipped_alone():
    nets = AgentNets(2, 3, 2, NetConfig(sharing="separate", hidden=4))
    for p in nets.parameters():
        p.grad = torch.ones_like(p) * torch.tensor([1e-3, 10.0]).view(2, *[1] * (p.dim() - 1))
    small = [p.grad[0].clone() for p in nets.parameters() if p.grad is not None]
    clip_by_net(nets, 2, 1.0)
    norms = [math.sqrt(sum(float(p.grad[i].square().sum()) for p in nets.parameters() if p.grad is not None)) for i in range(2)]
    assert norms[1] == pytest.approx(1.0, rel=1e-4)
    assert all(torch.equal(a, p.grad[0]) for a, p in zip(small, nets.parameters()) if p.grad is not None)


# ---------------------------------------------------------------------------------------------------------- known optima


def second_step_values(learner: QLearner) -> torch.Tensor:
    """The team's value `[2, 2]` of both agents' actions in the game that pays up to 8."""
    start, other = torch.eye(3)[0], torch.eye(3)[2]
    obs = torch.stack([start, other])[:, None, None].expand(2, 1, 2, 3)
    last = torch.tensor([[[-1, -1]], [[1, 0]]])
    with torch.no_grad():
        q, _ = learner.agent(obs, last, learner.agent.start(1))
        q = q[1, 0]
        return torch.stack([learner.mixer(torch.stack([q[0, i], q[1, j]]), other) for i in range(2) for j in range(2)]).view(2, 2)


def test_qmix_finds_the_best_of_the_two_step_game_and_vdn_the_best_that_a_sum_can_say():
    quick = dataclasses.replace(TWO_STEP, net=NetConfig(hidden=32, recurrent=False), batch=32)
    qmix = QLearner(dataclasses.replace(quick, algo="qmix", env_steps=8000))
    assert qmix.run()["curve"]["return"][-1] == 8.0
    vdn = QLearner(dataclasses.replace(quick, algo="vdn"))
    assert vdn.run()["curve"]["return"][-1] == 7.0
    # the least squares fit of [[0, 1], [1, 8]] by a sum
    assert torch.allclose(second_step_values(vdn), torch.tensor([[-1.5, 2.5], [2.5, 6.5]]), atol=0.7)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_the_two_step_game_at_other_seeds(seed):
    for algo, best in (("qmix", 8.0), ("vdn", 7.0)):
        learner = QLearner(dataclasses.replace(TWO_STEP, algo=algo, seed=seed, env_steps=16_000))
        assert learner.run()["curve"]["return"][-1] == best
        if algo == "qmix":
            values = second_step_values(learner)
            assert values.argmax() == 3 and float(values[1, 1]) == pytest.approx(8.0, abs=0.7)
