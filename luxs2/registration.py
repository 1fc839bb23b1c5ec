"""The environments' names for `gymnasium.make`. gymnasium calls `register` by itself where luxs2 is installed."""

from __future__ import annotations

from gymnasium.envs import registration  # not gymnasium, which is half imported when it calls


def register() -> None:
    """Name the environments of `luxs2.environments`: `luxs2/SingleRobot-v0` and `luxs2/Team-v0`."""
    for name, function in (("SingleRobot", "single_robot"), ("Team", "team")):
        if f"luxs2/{name}-v0" not in registration.registry:
            registration.register(f"luxs2/{name}-v0", f"luxs2.environments:{function}")
