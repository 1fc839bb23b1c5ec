"""That trajectory separation is what it is said to be: side symmetry, separated PPO as PPO once for each entity, and the
five defects that public implementations of the idea are known to have, each excluded on the `PPOLearner` that trains.

Agreement with sb3-contrib is in `tests/benchmarks/test_sb3_agreement.py`, advantages by hand in `tests/training/test_advantages.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn as nn
from torch.distributions import Categorical

import training.ppo.learner
from agent.policy import EXTRACTORS, Policy, PolicyConfig, policy_sizes
from engine.config import GameConfig
from engine.state import WATER
from tests.rows import Rows as View
from tests.rows import sample
from tests.wrappers.test_masks import EVERYTHING, prepare_busy, prepare_nothing, started
from tests.wrappers.test_observation import swapped
from training.config import PPOConfig, TrainConfig
from training.ppo.learner import PPOLearner
from training.ppo.loss import ppo_loss
from training.trajectories.advantages import Targets, targets
from training.trajectories.grouping import Grouping, Parts, Rows
from training.trajectories.switchboard import PUBLISHED_ROWS, Switchboard, collect_part
from wrappers.observation import Observation, observe, observe_side

torch.set_num_threads(1)

SMALL = TrainConfig(train_maps=4, device="cpu", ppo=PPOConfig(num_games=4, rollout_steps=8, epochs=2, minibatches=2))


# ------------------------------------------------------------------------------------------------------ both sides alike


@pytest.mark.parametrize("extractor", EXTRACTORS)
@pytest.mark.parametrize("prepare", [prepare_nothing, prepare_busy])
def test_swapping_the_players_swaps_what_the_policy_decides(prepare: Any, extractor: str) -> None:
    """The rows of player_0 in a state and those of player_1 in the same state with the players exchanged get the same values
    and action distributions: bit for bit where a side is observed alone, up to the rounding of another order of rows in
    a batch of both sides."""
    rng = np.random.default_rng(7)
    pair = started(GameConfig.for_map_size(48), 7, rng, prepare)
    view = View(pair, EVERYTHING)
    torch.manual_seed(0)
    config = PolicyConfig(extractor=extractor)
    grid = policy_sizes(EVERYTHING, config)["plane_size"]
    policy = Policy(config, policy_sizes(EVERYTHING, config))
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.1 * torch.randn_like(parameter)  # so that decisions differ from row to row

    def decide(games: Any, side: int, alone: bool, action: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        """Actions `[m, 4]` (`action`, or sampled) of a side's rows; their log-probs and entropies, and logits and values."""
        obs = Observation(1 if alone else 2, grid)
        if alone:
            observe_side(games[0], view.rules, view.action_rules, view.static[0], side, obs)
        else:
            observe(games, view.rules, view.action_rules, view.static, obs)
        mine = torch.from_numpy(obs.side == (0 if alone else side))
        batch = policy.batch(obs)
        with torch.no_grad():
            logits, value, _ = policy(batch)
            distribution = policy.distribution(logits[mine], batch.mask[mine])
            chosen = distribution.sample(torch.Generator().manual_seed(1))[0] if action is None else action
            log_prob, entropy = distribution.evaluate(chosen)
        return chosen, log_prob, entropy, logits[mine], value[mine]

    for turn in range(9):
        if turn % 4 == 0:
            mirror = swapped(pair.game)
            for side in range(2):
                here, there = (decide(games, b, True) for games, b in ((pair.engine.games, side), (mirror, 1 - side)))
                assert all(torch.equal(mine, theirs) for mine, theirs in zip(here, there, strict=True))
                both = (decide(games, b, False, here[0]) for games, b in ((pair.engine.games, side), (mirror, 1 - side)))
                for mine, theirs in zip(*both, strict=True):
                    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
            values = [decide(pair.engine.games, side, True)[-1] for side in range(2)]
            assert len(values[0]) != len(values[1]) or not torch.allclose(values[0], values[1])  # the sides themselves are not alike
        view.play(sample(view.obs.mask, rng))


# --------------------------------------------------------------------------------- separated PPO, and PPO for each entity

STATES, MOVES, KINDS = 4, 3, 3


