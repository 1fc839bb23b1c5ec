"""Masks and the topology controller: what is counted, chosen, cleared and left alone."""

from __future__ import annotations

import copy
import dataclasses
import itertools

import numpy as np
import pytest
import torch
import torch.nn as nn
from torch import Tensor

from agent.backbones import linear_flops, linear_stats
from agent.compact import compact, whole
from agent.sparse import METHODS, MaskedLinear, Rules, SparseConfig, Topology, erdos_renyi_densities, give_mask, maskable_layers, sparsify

torch.set_num_threads(1)

CONFIG = SparseConfig(interval=3, window=2, drop=0.4)


def net(sparsity: float = 0.8, config: SparseConfig = CONFIG, seed: int = 0) -> tuple[nn.Sequential, Topology, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(12, 30), nn.Tanh(), nn.Linear(30, 20), nn.Tanh(), nn.Linear(20, 5))
    topology = sparsify(module, sparsity, config)
    return module, topology, torch.optim.Adam(module.parameters(), lr=1e-2)


def learn(module: nn.Module, topology: Topology, optimizer: torch.optim.Optimizer, steps: int, seed: int = 1) -> list[list[Tensor]]:
    """Gradient steps on random regression; returns the whole gradients of the masked weights, before they were masked and clipped."""
    generator = torch.Generator().manual_seed(seed)
    seen = []
    for _ in range(steps):
        x, y = torch.randn(16, 12, generator=generator), torch.randn(16, 5, generator=generator)
        optimizer.zero_grad()
        ((module(x) - y) ** 2).mean().backward()
        seen.append([weight.grad.clone() for weight in topology.weights if weight.grad is not None])
        topology.after_backward()
        nn.utils.clip_grad_norm_(module.parameters(), 0.01)
        optimizer.step()
    return seen


def counts(topology: Topology) -> list[int]:
    return [int(mask.sum()) for mask in topology.masks]


@pytest.mark.parametrize("method", METHODS)
def test_the_number_of_connections_of_each_layer_is_constant_and_absent_weights_are_zero(method):
    module, topology, optimizer = net(config=SparseConfig(method, interval=3, window=2, drop=0.4))
    before, first = counts(topology), [mask.clone() for mask in topology.masks]
    for iteration in range(12):
        learn(module, topology, optimizer, 3, seed=iteration)
        topology.between_iterations(iteration / 12, optimizer)
        assert counts(topology) == before and topology.active == sum(before)
        assert all(bool((weight[~mask] == 0).all()) for weight, mask in zip(topology.weights, topology.masks))
    moved = any(not torch.equal(a, b) for a, b in zip(first, topology.masks))
    assert moved == (method != "static") and topology.changes == (0 if method == "static" else 9)  # iterations 0 to 8 of 12


def test_rigl_drops_the_smallest_weights_and_grows_the_largest_summed_gradients():
    """Against a search by sorting, and with the gradients as they were before masking and clipping."""
    module, topology, optimizer = net()
    gradients = learn(module, topology, optimizer, 3)
    masks, weights = [m.clone() for m in topology.masks], [w.detach().clone() for w in topology.weights]
    topology.between_iterations(0.25, optimizer)
    share = 0.4 / 2 * (1 + np.cos(np.pi * 0.25 / 0.75))
    for i, (mask, weight) in enumerate(zip(masks, weights)):
        k = round(share * int(mask.sum()))
        assert k > 0
        score = (gradients[1][i] + gradients[2][i]).abs()  # the window is the last two of three steps
        present = sorted(map(tuple, mask.nonzero().tolist()), key=lambda place: float(weight[place].abs()))
        absent = sorted(map(tuple, (~mask).nonzero().tolist()), key=lambda place: -float(score[place]))
        expected = mask.clone()
        for place in present[:k]:
            expected[place] = False
        for place in absent[:k]:
            expected[place] = True
        assert torch.equal(topology.masks[i], expected)
        kept = mask & expected
        assert torch.equal(topology.weights[i][kept], weight[kept])
        assert bool((topology.weights[i][~kept] == 0).all())  # what was dropped, and what was grown and starts there


