"""The adapters: the ecosystems' own checkers, and what they promise beyond them."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import parallel_api_test
from sb3_contrib import MaskablePPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_checker import check_env as stable_check_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from agent.opening import opening
from engine.config import MAX_FACTORIES, GameConfig
from engine.maps import MapPool
from engine.state import ICE_DUG, ICE_GIVEN, WATER
from tests.rows import legal_actions
from wrappers.action import MASK_BITS, ActionConfig
from wrappers.adapters.gymnasium_env import SingleRobotEnv, single_robot_config
from wrappers.adapters.padding import ROBOT_KINDS, PaddedGames, list_choices
from wrappers.adapters.pettingzoo_env import TwoPlayerEnv
from wrappers.adapters.sb3_vec_env import TeamVecEnv
from wrappers.features import ROBOT_WIDTH
from wrappers.rewards import RewardConfig
from wrappers.vec_env import GameResult

DOCS = Path(__file__).parents[2] / "docs" / "adapters.md"
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def bench() -> MapPool:
    return MapPool(single_robot_config(), range(16))


@pytest.fixture(scope="module")
def small() -> MapPool:
    return MapPool(GameConfig(map_size=24, min_factories=1, max_factories=2), range(8))


def masked(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random legal choice for every slot: `[..., K]` to `[...]`."""
    return np.argmax(rng.random(mask.shape) * (mask != 0), axis=-1)


# Choices ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [ActionConfig(self_destruct=True, recharge=True), ActionConfig.survival()])
def test_legal_choices_are_what_the_bits_of_a_mask_say(config: ActionConfig) -> None:
    choices = list_choices(config)
    levels = [level for level, on in enumerate(config.amounts_offered()) if on]
    offered = {tuple(row) for row in choices.action.tolist()}
    assert len(offered) == len(choices) == len(set(choices.names)) and choices.names[0] == "wait"
    rng = np.random.default_rng(0)
    for mask in (rng.integers(0, 1 << MASK_BITS, 200) | 1).tolist():
        legal = choices.legal(np.array([mask]))[0]
        found = {tuple(row) for row in choices.action[legal].tolist()}
        # an action of the mask in every level that its kind has: by hand, kinds 2, 3 and 6 have amounts
        wanted = {(k, d, r, level) for k, d, r, _ in legal_actions(mask) for level in (levels if k in (2, 3, 6) else [0])}
        assert found == {row for row in wanted if not (row[0] == 1 and row[1] == 0)} & offered


def test_the_single_robot_has_the_published_choices() -> None:
    names = list_choices(ActionConfig.survival(), ROBOT_KINDS).names
    directions = ["centre", "up", "right", "down", "left"]
    moves = [f"move {d}" for d in directions[1:]]
    assert list(names) == ["wait", *moves, *(f"transfer {d} ice all" for d in directions), "pickup power all", "dig"]


# gymnasium ----------------------------------------------------------------------------------------------------------


def test_single_robot_passes_the_checkers_without_warnings(bench: MapPool) -> None:
    env = SingleRobotEnv(bench, opening)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=True)
        stable_check_env(env)


def test_a_waiting_robot_sees_its_factory_die_of_thirst(bench: MapPool) -> None:
    env = SingleRobotEnv(bench, opening)
    env.reset(seed=3)
    total, terminated, truncated, info = 0.0, False, False, {}
    while not (terminated or truncated):
        _, reward, terminated, truncated, info = env.step(np.int64(0))
        total += reward
    # 150 water, one a turn, dead when it is below 0
    assert terminated and not truncated and info["turn"] == 151 and info["ice"] == 0 and total == 0
    with pytest.raises(RuntimeError, match="reset"):
        env.step(np.int64(0))


def test_single_robot_is_truncated_at_max_turns(bench: MapPool) -> None:
    env = SingleRobotEnv(bench, opening, max_turns=7)
    env.reset(seed=3)
    ends = [env.step(np.int64(0))[2:4] for _ in range(6)]
    assert ends == [(False, False)] * 5 + [(False, True)]


def test_the_death_of_the_robot_terminates(bench: MapPool) -> None:
    actions = ActionConfig.survival(self_destruct=True)
    env = SingleRobotEnv(bench, opening, RewardConfig(scale=1.0, robot_lost=-2.0), actions)
    observation, _ = env.reset(seed=0)
    assert observation[:ROBOT_WIDTH].any()
    observation, reward, terminated, truncated, info = env.step(np.int64(env.choices.names.index("self_destruct")))
    assert terminated and not truncated and info["illegal"] == 0 and reward == -2
    assert not observation[:ROBOT_WIDTH].any() and observation[ROBOT_WIDTH:].any()
    assert np.flatnonzero(env.action_masks()).tolist() == [0]