class Tables(nn.Module):
    """Logits and values of every kind of entity in every state; kinds share no parameter."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.logits = nn.Parameter(torch.randn(KINDS, STATES, MOVES, generator=generator, dtype=torch.float64))
        self.value = nn.Parameter(torch.randn(KINDS, STATES, generator=generator, dtype=torch.float64))

    def forward(self, kind: torch.Tensor, state: torch.Tensor) -> tuple[Categorical, torch.Tensor]:
        return Categorical(logits=self.logits[kind, state], validate_args=False), self.value[kind, state]


class ToyWorld:
    """Entities that walk on a ring of states and pay by state, move and kind; independent of each other.

    Some moves end an entity; it is born again two steps later, in the same slot under a new number. Each entity has a
    random generator of its own, so its life depends on its own moves only. Two games of 16 steps a rollout.
    """

    STEPS, GAMES = 16, 2
    PAY = np.random.default_rng(2).standard_normal((KINDS, STATES, MOVES))

    def __init__(self, kinds: tuple[int, ...]) -> None:
        self.kinds = kinds
        lives = [(game, kind) for game in range(self.GAMES) for kind in kinds]
        self.random = {life: np.random.default_rng(life) for life in lives}
        self.state = dict.fromkeys(lives, 0)
        self.ident = {life: life[1] for life in lives}
        self.absent = {life: life[1] for life in lives}  # steps until it is born

    def rollout(self, net: Tables) -> dict[str, Any]:
        """`STEPS` steps by the net's probabilities, and the rows that follow them."""
        found: dict[str, list[float]] = {name: [] for name in ("step", "side", "kind", "ident", "state", "move", "reward")}
        with torch.no_grad():
            chances = Categorical(logits=net.logits).probs.numpy().cumsum(-1)
        for step in range(self.STEPS + 1):
            for life in self.random:
                if self.absent[life] and step < self.STEPS:
                    self.absent[life] -= 1
                    continue
                if self.absent[life]:
                    continue
                game, kind = life
                state = self.state[life]
                row = {"step": step, "side": 2 * game, "kind": kind, "ident": self.ident[life], "state": state, "move": 0, "reward": 0.0}
                if step < self.STEPS:
                    move = int(np.searchsorted(chances[kind, state], self.random[life].random()).clip(0, MOVES - 1))
                    row["move"], row["reward"] = move, self.PAY[kind, state, move]
                    if state == STATES - 1 and move == 0:
                        self.absent[life], self.state[life] = 2, 0
                        self.ident[life] += KINDS
                    else:
                        self.state[life] = int(state + self.random[life].integers(0, 2) + move) % STATES
                for name, value in row.items():
                    found[name].append(value)
        return {name: np.array(values) for name, values in found.items()}


def train_toy(kinds: tuple[int, ...], grouping: Grouping, shares: list[float] | None, updates: int = 4) -> tuple[Tables, list[np.ndarray]]:
    """PPO with the project's own pieces on the entities of these kinds, several rollouts of two passes and three minibatches.

    Advantages are not normalised and the gradient is not clipped: both would mix the entities by one common number. The
    loss is a mean over active pairs, so among others an entity's own loss counts by its share of the minibatch's pairs;
    `shares` are these numbers for a run of one entity alone. Returns the net, and of each minibatch the pairs of every kind.
    """
    net, world, counts = Tables(), ToyWorld(kinds), []
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02, eps=1e-5)
    shuffle = np.random.default_rng(9)
    switches = Switchboard()
    no = np.zeros((world.STEPS, world.GAMES), bool)
    for _ in range(updates):
        played = world.rollout(net)
        kind, state = torch.from_numpy(played["kind"]), torch.from_numpy(played["state"])
        with torch.no_grad():
            choice, value = net(kind, state)
            old_log_prob = choice.log_prob(torch.from_numpy(played["move"]))
        columns = {name: played[name].astype(np.int32) for name in ("step", "side", "kind", "ident")}
        nothing = np.zeros(len(kind), np.int32)
        rows = Rows(columns["step"], columns["side"], 10 + columns["kind"], nothing + 1, nothing, columns["ident"], nothing)
        restart = np.zeros((world.STEPS + 1, world.GAMES), bool)
        taught = targets(rows, played["reward"], value.numpy(), np.zeros(len(kind)), restart, no, no, grouping, switches, 48, 0.9, 0.8)
        parts = Parts(taught.groups)
        for _ in range(2):
            for pairs in np.array_split(shuffle.permutation(parts.pairs), 3):
                part = parts.part(np.sort(pairs))
                choice, new_value = net(kind[part.rows], state[part.rows])
                of = {name: torch.from_numpy(getattr(taught, name))[part.groups].double() for name in ("advantage", "value", "returns")}
                loss, _ = ppo_loss(
                    collect_part(choice.log_prob(torch.from_numpy(played["move"])[part.rows]), part, switches.log_prob),
                    collect_part(old_log_prob[part.rows], part, switches.log_prob),
                    of["advantage"],
                    collect_part(new_value, part, switches.value),
                    of["value"],
                    of["returns"],
                    collect_part(choice.entropy(), part, switches.entropy),
                    *(0.2, True, 0.5, 0.01),
                )
                optimizer.zero_grad()
                (loss if shares is None else loss * shares[len(counts)]).backward()
                optimizer.step()
                counts.append(np.bincount(kind[part.rows].numpy(), minlength=KINDS))
    return net, counts


