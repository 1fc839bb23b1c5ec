"""Laws of adaptive parameter sharing: identities, clusters, masks, and what must not change when they are found."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from agent.backbones import Entities, Experience, linear_flops
from agent.backbones.adaps import AdapsBackbone, AdapsConfig, with_unknown
from agent.backbones.adaps_cluster import decoder_data, find_clusters, neuron_masks
from agent.policy import PolicyConfig
from training.config import PPOConfig, TrainConfig
from training.ppo.learner import PPOLearner
from training.run import checkpoint

torch.set_num_threads(1)
WIDTH, AGENTS, TYPES = 32, 9, 3
SLOTS = AdapsConfig(key="slot", slots=AGENTS, warmup=0.5, layers=2)  # finds the clusters itself
QUICK = dataclasses.replace(SLOTS, samples=1000, epochs=1, clusters=TYPES)  # some clusters, for laws that hold for any


def planted(seed: int = 0, turns: int = 120, agents: int = AGENTS, speak: bool = False) -> Experience:
    """Agents of three types, by slot modulo 3, whose controls are turned by a right angle a type. Where they are says
    nothing of the type, only what their actions bring does; unless they `speak` it (first column of the observation)."""
    generator = np.random.default_rng(seed)
    directions = np.array([[0, 1], [1, 0], [0, -1], [-1, 0]])
    slot = np.tile(np.arange(agents), turns)
    kind = slot % TYPES
    action = generator.integers(0, 4, (len(slot), 1))
    moves = directions[(action[:, 0] + kind) % 4].reshape(turns, agents, 2)
    place = np.zeros((turns, agents, 2))
    for turn in range(1, turns):
        place[turn] = 0.5 * place[turn - 1] + moves[turn - 1] + generator.normal(0, 0.1, (agents, 2))
    feature = place.reshape(-1, 2).astype(np.float32)
    reward = -np.abs(feature).sum(1)
    if speak:
        feature = np.concatenate([kind[:, None].astype(np.float32), feature], 1)
    following = np.arange(len(slot)) + agents
    following[-agents:] = -1
    return Experience(feature, slot * 0, slot, slot * 0, action, reward, following)


def adapted(config: AdapsConfig, turns: int = 120) -> AdapsBackbone:
    """After a warm-up of four iterations on planted agents."""
    torch.manual_seed(0)
    backbone = AdapsBackbone(WIDTH, config)
    for k in range(4):
        backbone.between_iterations((k + 1) / 4 * config.warmup, None, lambda k=k: planted(k, turns))
    return backbone


def agents(slots: torch.Tensor) -> Entities:
    return Entities(slots * 0, slots, slots * 0, slots * 0, 1)


EVERYONE = agents(torch.arange(AGENTS))


@pytest.fixture(scope="module")
def found() -> AdapsBackbone:
    """Three clusters of three agents each, as planted."""
    return adapted(SLOTS, turns=300)


# ------------------------------------------------------------------------------------------------- identities, clusters


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_planted_identities_are_recovered(found, seed):
    """The number of clusters, by Davies-Bouldin, and who is in them: purity 1 and no type split."""
    backbone = adapted(dataclasses.replace(SLOTS, seed=seed), turns=300) if seed else found
    assert int(backbone.clusters) == TYPES
    assert len({(slot % TYPES, int(cluster)) for slot, cluster in enumerate(backbone.cluster)}) == TYPES


def test_a_column_that_says_the_type_is_foretold_but_not_told():
    """So the identity has to carry the type: other types come to lie farther apart than with a decoder that is told."""

    def apart(hidden: tuple[int, int]) -> float:
        backbone = AdapsBackbone(WIDTH, dataclasses.replace(SLOTS, epochs=5, hidden_features=hidden))
        backbone.collect(planted(0, 600, speak=True))
        known, target = decoder_data(backbone.transitions(), hidden)
        assert known.shape[1] == 3 - (hidden[1] - hidden[0]) + 4 and target.shape[1] == 3 + 1
        backbone.adapt(None)
        unlike = torch.arange(AGENTS)[:, None] % TYPES != torch.arange(AGENTS)[None] % TYPES
        return float(torch.cdist(backbone.identity, backbone.identity)[unlike].mean())

    assert apart((0, 1)) > 1.5 * apart((0, 0))


def test_unknown_keys_take_the_mean_of_their_kind_or_of_all():
    identity = torch.arange(8.0)[:, None].repeat(1, 2)
    known = torch.tensor([True, False, True, False, False, False, True, True])
    filled = with_unknown(identity, known, per_kind=3)[:, 0]
    assert filled.tolist() == pytest.approx([0, 1, 2, 15 / 4, 15 / 4, 15 / 4, 6, 7])


def test_unseen_seats_join_a_cluster_that_was_found():
    backbone = adapted(dataclasses.replace(QUICK, slots=AGENTS + 3))
    distance = torch.cdist(backbone.identity[AGENTS:], backbone.centres[: int(backbone.clusters)])
    assert torch.equal(backbone.cluster[AGENTS:], distance.argmin(1))
    torch.testing.assert_close(backbone.identity[AGENTS:], backbone.identity[:AGENTS].mean(0).expand(3, -1))


@pytest.mark.parametrize(("points", "clusters", "expected"), [(1, 0, 1), (2, 0, 2), (2, 5, 2), (3, 0, 2), (12, 4, 4)])
def test_the_number_of_clusters_stays_in_bounds(points, clusters, expected):
    label, centres = find_clusters(torch.randn(points, 4, generator=torch.Generator().manual_seed(0)), clusters, 8)
    assert len(centres) == expected == len(set(label.tolist()))


# ---------------------------------------------------------------------------------------------------------------- masks


def test_one_cluster_one_function_and_another_cluster_another_mask(found):
    feature = torch.randn(1, WIDTH).expand(AGENTS, -1)
    out, _ = found(feature, EVERYONE)
    for i in range(AGENTS):
        for j in range(AGENTS):
            alike = found.cluster[i] == found.cluster[j]
            assert torch.equal(out[i], out[j]) == bool(alike)
            for gate in found.gates:
                assert torch.equal(gate.mask[found.cluster[i]], gate.mask[found.cluster[j]]) == bool(alike)


def test_masked_neurons_neither_speak_nor_learn(found):
    feature = torch.randn(AGENTS, WIDTH)
    out, _ = found(feature, EVERYONE)
    assert torch.equal(out != 0, found.gates[-1].mask[found.cluster] > 0)
    cluster = int(found.cluster[0])
    found.zero_grad()
    found(feature[:1], agents(torch.tensor([0])))[0].sum().backward()
    weight = found.layers[-1].of_group[0].weight
    assert torch.equal(weight.grad.abs().sum(1) > 0, found.gates[-1].mask[cluster] > 0)
    found.zero_grad(set_to_none=True)


def test_before_the_clusters_are_found_it_is_full_sharing():
    torch.manual_seed(0)
    shared = AdapsBackbone(WIDTH, dataclasses.replace(SLOTS, sharing="full"))
    torch.manual_seed(0)
    adaps = AdapsBackbone(WIDTH, SLOTS)
    feature = torch.randn(AGENTS, WIDTH)
    assert torch.equal(shared(feature, EVERYONE)[0], adaps(feature, EVERYONE)[0])
    adaps.between_iterations(0.4, None, planted)
    assert int(adaps.clusters) == 0 and torch.equal(shared(feature, EVERYONE)[0], adaps(feature, EVERYONE)[0])
    assert len(adaps.collected) == 119 * AGENTS


def test_it_has_the_parameters_of_full_sharing_and_the_mapping_net_is_none_of_them(found):
    shared = AdapsBackbone(WIDTH, dataclasses.replace(SLOTS, sharing="full"))
    assert [tuple(p.shape) for p in found.parameters()] == [tuple(p.shape) for p in shared.parameters()]
    assert found.stats()["parameters"] == shared.stats()["parameters"]
    names = [name for name, _ in found.named_parameters()]
    assert not any("mapping" in name or "mask" in name for name in names)
    optimizer = torch.optim.Adam(found.parameters(), lr=0.1)
    before = {name: value.clone() for name, value in found.named_buffers()}
    found(torch.randn(AGENTS, WIDTH), EVERYONE)[0].sum().backward()
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in found.named_buffers())


def test_thresholds_keep_or_starve_the_network():
    generator = torch.Generator().manual_seed(0)
    mapping = [torch.randn(*shape, generator=generator) for shape in ((64, 10), (64,), (256, 64))]
    for scale in (1e-2, 1.0, 100.0):  # whatever the scale of the latent space
        centres = torch.randn(4, 10, generator=torch.Generator().manual_seed(1)) * scale
        kept = {threshold: neuron_masks(centres, mapping, threshold).mean(1) for threshold in (0.3, 0.5, 0.7, 0.9)}
        assert (kept[0.3] > 0.7).all() and (kept[0.7] > 0.1).all() and (kept[0.9] < 0.04).all()
        assert ((kept[0.5] - 0.5).abs() < 0.1).all()
        assert len({tuple(mask.tolist()) for mask in neuron_masks(centres, mapping, 0.5)}) == 4
    starved = adapted(dataclasses.replace(QUICK, threshold=0.9))
    assert starved.stats()["neurons"] < 0.1


def test_flops_count_the_neurons_that_are_used(found):
    sizes = [[int(gate.mask[k].sum()) for gate in found.gates] for k in range(TYPES)]
    by_hand = [linear_flops(WIDTH, first) + linear_flops(first, second) for first, second in sizes]
    stats = found.stats()
    assert stats["flops"] == pytest.approx(sum(by_hand) / TYPES)
    assert stats["clusters"] == TYPES and stats["neurons"] == pytest.approx(np.sum(sizes) / (2 * TYPES * WIDTH))


# ------------------------------------------------------------------------------------------------------------ baselines


@pytest.mark.parametrize("sharing", ["full", "full_id", "none", "selective"])
def test_who_shares_a_function_in_each_baseline(sharing):
    backbone = adapted(dataclasses.replace(QUICK, sharing=sharing))
    for p in backbone.parameters():  # the clusters' nets start as copies of one
        p.data.add_(torch.randn_like(p) * 0.1)
    out, _ = backbone(torch.randn(1, WIDTH).expand(AGENTS, -1), EVERYONE)
    for i in range(AGENTS):
        for j in range(i):
            alike = {"full": True, "selective": bool(backbone.cluster[i] == backbone.cluster[j])}.get(sharing, False)
            assert torch.allclose(out[i], out[j]) == alike


def test_random_identities_are_not_learned_and_a_cluster_for_every_key_is_a_mask_for_every_agent(monkeypatch):
    monkeypatch.setattr("agent.backbones.adaps.learn_identities", lambda *_, **__: pytest.fail("the autoencoder was asked"))
    backbone = adapted(dataclasses.replace(SLOTS, identities="random", clusters=AGENTS, max_clusters=AGENTS))
    assert sorted(backbone.cluster.tolist()) == list(range(AGENTS))
    masks = {tuple(mask.int().tolist()) for mask in backbone.every_gate()[0].mask}
    assert (
        len(masks) == AGENTS and backbone.stats()["parameters"] == adapted(dataclasses.replace(QUICK, sharing="full")).stats()["parameters"]
    )
    again = adapted(dataclasses.replace(SLOTS, identities="random", clusters=AGENTS, max_clusters=AGENTS, seed=1))
    assert not torch.equal(again.identity, backbone.identity)


def test_selective_sharing_goes_on_from_the_common_net_and_its_optimiser_state():
    torch.manual_seed(0)
    backbone = AdapsBackbone(WIDTH, dataclasses.replace(QUICK, sharing="selective"))
    optimizer = torch.optim.Adam(backbone.parameters())
    feature = torch.randn(AGENTS, WIDTH)
    backbone(feature, EVERYONE)[0].sum().backward()
    optimizer.step()
    before = backbone(feature, EVERYONE)[0]
    one = backbone.stats()["parameters"]
    backbone.between_iterations(0.9, optimizer, lambda: planted())
    assert int(backbone.clusters) == TYPES and backbone.stats()["parameters"] == TYPES * one
    torch.testing.assert_close(backbone(feature, EVERYONE)[0], before)
    first, second = (backbone.get_parameter(f"layers.0.of_group.{k}.weight") for k in (0, 1))
    assert torch.equal(optimizer.state[first]["exp_avg"], optimizer.state[second]["exp_avg"])
    assert optimizer.state[first]["exp_avg"] is not optimizer.state[second]["exp_avg"]


# --------------------------------------------------------------------------------------------------------------- saving


@pytest.mark.parametrize("sharing", ["adaps", "selective"])
@pytest.mark.parametrize("iterations", [0, 1, 4])
def test_the_state_dict_is_the_whole_state(sharing, iterations):
    """Before, within and after the warm-up: the copy is the same function and goes on to the same clusters."""
    backbone = AdapsBackbone(WIDTH, dataclasses.replace(QUICK, sharing=sharing, clusters=0))
    for k in range(iterations):
        backbone.between_iterations((k + 1) / 8, None, lambda k=k: planted(k))
    again = AdapsBackbone(WIDTH, dataclasses.replace(backbone.config))
    again.load_state_dict(backbone.state_dict())
    for both in (backbone, again):
        both.between_iterations(0.9, None, lambda: planted(9))
    assert int(again.clusters) > 0 and len(again.collected) == 0
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    feature = torch.randn(AGENTS, WIDTH)
    assert torch.equal(backbone(feature, EVERYONE)[0], again(feature, EVERYONE)[0])


def test_finding_clusters_draws_from_no_generator_of_the_run():
    backbone = AdapsBackbone(WIDTH, QUICK)
    backbone.collect(planted())
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()
    backbone.adapt(None)
    assert int(backbone.clusters) == TYPES
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), numpy_state))


@pytest.mark.parametrize("stop", [1, 3])
def test_resuming_on_the_game_is_exact(tmp_path, stop):
    """Stopped within the warm-up, and after it."""
    adaps = AdapsConfig(warmup=0.5, samples=300, epochs=2, hidden_features=(0, 97))
    config = TrainConfig(
        env_steps=128,
        train_maps=4,
        device="cpu",
        ppo=PPOConfig(num_games=4, rollout_steps=8, epochs=1, minibatches=2),
        policy=PolicyConfig(backbone="adaps", adaps=adaps),
    )
    whole, first, second = PPOLearner(config), PPOLearner(config), PPOLearner(config)
    for _ in range(4):
        whole.step_iteration()
    for _ in range(stop):
        first.step_iteration()
    checkpoint.save(tmp_path / "x", {}, first.policy.state_dict(), first.state())
    stored = checkpoint.load(tmp_path / "x")
    second.policy.load_state_dict(stored.policy_state)
    second.load_state(stored.trainer_state)
    for _ in range(4 - stop):
        second.step_iteration()
    assert int(whole.policy.backbone.clusters) >= 2
    for name, value in whole.policy.state_dict().items():
        assert torch.equal(value, second.policy.state_dict()[name]), name


def test_unknown_modes_are_refused():
    with pytest.raises(ValueError, match="sharing is 'some'; accepted are adaps, full, full_id, none, selective"):
        AdapsConfig(sharing="some")
    with pytest.raises(ValueError, match="adaps.clusters is 9; accepted are 0 to adaps.max_clusters, 8"):
        AdapsConfig(clusters=9)