def test_the_return_is_what_the_robot_dug_and_gave(bench: MapPool) -> None:
    env = SingleRobotEnv(bench, opening, RewardConfig(early=0.0))
    rng = np.random.default_rng(1)
    given = 0
    for seed in range(3):
        env.reset(seed=seed)
        total, over = 0.0, False
        while not over:
            mask = env.action_masks()
            # prefer giving, then digging, so that there is something to reward
            liked = [i for i in np.flatnonzero(mask) if env.choices.names[i].startswith(("transfer", "dig"))]
            choice = rng.choice(liked if liked and rng.random() < 0.9 else np.flatnonzero(mask))
            _, reward, terminated, truncated, info = env.step(choice)
            assert info["illegal"] == 0
            total += reward
            over = terminated or truncated
        sums = env.games.games[0]["robot_total"][0]
        given += sums[ICE_GIVEN]
        assert total == pytest.approx(0.1 * (0.0125 * sums[ICE_DUG] + 0.125 * sums[ICE_GIVEN]), rel=1e-4)
    assert given > 0


def test_an_illegal_choice_is_waiting(bench: MapPool) -> None:
    env, other = SingleRobotEnv(bench, opening), SingleRobotEnv(bench, opening)
    for one in (env, other):
        one.reset(seed=5)
    for _ in range(20):
        forbidden = np.flatnonzero(~env.action_masks())
        seen, reward, *_, info = env.step(forbidden[0])
        expected, other_reward, *_, other_info = other.step(np.int64(0))
        assert np.array_equal(seen, expected) and reward == other_reward
        assert info["illegal"] == 1 and other_info["illegal"] == 0


def test_single_robot_seeds(bench: MapPool) -> None:
    def play(seed: int) -> list[np.ndarray]:
        env = SingleRobotEnv(bench, opening)
        rng = np.random.default_rng(0)
        seen = [env.reset(seed=seed)[0]]
        for _ in range(30):
            seen.append(env.step(rng.choice(np.flatnonzero(env.action_masks())))[0])
        return [*seen, env.reset()[0]]

    first, again, other = play(11), play(11), play(12)
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_single_robot_wants_one_factory(small: MapPool) -> None:
    with pytest.raises(ValueError, match="max_factories"):
        SingleRobotEnv(small, opening)


# Padding ------------------------------------------------------------------------------------------------------------


def test_padded_arrays_hold_every_row_at_its_place_for_life(small: MapPool) -> None:
    padded = PaddedGames(small, 2, opening, slots=40, max_turns=60)
    padded.reset()
    rng = np.random.default_rng(0)
    lives: dict[tuple[int, int, int], int] = {}  # side, kind, ident -> place
    most = 0
    for _ in range(50):
        obs, now = padded.games.obs, padded.now
        assert now["alive"].sum() == obs.rows
        for row in range(obs.rows):
            b = int(obs.side[row])
            (place,) = np.flatnonzero((now["alive"][b] == 1) & (now["ident"][b] == obs.ident[row]) & (now["kind"][b] == obs.kind[row]))
            assert np.array_equal(now["feature"][b, place], np.clip(obs.feature[row], -10, 10))
            assert np.array_equal(now["action_mask"][b, place] != 0, padded.choices.legal(obs.mask[row : row + 1])[0])
            assert now["cell"][b, place] == obs.cell[row] and now["home"][b, place] == obs.home[row]
            assert lives.setdefault((b, int(obs.kind[row]), int(obs.ident[row])), int(place)) == place
            assert (place < padded.factories) == (obs.slot[row] < MAX_FACTORIES)
        empty = now["alive"] == 0
        assert not now["feature"][empty].any() and (now["ident"][empty] == -1).all()
        assert (now["action_mask"][empty] == (np.arange(len(padded.choices)) == 0)).all()
        most = max(most, obs.rows)
        step = padded.step(masked(now["action_mask"], rng))
        assert not step.illegal.any() and not step.truncated.any()
        if step.done.any():
            padded.reset_done()
            lives.clear()
    assert most > 12 and padded.beyond == 0