def test_separated_ppo_trains_every_entity_as_if_it_were_alone() -> None:
    """Independent entities without shared parameters: training them together with separated trajectories ends in the
    parameters that PPO ends in when it is run for each of them alone, rollouts, advantages, minibatches and Adam included."""
    start = Tables()
    assert len(np.unique(ToyWorld((0, 1, 2)).rollout(start)["ident"])) > KINDS  # entities die and others are born
    together, counts = train_toy((0, 1, 2), Grouping(), None)
    mixed, _ = train_toy((0, 1, 2), Grouping("all", "all"), None)
    for kind in range(KINDS):
        assert min(count[kind] for count in counts) > 0
        alone, own = train_toy((kind,), Grouping(), [count[kind] / count.sum() for count in counts])
        assert [count[kind] for count in own] == [count[kind] for count in counts]  # it lived the same life
        for name, parameter in together.named_parameters():
            mine = getattr(alone, name)[kind]
            torch.testing.assert_close(parameter[kind], mine, rtol=0, atol=1e-9)
            assert (mine - getattr(start, name)[kind]).abs().max() > 0.05  # it has learned something
        # one trajectory for all of them mixes their credit: it is another training
        assert (mixed.logits[kind] - together.logits[kind]).abs().max() > 0.01


# --------------------------------------------------------------------------------------- the five defects, on the PPOLearner


def collected(config: TrainConfig = SMALL, updates: int = 1, prepare: Callable[[PPOLearner], None] | None = None) -> PPOLearner:
    """A trainer `updates` updates on, with a new rollout that it has not learned from."""
    trainer = PPOLearner(config)
    for _ in range(updates):
        trainer.step_iteration()
    if prepare:
        prepare(trainer)
    trainer.collect()
    return trainer


def whole_rollout(trainer: PPOLearner, taught: Targets) -> tuple[Any, torch.Tensor, dict[str, torch.Tensor]]:
    """The arguments of `minibatch_loss` for a rollout as one minibatch."""
    parts = Parts(taught.groups)
    pairs = np.arange(parts.pairs)
    columns = {name: torch.from_numpy(getattr(taught, name)) for name in ("advantage", "returns", "value")}
    return parts.part(pairs), torch.from_numpy(pairs), columns


def with_row(name: str, **changes: Any) -> TrainConfig:
    """The small run with the grouping and switches of a published row."""
    grouping, switches = PUBLISHED_ROWS[name]
    return dataclasses.replace(SMALL, grouping=grouping, switches=switches, ppo=dataclasses.replace(SMALL.ppo, **changes))


def thirsty(trainer: PPOLearner) -> None:
    """One factory of every side dies within three turns."""
    for game in trainer.env.games:
        for player in range(2):
            mine = np.flatnonzero((game["factory_owner"] == player) & (game["factory_alive"] == 1))
            assert len(mine) > 1
            game["factory_cargo"][mine[0], [0, WATER]] = 0, 2


def test_defect_1_the_last_step_of_a_rollout_is_bootstrapped_and_learned_from() -> None:
    """A GAE that stops one step early leaves advantage 0 there, and no value after it."""
    trainer = collected()
    rollout, taught, gamma = trainer.rollout, trainer.targets(), SMALL.ppo.gamma
    rows, value = rollout.rows(), rollout.value
    after = {(s, i): v for t, s, i, v in zip(rows.step, rows.side, rows.ident, value) if t == rollout.steps}
    last = np.flatnonzero(rows.step == rollout.steps - 1)
    assert len(last) and not rollout.new_game[-1].any()
    for row in last:
        expected = rollout.reward[row] + gamma * after.get((rows.side[row], rows.ident[row]), 0.0) - value[row]
        assert taught.advantage[taught.groups.group_of_row[row]] == pytest.approx(expected, abs=1e-6)
    assert (taught.advantage[taught.groups.group_of_row[last]] != 0).all()
    part, _, _ = whole_rollout(trainer, taught)
    assert set(last) <= set(part.rows.tolist())


def test_defect_2_every_minibatch_of_every_epoch_is_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """An update loop that returns after its first minibatch learns from a part of what was played."""
    trainer = collected()
    seen: list[np.ndarray] = []
    weights: list[torch.Tensor] = []
    loss = trainer.minibatch_loss

    def listening(part: Any, *rest: Any) -> Any:
        seen.append(part.rows.numpy().copy())
        weights.append(torch.cat([p.detach().ravel().clone() for p in trainer.policy.parameters()]))
        return loss(part, *rest)

    monkeypatch.setattr(trainer, "minibatch_loss", listening)
    trainer.learn()
    epochs, minibatches = SMALL.ppo.epochs, SMALL.ppo.minibatches
    assert len(seen) == epochs * minibatches
    for epoch in range(epochs):
        rows = np.concatenate(seen[epoch * minibatches : (epoch + 1) * minibatches])
        assert sorted(rows.tolist()) == list(range(trainer.rollout.acted))
    assert all(not torch.equal(before, after) for before, after in zip(weights, weights[1:]))  # each of them is a step