def test_what_was_just_dropped_may_regrow_if_so_told_and_then_goes_on_as_it_was():
    """The weights whose gradients are largest are grown, be they absent or just dropped; a regrown one keeps value and moments."""
    module, topology, optimizer = net(config=dataclasses.replace(CONFIG, drop=1.0, regrow=True))
    gradients = learn(module, topology, optimizer, 3)
    masks, weights = [m.clone() for m in topology.masks], [w.detach().clone() for w in topology.weights]
    moments = [optimizer.state[w]["exp_avg"].clone() for w in topology.weights]
    topology.between_iterations(0.0, optimizer)  # drops all that there is, or as many as are absent
    regrown_in_all = 0
    for i, (mask, weight) in enumerate(zip(masks, weights)):
        k = min(int(mask.sum()), int((~mask).sum()))
        score = (gradients[1][i] + gradients[2][i]).abs()
        present = sorted(map(tuple, mask.nonzero().tolist()), key=lambda place: float(weight[place].abs()))
        kept = mask.clone()
        for place in present[:k]:
            kept[place] = False
        expected = kept.clone()
        for place in sorted(map(tuple, (~kept).nonzero().tolist()), key=lambda place: -float(score[place]))[:k]:
            expected[place] = True
        assert torch.equal(topology.masks[i], expected)
        stayed = mask & expected
        regrown_in_all += int((stayed & ~kept).sum())
        now = optimizer.state[topology.weights[i]]["exp_avg"]
        assert torch.equal(topology.weights[i][stayed], weight[stayed]) and torch.equal(now[stayed], moments[i][stayed])
        assert bool((topology.weights[i][~stayed] == 0).all()) and bool((now[~stayed & (mask | expected)] == 0).all())
    assert regrown_in_all > 0


def test_moments_of_dropped_and_grown_weights_are_cleared_and_no_others():
    module, topology, optimizer = net()
    learn(module, topology, optimizer, 3)
    masks = [m.clone() for m in topology.masks]
    before = [{k: v.clone() for k, v in optimizer.state[w].items()} for w in topology.weights]
    topology.between_iterations(0.0, optimizer)
    for weight, old, mask, state in zip(topology.weights, masks, topology.masks, before):
        changed = old ^ mask
        assert bool(changed.any())
        for name in ("exp_avg", "exp_avg_sq"):
            now = optimizer.state[weight][name]
            assert bool((now[changed] == 0).all()) and torch.equal(now[~changed], state[name][~changed])
            assert bool((state[name][changed & old] != 0).any())
        assert torch.equal(optimizer.state[weight]["step"], state["step"])


def test_absent_weights_have_no_gradient_and_no_decay():
    module, topology, optimizer = net(config=SparseConfig(interval=100, window=1, weight_decay=0.1))
    gradients = learn(module, topology, optimizer, 1)[0]
    module, topology, optimizer = net(config=SparseConfig(interval=100, window=1, weight_decay=0.1))
    weights = [w.detach().clone() for w in topology.weights]
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(16, 12, generator=generator), torch.randn(16, 5, generator=generator)
    ((module(x) - y) ** 2).mean().backward()
    topology.after_backward()
    for weight, mask, whole_gradient, old in zip(topology.weights, topology.masks, gradients, weights):
        assert weight.grad is not None and bool((whole_gradient[~mask] != 0).any())
        torch.testing.assert_close(weight.grad, whole_gradient * mask + 0.1 * old)
        assert bool((weight.grad[~mask] == 0).all())


def test_the_share_that_is_replaced_follows_a_cosine_to_the_stop():
    for progress, share in ((0.0, 0.4), (0.375, 0.2), (0.75, 0.0), (0.9, 0.0)):
        module, topology, optimizer = net()
        learn(module, topology, optimizer, 3)
        old = [m.clone() for m in topology.masks]
        topology.between_iterations(progress, optimizer)
        for before, after in zip(old, topology.masks):
            assert int((before & ~after).sum()) == int((after & ~before).sum()) == round(share * int(before.sum()))


def test_nothing_changes_before_the_interval_is_over():
    module, topology, optimizer = net()
    learn(module, topology, optimizer, 2)
    old = [m.clone() for m in topology.masks]
    topology.between_iterations(0.1, optimizer)
    assert all(torch.equal(a, b) for a, b in zip(old, topology.masks)) and topology.steps == 2