def test_rows_without_a_slot_wait_and_are_told(small: MapPool) -> None:
    """Robots that do not fit do nothing: the same game as one in which they are told to wait."""
    config = ActionConfig(avoid_friends=False)
    tight, roomy = (PaddedGames(small, 1, opening, slots, actions=config, max_turns=40) for slots in (4, 60))
    for games in (tight, roomy):
        games.reset(seed=4)
    rng = np.random.default_rng(0)
    beyond = 0
    with pytest.warns(RuntimeWarning, match="no place in 4 slots") as told:
        for _ in range(30):
            choice = masked(tight.now["action_mask"], rng)
            wide = np.zeros((2, 60), np.int64)
            wide[:, :4] = choice
            tight.step(choice)
            roomy.step(wide)
            for name in ("cell", "mask", "feature"):
                assert np.array_equal(getattr(tight.games.obs, name), getattr(roomy.games.obs, name))
            beyond += int(roomy.now["alive"][:, 4:].sum())
    assert tight.beyond == beyond > 10 and roomy.beyond == 0
    assert 2 <= len(told) <= 1 + np.log10(beyond)


def test_illegal_choices_of_teams_are_waiting(small: MapPool) -> None:
    games, twin = (PaddedGames(small, 1, opening, slots=40) for _ in range(2))
    for one in (games, twin):
        one.reset(seed=1)
    rng = np.random.default_rng(0)
    illegal = 0
    for _ in range(30):
        choice = rng.integers(len(games.choices), size=(2, 40))
        legal = np.take_along_axis(games.now["action_mask"], choice[..., None], axis=-1)[..., 0] != 0
        refused = ((games.now["alive"] != 0) & ~legal).sum(axis=1)
        assert games.step(choice).illegal.tolist() == refused.tolist()
        assert not twin.step(np.where(legal, choice, 0)).illegal.any()
        assert np.array_equal(games.games.games, twin.games.games)
        illegal += refused.sum()
    assert illegal > 50


def test_winning_counts_once_a_side(small: MapPool) -> None:
    terms = dict.fromkeys(("ice_dug", "ice_given", "ice_got"), 0.0)
    padded = PaddedGames(small, 2, opening, 40, RewardConfig(scale=0.5, result=3.0, **terms))
    padded.reset()
    wait = np.zeros((4, 40), np.int64)
    build = padded.choices.names.index("build_light")
    for _ in range(3):
        choice = np.where(padded.now["action_mask"][..., build] != 0, build, 0)
        assert not padded.step(choice).reward.any()
    # player_1 of the first game and player_0 of the second run dry
    for game, player in ((0, 1), (1, 0)):
        record = padded.games.games[game]
        record["factory_cargo"][record["factory_owner"] == player, WATER] = 0
    step = padded.step(wait)
    assert step.done.all() and step.reward.tolist() == [1.5, -1.5, -1.5, 1.5]


def test_padded_games_refuse_what_they_cannot_play(small: MapPool) -> None:
    with pytest.raises(ValueError, match="slots is 2"):
        PaddedGames(small, 1, opening, slots=2)
    padded = PaddedGames(small, 1, opening, slots=8)
    padded.reset()
    with pytest.raises(ValueError, match="shape"):
        padded.step(np.zeros((1, 8), np.int64))
    with pytest.raises(ValueError, match="accepted are 0 to"):
        padded.step(np.full((2, 8), len(padded.choices)))


# PettingZoo ---------------------------------------------------------------------------------------------------------


def test_two_players_pass_the_parallel_api_test(small: MapPool) -> None:
    env = TwoPlayerEnv(small, opening, slots=24, max_turns=80)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(env, num_cycles=200)


def play_two(pool: MapPool, seed: int, turns: int) -> tuple[list[Any], dict[str, dict[str, Any]]]:
    env = TwoPlayerEnv(pool, opening, slots=24, max_turns=turns)
    observations, infos = env.reset(seed=seed)
    for agent in env.possible_agents:
        env.action_space(agent).seed(seed)
    seen: list[Any] = []
    while env.agents:
        actions = {}
        for agent in env.agents:
            assert env.observation_space(agent).contains(observations[agent])
            actions[agent] = env.action_space(agent).sample(mask=observations[agent]["action_mask"])
        observations, rewards, terminations, truncations, infos = env.step(actions)
        assert all(infos[agent]["illegal"] == 0 for agent in infos) and all(np.isfinite(list(rewards.values())))
        features = np.stack([observations[agent]["feature"] for agent in env.possible_agents])
        seen.append((features, rewards, terminations, truncations))
    return seen, infos


