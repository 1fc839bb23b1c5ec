"""The game as environments of other libraries: gymnasium, PettingZoo, stable-baselines3. See docs/adapters.md."""
