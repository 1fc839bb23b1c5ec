"""The vector environment: rolling restarts, exact states, rewards that add up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from agent.opening import opening
from engine.config import GameConfig
from engine.maps import MapPool
from engine.official import PLAYERS
from engine.official_actions import orders_to_actions
from engine.state import WATER, empty_orders
from tests.rows import LIVELY, sample
from wrappers.action import ActionConfig, write_all_orders
from wrappers.observation import Observation
from wrappers.rewards import RewardConfig
from wrappers.vec_env import Step, VecEnv

CONFIG = GameConfig.for_map_size(48)
# mostly what keeps factories alive: dig ice, hand it over, fetch power
DILIGENT = LIVELY * np.array([0.2, 1, 10, 1, 10, 0, 0, 1, 5, 1])
FIELDS = ("feature", "side", "slot", "kind", "cell", "ident", "home", "mask", "planes", "scalar")


@pytest.fixture(scope="module")
def pool() -> MapPool:
    return MapPool(CONFIG, range(6), progress=False)


def make(pool: MapPool, games: int = 4, **changes: Any) -> VecEnv:
    return VecEnv(CONFIG, games, pool, opening, **changes)


def snapshot(obs: Observation) -> dict[str, np.ndarray]:
    return {name: getattr(obs, name).copy() for name in FIELDS}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(a[name], b[name]) for name in FIELDS)


def play(env: VecEnv, rng: np.random.Generator, turns: int) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray, Step]]:
    """Turns by random legal choices, with restarts; yields what was seen, what was done and what it brought."""
    for _ in range(turns):
        seen = snapshot(env.obs)
        action = sample(env.obs.mask, rng, DILIGENT)
        step = env.step(action)
        yield seen, action, step
        env.reset_done()


def history(env: VecEnv, seed: int, turns: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [(seen, action, step.reward.copy(), step.done.copy(), step.finished) for seen, action, step in play(env, rng, turns)]


def assert_same(a: list[Any], b: list[Any]) -> None:
    for turn, (one, other) in enumerate(zip(a, b, strict=True)):
        assert same(one[0], other[0]), f"turn {turn}: observations differ"
        for k in (1, 2, 3):
            assert np.array_equal(one[k], other[k]), f"turn {turn}: part {k} differs"
        assert one[4] == other[4], f"turn {turn}"


def test_games_start_after_the_opening_and_restart_by_themselves(pool: MapPool) -> None:
    env = make(pool, max_turns=30, stagger=True)
    obs = env.reset()
    assert (env.games["real_step"] == 0).all() and (np.bincount(obs.side, minlength=8) >= 2).all()
    assert env.limit.tolist() == [8, 15, 23, 30]
    results = []
    for turn, (_, _, step) in enumerate(play(env, np.random.default_rng(0), 100)):
        results += step.finished
        over = step.done | step.truncated
        assert not (step.done & step.truncated).any() and len(step.finished) == over.sum()
        # ended games are still shown, restarted ones are at their first turn after reset_done
        assert turn > 0 or not over.any()
    assert len(results) >= 4 * 3
    assert {r.seed for r in results} <= set(pool.seeds.tolist()) and len({r.seed for r in results}) > 2
    assert {r.turns for r in results if not r.done} == {8, 15, 23, 30}
    assert all(r.finished == (min(r.factories) > 0) for r in results)


def test_a_done_game_stands_still_without_rows_until_it_is_restarted(pool: MapPool) -> None:
    env = make(pool, games=2)
    env.reset()
    env.games["factory_cargo"][0, :, 2] = 3  # game 0 dies of thirst
    rng = np.random.default_rng(1)
    results = []
    for _ in range(8):
        results += env.step(sample(env.obs.mask, rng)).finished
    assert [result.game for result in results] == [0] and results[0].turns == 4 and not results[0].finished
    assert set(env.obs.side.tolist()) == {2, 3} and env.games["real_step"].tolist() == [4, 8]
    assert set(env.reset_done().side.tolist()) == {0, 1, 2, 3}


def test_a_truncated_game_is_shown_until_it_is_restarted(pool: MapPool) -> None:
    env = make(pool, games=2, max_turns=5)
    env.reset()
    rng = np.random.default_rng(1)
    for _ in range(5):
        step = env.step(sample(env.obs.mask, rng))
    assert step.truncated.all() and (env.games["real_step"] == 5).all() and set(env.obs.side.tolist()) == {0, 1, 2, 3}
    with pytest.raises(RuntimeError, match=r"Games \[0, 1\] were truncated; call reset_done"):
        env.step(sample(env.obs.mask, rng))
    env.reset_done()
    assert (env.games["real_step"] == 0).all()


def test_equal_seeds_play_equal_games(pool: MapPool) -> None:
    runs = []
    for seed, threads in [(5, 1), (5, 2), (6, 1)]:
        env = make(pool, seed=seed, max_turns=25, threads=threads)
        env.reset()
        runs.append((env.map_index.copy(), history(env, 0, 60)))
    assert_same(runs[0][1], runs[1][1])
    assert not np.array_equal(runs[0][0], runs[2][0])


def test_a_restored_state_goes_on_exactly(pool: MapPool) -> None:
    env = make(pool, max_turns=20, seed=1, stagger=True)
    env.reset()
    history(env, 0, 33)
    state = env.state()
    seen = snapshot(env.obs)
    wanted = history(env, 2, 50)
    other = make(pool, max_turns=20, seed=99)
    other.reset()
    history(other, 1, 7)
    assert same(snapshot(other.load_state(state)), seen)
    assert_same(history(other, 2, 50), wanted)
    # and the saved state itself was not touched by playing on
    assert same(snapshot(env.load_state(state)), seen)


def test_a_saved_state_is_the_records_byte_for_byte(pool: MapPool) -> None:
    """What lies between the fields included, whatever the memory held before; equal runs write equal checkpoints."""
    env = make(pool)
    env.reset()
    for records, name in ((env.games, "games"), (env.static, "static")):
        for _ in range(3):
            dirty = np.full(records.nbytes, 255, np.uint8)
            del dirty
        assert env.state()[name].tobytes() == records.tobytes(), name


def test_a_state_of_another_size_is_refused(pool: MapPool) -> None:
    env = make(pool, games=2)
    env.reset()
    with pytest.raises(ValueError, match="this environment's are"):
        make(pool, games=3).load_state(env.state())


def test_wrong_actions_and_settings_are_refused(pool: MapPool) -> None:
    env = make(pool, games=1)
    env.reset()
    with pytest.raises(ValueError, match="is expected"):
        env.step(np.zeros((1, 4), np.int64))
    with pytest.raises(ValueError, match="max_turns is 0"):
        make(pool, max_turns=0)
    with pytest.raises(ValueError, match="own is 1.5"):
        RewardConfig(own=1.5)


def official_twin(seed: int) -> Any:
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    from luxai_s2.env import LuxAI_S2

    twin = LuxAI_S2(collect_stats=True, verbose=0, validate_action_space=False, **CONFIG.env_cfg())
    twin.reset(seed=seed)
    return twin


def official_totals(twin: Any) -> np.ndarray:
    """Ice dug and ice handed over so far, both sides, by the official statistics."""
    stats = twin.state.stats
    dug = sum(sum(stats[agent]["generation"]["ice"].values()) for agent in PLAYERS)
    return np.array([dug, sum(stats[agent]["transfer"]["ice"] for agent in PLAYERS)], float)


def test_rewards_are_the_official_totals_times_their_weights(pool: MapPool) -> None:
    """One game on both engines; after every turn the sums of rewards by kind of row follow from the official statistics."""
    env = make(pool, games=1, actions=ActionConfig.survival(), seed=3)
    obs = env.reset()
    twin = official_twin(int(pool.seeds[env.map_index[0]]))
    from engine.engine import Engine

    replay = Engine(CONFIG, 1)
    replay.reset(0, pool, int(env.map_index[0]))
    while replay.games[0].real_step < 0:
        for player in range(2):
            opening(replay.games[0], replay.rules, player, replay.orders[0])
        twin.step({agent: orders_to_actions(replay.games[0], replay.orders[0], p) for p, agent in enumerate(PLAYERS)})
        replay.step()
    rng = np.random.default_rng(2)
    for turn in range(150):
        action = sample(obs.mask, rng, DILIGENT)
        orders = empty_orders(1)
        write_all_orders(env.games, env.rules, obs.side, obs.slot, action, obs.rows, orders)
        before, robots = official_totals(twin), obs.kind > 0
        twin.step({agent: orders_to_actions(env.games[0], orders[0], p) for p, agent in enumerate(PLAYERS)})
        robots = robots.copy()
        step = env.step(action)
        dug, given = official_totals(twin) - before
        f = 1 + 0.1 * (1000 - turn) / 1000
        assert step.reward[robots].sum() == pytest.approx(0.1 * f / 2 * (0.1 * dug / 4 + given / 4), rel=1e-5)
        assert step.reward[~robots].sum() == pytest.approx(0.1 * f / 2 * given / 4, rel=1e-5)
        if step.done.any():
            break
    dug, given = official_totals(twin)
    assert dug > 500 and given > 200, "too little happened"
    assert env.games["factory_total"][0, :, 0].sum() == given


def rewards_of(pool: MapPool, turns: int, **weights: Any) -> list[tuple[np.ndarray, np.ndarray, Step]]:
    env = make(pool, games=3, reward=RewardConfig(**weights), seed=4)
    env.reset()
    found = []
    for seen, _, step in play(env, np.random.default_rng(5), turns):
        found.append((seen["side"], step.reward.copy(), step))
    return found


def test_sharing_moves_reward_within_a_side_and_keeps_its_sum(pool: MapPool) -> None:
    own, half, team = (rewards_of(pool, 180, own=share) for share in (1.0, 0.5, 0.0))
    fixed = rewards_of(pool, 180, own=0.5, shared_by=20)
    some = 0
    for (side, a, _), (_, b, _), (_, c, _), (_, d, _) in zip(own, half, team, fixed, strict=True):
        for s in np.unique(side):
            mine = side == s
            np.testing.assert_allclose(c[mine], a[mine].mean(), rtol=1e-5, atol=1e-8)
            np.testing.assert_allclose(b[mine], 0.5 * a[mine] + 0.5 * a[mine].mean(), rtol=1e-5, atol=1e-8)
            np.testing.assert_allclose(d[mine], 0.5 * a[mine] + 0.5 * a[mine].sum() / 20, rtol=1e-5, atol=1e-8)
        some += int((a != 0).sum())
    assert some > 20


def test_winning_pays_every_row_of_the_winner_what_it_costs_the_loser(pool: MapPool) -> None:
    env = make(pool, games=4, reward=RewardConfig(ice_dug=0, ice_given=0, ice_got=0, result=2.0, scale=0.5), seed=4)
    env.reset()
    # without anybody working, factories die of thirst; those of one side in each game sooner
    wait, ends = np.zeros(10) + 1e-9, 0
    wait[0] = 1
    for _ in range(200):
        side = env.obs.side.copy()
        thirsty = (env.games["factory_owner"] == np.arange(4)[:, None] % 2) & (env.games["real_step"] > 20)[:, None]
        env.games["factory_cargo"][..., WATER][thirsty] = 0
        step = env.step(sample(env.obs.mask, np.random.default_rng(0), wait))
        for result in step.finished:
            ends += 1
            assert result.result == (-1 if result.game % 2 == 0 else 1)
            assert (step.reward[side == 2 * result.game] == result.result).all()
            assert (step.reward[side == 2 * result.game + 1] == -result.result).all()
        running = ~np.isin(side // 2, [r.game for r in step.finished])
        assert (step.reward[running] == 0).all()
        env.reset_done()
    assert ends >= 4


def test_deaths_and_births_are_booked_where_they_happen(pool: MapPool) -> None:
    weights = {"ice_dug": 0, "ice_given": 0, "ice_got": 0, "scale": 1.0, "robot_lost": -1.0, "heavy_built": 1.0, "light_built": 1.0}
    env = make(pool, games=3, reward=RewardConfig(**weights), actions=ActionConfig(self_destruct=True), seed=4)
    env.reset()
    rng = np.random.default_rng(1)
    lost = built = 0
    for _ in range(80):
        keys = set(zip((env.obs.side // 2).tolist(), env.obs.kind.tolist(), env.obs.ident.tolist()))
        robots = env.obs.kind > 0
        count = env.games["next_id"].copy()
        robots = robots.copy()
        step = env.step(sample(env.obs.mask, rng))
        after = set(zip((env.obs.side // 2).tolist(), env.obs.kind.tolist(), env.obs.ident.tolist()))
        gone = sum(kind > 0 for _, kind, _ in keys - after)
        assert step.reward[robots].sum() == -gone
        assert step.reward[~robots].sum() == (env.games["next_id"] - count).sum()
        lost, built = lost + gone, built + int((env.games["next_id"] - count).sum())
        env.reset_done()
    assert lost > 5 and built > 20


def test_lichen_rewards_add_up_to_the_sides_lichen(pool: MapPool) -> None:
    """While all factories live, what their rows are paid for growth is the change of the official score."""
    quiet: dict[str, Any] = {"ice_dug": 0, "ice_given": 0, "ice_got": 0}
    env = make(pool, games=3, reward=RewardConfig(**quiet, scale=1.0, lichen_grown=1.0), actions=ActionConfig(water_reserve=0), seed=2)
    env.reset()
    gardener, rng = LIVELY * np.array([1, 1, 1, 1, 1, 0, 0, 1, 1, 20]), np.random.default_rng(3)
    grown = 0
    for _ in range(60):
        side, before = env.obs.side.copy(), env.games["lichen_total"].copy()
        step = env.step(sample(env.obs.mask, rng, gardener))
        if step.done.any():
            break
        paid = np.bincount(side, weights=step.reward, minlength=6).reshape(3, 2)
        change = env.games["lichen_total"] - before
        whole = env.games["factory_alive"].sum(1) == env.games["factory_count"]
        assert np.array_equal(paid[whole], change[whole])
        grown += int(np.abs(change[whole]).sum())
    assert grown > 300
