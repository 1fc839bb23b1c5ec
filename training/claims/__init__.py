"""The backbones' published claims, checked off the game: `python main.py reproduce bun|communication|adaps|sparse`.

An experiment is rows (a learning setting each) times seeds, on the small tasks of `training.tasks`; every row and seed is one
resumable run. Claims are judged by code from the stored runs, and the page says which hold and which do not.
"""

from training.claims.experiment import NAMES, Options, reproduce

__all__ = ["NAMES", "Options", "reproduce"]