def test_random_growth_is_the_same_on_every_rank():
    results = []
    for _ in range(2):
        module, topology, optimizer = net(config=SparseConfig("set", interval=1, window=1))
        torch.rand(len(results) + 1)  # ranks differ in what else they draw
        learn(module, topology, optimizer, 1)
        topology.between_iterations(0.1, optimizer)
        results.append(topology.masks)
    assert all(torch.equal(a, b) for a, b in zip(*results))


@pytest.mark.parametrize("method", ["rigl", "set"])
def test_saved_and_loaded_in_the_middle_of_a_window_it_goes_on_exactly(method):
    module, topology, optimizer = net(config=SparseConfig(method, interval=3, window=2))
    learn(module, topology, optimizer, 3)
    topology.between_iterations(0.1, optimizer)
    learn(module, topology, optimizer, 2, seed=2)
    again, topology_again, optimizer_again = net(config=SparseConfig(method, interval=3, window=2), seed=5)
    again.load_state_dict(module.state_dict())
    topology_again.load_state_dict(topology.state_dict())
    optimizer_again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one in ((module, topology, optimizer), (again, topology_again, optimizer_again)):
        learn(*one, 1, seed=3)
        one[1].between_iterations(0.2, one[2])
    assert topology.changes == topology_again.changes == 2
    for a, b in zip(module.state_dict().values(), again.state_dict().values()):
        assert torch.equal(a, b)


def test_grow_only_adds_the_best_of_all_layers_within_its_budget():
    torch.manual_seed(0)
    module = nn.Sequential(MaskedLinear(12, 30, torch.rand(30, 12) < 0.2), nn.Tanh(), MaskedLinear(30, 5, torch.rand(5, 30) < 0.2))
    rules = Rules("gradient", interval=2, window=2, start=0.0, stop=0.5, budget=40)
    topology, optimizer = Topology([module[0], module[2]], rules), torch.optim.Adam(module.parameters())
    first = sum(counts(topology))
    for progress, due in ((0.125, 10), (0.25, 20), (0.49, 39), (0.75, 40), (1.0, 40)):
        masks = [m.clone() for m in topology.masks]
        gradients = learn(module, topology, optimizer, 2)
        topology.between_iterations(progress, optimizer)
        assert sum(counts(topology)) - first == due == topology.active - first
        sums = [(a + b).abs() for a, b in zip(*gradients)]
        places = [(float(s[place]), i, place) for i, (s, m) in enumerate(zip(sums, masks)) for place in map(tuple, (~m).nonzero().tolist())]
        best = sorted(places, reverse=True)[: due - (sum(int(m.sum()) for m in masks) - first)]
        for _, i, place in best:
            masks[i][place] = True
        assert all(torch.equal(a, b) for a, b in zip(masks, topology.masks))
    assert not topology.listening


def test_a_layer_that_was_not_used_keeps_its_connections():
    module, topology, optimizer = net()
    old = [m.clone() for m in topology.masks]
    for _ in range(3):
        optimizer.zero_grad()
        module[:3](torch.randn(4, 12)).sum().backward()
        topology.after_backward()
    topology.between_iterations(0.0, optimizer)
    assert not torch.equal(old[0], topology.masks[0]) and torch.equal(old[2], topology.masks[2])


# ------------------------------------------------------------------------------------------------------ sizes and densities


@pytest.mark.parametrize(
    ("shapes", "density"),
    list(itertools.product([[(128, 128)], [(64, 100), (8, 64), (300, 8)], [(4, 20, 10), (5, 5)]], [0.05, 0.1, 0.5, 0.9, 1.0])),
)
def test_erdos_renyi_densities_sum_to_the_target(shapes, density):
    densities = erdos_renyi_densities(shapes, density)
    sizes = [int(np.prod(shape)) for shape in shapes]
    assert sum(d * s for d, s in zip(densities, sizes)) == pytest.approx(density * sum(sizes))
    assert all(0 < d <= 1 + 1e-9 for d in densities)
    free = [i for i, d in enumerate(densities) if d < 1 - 1e-9]
    rates = [densities[i] * shapes[i][-1] * shapes[i][-2] / (shapes[i][-1] + shapes[i][-2]) for i in free]
    assert rates == pytest.approx([rates[0]] * len(rates)) if rates else density == 1