def test_two_players_are_deterministic_by_seed(small: MapPool) -> None:
    (first, infos), (again, _), (other, _) = play_two(small, 2, 25), play_two(small, 2, 25), play_two(small, 3, 25)
    assert len(first) == len(again) and all(np.array_equal(a[0], b[0]) and a[1:] == b[1:] for a, b in zip(first, again))
    assert not all(np.array_equal(a[0], b[0]) for a, b in zip(first, other))
    result = infos["player_0"]["result"]
    assert isinstance(result, GameResult) and result.turns == infos["player_1"]["turn"] == len(first)
    assert first[-1][2:] == ({"player_0": result.done, "player_1": result.done}, {"player_0": not result.done, "player_1": not result.done})


def test_a_seed_draws_the_same_map_at_any_time(small: MapPool) -> None:
    env = TwoPlayerEnv(small, opening, slots=8)
    drawn = [env.reset(seed=seed)[0]["player_0"]["planes"] for seed in [*range(6), *range(6)]]
    assert all(np.array_equal(first, again) for first, again in zip(drawn[:6], drawn[6:]))
    assert any(not np.array_equal(drawn[0], other) for other in drawn[1:6])


def test_two_players_both_act(small: MapPool) -> None:
    env = TwoPlayerEnv(small, opening, slots=8)
    with pytest.raises(RuntimeError, match="reset"):
        env.step({})
    env.reset(seed=0)
    with pytest.raises(ValueError, match="player_1"):
        env.step({"player_0": np.zeros(8, np.int64)})


# stable-baselines3 --------------------------------------------------------------------------------------------------


class Watch(BaseCallback):
    """What was done while learning; ends it once 24 episodes return `enough` in the mean."""

    def __init__(self, enough: float = np.inf) -> None:
        super().__init__()
        self.enough = enough
        self.illegal = 0
        self.rewards: list[np.ndarray] = []
        self.ends: list[dict[str, Any]] = []

    def _on_step(self) -> bool:
        self.illegal += sum(info["illegal"] for info in self.locals["infos"])
        self.rewards.append(self.locals["rewards"].copy())
        self.ends += [info for info, done in zip(self.locals["infos"], self.locals["dones"]) if done]
        return not (len(self.ends) >= 24 and np.mean(self.returns()) >= self.enough)

    def returns(self) -> list[float]:
        return [info["episode"]["r"] for info in self.ends[-24:]]


def learn(model: MaskablePPO, steps: int, watch: Watch) -> Watch:
    """Train, and check what must hold of any training."""
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(total_timesteps=steps, callback=watch)
    after = model.policy.state_dict()
    assert all(torch.isfinite(value).all() for value in after.values())
    for part in ("action_net.weight", "value_net.weight"):
        assert not torch.equal(before[part], after[part])
    assert watch.illegal == 0 and np.isfinite(watch.rewards).all() and np.any(watch.rewards)
    return watch


def test_teams_restart_and_say_how_they_ended(small: MapPool) -> None:
    env = TeamVecEnv(small, 2, opening, slots=24, max_turns=9)
    twin = PaddedGames(small, 2, opening, slots=24, max_turns=9)
    env.seed(7)
    seen = env.reset()
    twin.reset(7)
    rng = np.random.default_rng(0)
    for turn in range(1, 20):
        mask = np.stack(env.env_method("action_masks")).reshape(4, 24, -1)
        choice = masked(mask, rng)
        env.step_async(choice)
        seen, reward, over, infos = env.step_wait()
        step = twin.step(choice)
        assert np.array_equal(reward, step.reward) and over.tolist() == [turn % 9 == 0] * 4
        assert all(("terminal_observation" in info) == info["TimeLimit.truncated"] == bool(end) for info, end in zip(infos, over))
        for b in np.flatnonzero(over):
            assert all(np.array_equal(values, twin.now[name][b]) for name, values in infos[b]["terminal_observation"].items())
            assert infos[b]["result"].game == b // 2 and not infos[b]["result"].done
        twin.reset_done()
        assert all(np.array_equal(values, twin.now[name]) for name, values in seen.items())
        assert all(env.observation_space.contains({name: values[b] for name, values in seen.items()}) for b in range(4))


