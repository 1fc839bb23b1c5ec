"""The whole game on a scripted agent's advice: strong from the first step on, so small steps that lose nothing of it."""

from __future__ import annotations

from agent.policy import PolicyConfig
from training.config import PPOConfig, TrainConfig
from wrappers.action import ActionConfig
from wrappers.rewards import RewardConfig

REACH = 10  # cells from a factory, as far as rubble is cleared and paid for: the adviser's own

# Everything that the adviser does must be on offer.
ACTIONS = ActionConfig.full(
    transfer=("ice", "ore"),
    transfer_to_robots=False,
    light_dig=("rubble", "lichen"),
    rubble_distance=REACH,
    water_reserve=150,
    lights_per_factory=12,
)

# Digging counts as much as handing over: paid for one of them only, robots hand over all the time or never (docs/results/lichen.md).
REWARD = RewardConfig(
    own=0.7,
    shared_by=20,
    early=0.0,
    ice_dug=0.0625,
    ice_given=0.0625,
    ice_got=0.0,
    ore_dug=0.0625,
    ore_given=0.0625,
    rubble_dug=0.125,
    rubble_distance=REACH,
    lichen_grown=0.4,
    factory_lost=-20.0,
)

ADVISED = TrainConfig(
    env_steps=64_000,
    eval_every=32_000,
    policy=PolicyConfig(adviser="reaper"),
    actions=ACTIONS,
    reward=REWARD,
    # no bonus for entropy, which would pull away from the advice; a longer horizon, since lichen pays late
    ppo=PPOConfig(
        num_games=16,
        epochs=2,
        minibatches=4,
        learning_rate=5e-4,
        anneal_learning_rate=False,
        ent_coef=0.0,
        gamma=0.997,
        gae_lambda=0.97,
    ),
)