@pytest.mark.parametrize("done", ["group", "global"])
def test_defect_3_empty_slots_enter_neither_the_loss_nor_the_normalisation(done: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Means over slots without an entity dilute the loss and shift the normalised advantages."""
    config = dataclasses.replace(SMALL, switches=Switchboard(done=done))
    trainer, poisoned = (collected(config, prepare=thirsty) for _ in range(2))
    taught = trainer.targets()
    idle = ~taught.groups.active
    assert idle.any() and (taught.groups.size == 0).any() == (done == "global")

    # what nobody did may hold anything: here it is not even a number
    bad = poisoned.targets()
    for values in (bad.advantage, bad.returns, bad.value):
        values[idle] = np.nan
    monkeypatch.setattr(poisoned, "targets", lambda: bad)
    given: list[torch.Tensor] = []

    def listening(new_log_prob: torch.Tensor, old_log_prob: torch.Tensor, advantage: torch.Tensor, *rest: Any) -> Any:
        given.append(advantage.detach().clone())
        return ppo_loss(new_log_prob, old_log_prob, advantage, *rest)

    monkeypatch.setattr(training.ppo.learner, "ppo_loss", listening)
    trainer.learn()
    poisoned.learn()
    for clean, other in zip(trainer.policy.parameters(), poisoned.policy.parameters(), strict=True):
        assert torch.equal(clean, other)
    # one entry for each entity that acted, and these alone have mean 0 and deviation 1
    assert sum(len(advantage) for advantage in given) == 2 * SMALL.ppo.epochs * trainer.rollout.acted
    for advantage in given:
        assert advantage.mean().item() == pytest.approx(0.0, abs=1e-5)
        assert advantage.std().item() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("row", list(PUBLISHED_ROWS))
def test_defect_4_acting_and_learning_see_the_same_function(row: str) -> None:
    """Batch norm or dropout that acts otherwise than it learns makes ratios differ from 1 before the first step."""
    trainer = collected(with_row(row), updates=1 if row == "separate" else 0)
    arguments = whole_rollout(trainer, trainer.targets())
    losses = []
    for mode in (True, False):
        trainer.policy.train(mode)
        with torch.no_grad():
            loss, metrics = trainer.minibatch_loss(*arguments)
        assert metrics["losses/clipfrac"] == 0
        assert metrics["losses/approx_kl"].item() == pytest.approx(0.0, abs=1e-6)
        assert metrics["losses/old_approx_kl"].item() == pytest.approx(0.0, abs=1e-5)
        losses.append(loss.item())
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    "row", ["separate", "single_global", "global_log_prob", "global_value", "global_reward_and_value", "own_reward_50"]
)
def test_defect_5_no_player_is_trained_on_the_others_advantages(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What player_1 earned is changed: player_0 learns as before. And where only player_0 has advantages, the policy's
    gradient reaches the rows of player_0 only."""
    trainer = collected(with_row(row, normalize_advantage=False, ent_coef=0.0, vf_coef=0.0), prepare=thirsty)
    before = trainer.targets()
    rollout, player = trainer.rollout, before.groups.side % 2
    rollout.reward[: rollout.count] += np.where(rollout.rows().side % 2 == 1, 1.0, 0.0)
    after = trainer.targets()
    active = before.groups.active
    assert np.array_equal(before.advantage[player == 0], after.advantage[player == 0])
    assert (before.advantage[active & (player == 1)] != after.advantage[active & (player == 1)]).all()

    decided: list[torch.Tensor] = []
    distribution = trainer.policy.distribution

    def listening(logits: torch.Tensor, mask: torch.Tensor) -> Any:
        logits.retain_grad()
        decided.append(logits)
        return distribution(logits, mask)

    monkeypatch.setattr(trainer.policy, "distribution", listening)
    for learner in range(2):
        part, pairs, columns = whole_rollout(trainer, after)
        columns["advantage"] = torch.from_numpy(np.where(player == learner, 1.0, 0.0).astype(np.float32))
        loss, _ = trainer.minibatch_loss(part, pairs, columns)
        loss.backward()
        gradient = decided.pop().grad
        assert gradient is not None
        moved = (gradient != 0).any(1)
        of_learner = (part.team_of_row & 1) == learner
        assert torch.equal(torch.from_numpy(rollout.rows().side[part.rows.numpy()] % 2 == learner), of_learner)
        assert moved[of_learner].any() and not moved[~of_learner].any()