def test_teams_as_a_vec_env(small: MapPool) -> None:
    env = TeamVecEnv(small, 1, opening, slots=8)
    env.reset()
    assert env.has_attr("action_masks") and not env.has_attr("nothing") and env.get_attr("render_mode", [0]) == [None]
    assert len(env.env_method("action_masks", indices=1)) == 1 and env.env_is_wrapped(VecMonitor) == [False, False]  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match="action_masks"):
        env.env_method("nothing")
    with pytest.raises(RuntimeError, match="step_async"):
        env.step_wait()


def test_maskable_ppo_trains_teams(small: MapPool) -> None:
    actions = ActionConfig.survival(heavies_per_factory=2)
    reward = RewardConfig(heavy_built=1.0)  # so that there is something to learn even if nobody happens to find ice
    env = VecMonitor(TeamVecEnv(small, 4, opening, slots=10, reward=reward, actions=actions, max_turns=48))
    model = MaskablePPO("MultiInputPolicy", env, n_steps=64, batch_size=128, n_epochs=2, seed=0, policy_kwargs={"net_arch": [32]})
    watch = learn(model, 2048, Watch())
    assert model._n_updates == 2 * 2048 // (64 * 8)
    assert watch.ends and all(info["episode"]["l"] == info["result"].turns <= 48 for info in watch.ends)


def bench_model(pool: MapPool, max_turns: int, seed: int) -> MaskablePPO:
    def make() -> SingleRobotEnv:
        return SingleRobotEnv(pool, opening, RewardConfig(scale=1.0), max_turns=max_turns)

    env = VecMonitor(DummyVecEnv([make] * 8))
    settings: dict[str, Any] = {"n_steps": 128, "batch_size": 256, "n_epochs": 6, "learning_rate": 1e-3, "ent_coef": 0.01}
    return MaskablePPO("MlpPolicy", env, seed=seed, **settings)


def random_return(pool: MapPool, max_turns: int, episodes: int) -> float:
    """Mean return of random legal choices."""
    env = SingleRobotEnv(pool, opening, RewardConfig(scale=1.0), max_turns=max_turns)
    rng = np.random.default_rng(0)
    total = 0.0
    for episode in range(episodes):
        env.reset(seed=episode)
        over = False
        while not over:
            _, reward, terminated, truncated, _ = env.step(rng.choice(np.flatnonzero(env.action_masks())))
            total += reward
            over = terminated or truncated
    return total / episodes


def test_maskable_ppo_learns_to_bring_ice(bench: MapPool) -> None:
    """Episodes of 100 turns, before thirst: soon far beyond random legal choices."""
    chance = random_return(bench, 100, 48)
    assert 0 <= chance < 2
    watch = learn(bench_model(bench, 100, seed=1), 50 * 1024, Watch(enough=10.0))
    assert np.mean(watch.returns()) >= 10 > 5 * chance
    assert all(info["TimeLimit.truncated"] and info["turn"] == 100 for info in watch.ends)


@pytest.mark.slow
def test_maskable_ppo_learns_to_outlive_the_first_water(bench: MapPool) -> None:
    """Episodes of at most 400 turns; whoever brings nothing lives for 150 after the build."""
    watch = learn(bench_model(bench, 400, seed=1), 100 * 1024, Watch())
    lengths = [info["episode"]["l"] for info in watch.ends]
    assert np.mean(lengths[:8]) < 160 and np.mean(lengths[-24:]) > 200


# Documentation ------------------------------------------------------------------------------------------------------

SAMPLES = re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("sample", SAMPLES, ids=["gymnasium", "pettingzoo", "stable-baselines3", "entities"])
def test_the_samples_of_the_documentation_run(sample: str) -> None:
    """As they stand, but for the number of steps."""
    short = re.sub(r"total_timesteps=[\d_]+", "total_timesteps=64", re.sub(r"n_steps=\d+", "n_steps=32, batch_size=32", sample))
    short = short.replace("verbose=1", "verbose=0").replace("slots=64)", "slots=64, max_turns=20)").replace("robots=64", "max_turns=20")
    assert "agent.opening" in short and short != sample
    scope: dict[str, Any] = {}
    exec(compile(short, str(DOCS), "exec"), scope)
    if "model" in scope:
        assert scope["model"].num_timesteps >= 64
    else:
        assert {(info["turn"], info["illegal"]) for info in scope["infos"].values()} == {(20, 0)}
