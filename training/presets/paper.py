"""The published protocol of trajectory separation: few large rollouts, many passes, no staggering (docs/results/magma.md)."""

from __future__ import annotations

from training.config import PPOConfig, TrainConfig

PAPER = TrainConfig(
    stagger=False,
    ppo=PPOConfig(
        num_games=4,
        rollout_steps=1024,  # 4,096 environment steps a rollout
        epochs=10,
        minibatches=8,  # of 512 environment steps
        learning_rate=2e-4,
        anneal_learning_rate=False,
        clip_value_loss=True,
    ),
    eval_every=4096,
    eval_maps=12,
)