def test_sparsify_has_the_share_that_was_asked_for():
    for sparsity in (0.0, 0.5, 0.9, 0.95):
        module, topology, _ = net(sparsity)
        total = 12 * 30 + 30 * 20 + 20 * 5
        assert topology.active == sum(counts(topology)) == pytest.approx((1 - sparsity) * total, abs=2)
        assert linear_stats(module)["density"] == pytest.approx(1 - sparsity, abs=0.003)


def test_outputs_vary_as_much_as_those_of_the_dense_layer():
    torch.manual_seed(0)
    layer = nn.Linear(200, 300, bias=False)
    x = torch.randn(500, 200)
    dense = float(layer(x).detach().var())
    sparsify(layer, 0.9, SparseConfig())
    assert float(layer(x).detach().var()) == pytest.approx(dense, rel=0.1)


def test_flops_by_hand():
    assert linear_flops(3, 2) == 2 * (3 + 2)  # for each of 2 outputs 3 products and 2 sums
    assert linear_flops(100, 10, 0.1) == pytest.approx(199.0)
    module = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    assert linear_stats(module) == {"parameters": 15 + 8, "density": 1.0, "flops": 7 * 3 + 5 * 2}
    mask = torch.zeros(3, 4, dtype=torch.bool)
    mask[0, 1] = mask[2, 3] = mask[1, 1] = True
    give_mask(module[0], mask)
    assert linear_stats(module) == {"parameters": 6 + 8, "density": 9 / 18, "flops": 7 * 3 / 4 + 5 * 2}
    assert torch.equal(next(module.parameters()) != 0, mask)


def test_what_is_frozen_or_masked_already_is_left_alone():
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), MaskedLinear(4, 4, torch.ones(4, 4, dtype=torch.bool)), nn.LayerNorm(4))
    module[1].weight.requires_grad_(False)
    assert maskable_layers(module) == [module[0]]
    with pytest.raises(ValueError, match="no linear layer"):
        sparsify(nn.ReLU(), 0.5, CONFIG)


def test_refusals_are_sentences():
    for options, words in (
        ({"method": "x"}, "accepted are rigl, set, static"),
        ({"interval": 0}, "at least 1"),
        ({"drop": 0.0}, "more than 0"),
    ):
        with pytest.raises(ValueError, match=words):
            SparseConfig(**options)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="sparsity is 1"):
        net(1.0)
    with pytest.raises(ValueError, match="A mask is"):
        give_mask(nn.Linear(2, 3), torch.ones(2, 3, dtype=torch.bool))


def test_compact_arrays_come_back_as_they_were():
    random = np.random.default_rng(0)
    sparse = np.where(random.random((33, 17)) < 0.1, random.standard_normal((33, 17)), 0).astype(np.float32)
    arrays = {
        "sparse": sparse,
        "none": np.zeros((3, 4), np.float32),
        "dense": random.standard_normal((5, 6)).astype(np.float32),
        "bias": np.zeros(7, np.float32),
        "mask": random.random((9, 5, 2)) < 0.5,
        "number": np.int64(4),
    }
    packed = compact(arrays)
    back = whole(packed)
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert np.array_equal(back[name], array) and back[name].dtype == array.dtype and np.shape(back[name]) == np.shape(array)
    assert sum(packed["sparse" + end].nbytes for end in ("@bits", "@values", "@shape")) < sparse.nbytes * 0.18


def test_another_training_from_these_weights_changes_connections_again():
    """Once the schedule has ended nothing changes; restarted it does, and what is absent stays so."""
    module, topology, optimizer = net()
    for progress in (0.2, 1.0):
        learn(module, topology, optimizer, 3)
        topology.between_iterations(progress, optimizer)
    assert topology.ended
    before = [mask.clone() for mask in topology.masks]
    learn(module, topology, optimizer, 3, seed=2)
    topology.between_iterations(0.1, optimizer)
    assert all(map(torch.equal, before, topology.masks))
    topology.restart()
    learn(module, topology, optimizer, 3, seed=3)
    topology.between_iterations(0.1, optimizer)
    assert not all(map(torch.equal, before, topology.masks)) and topology.changes == 1
    assert all(bool((weight[~mask] == 0).all()) for weight, mask in zip(topology.weights, topology.masks))
