"""Pools of maps of the official generator, made once and kept on disk.

Map seed `s` is exactly the board that the official `LuxAI_S2(...).reset(seed=s)` makes. Making a map takes some
milliseconds and imports the official engine; a pool that is on disk needs neither.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np

from engine.config import GameConfig
from engine.jit import cache_root
from engine.notice import tell

FORMAT = "luxs2 maps 1, luxai_s2 3.0.1"
CHUNK = 32  # maps a worker makes before it reports
FEW = 300  # so many maps are made faster here than new processes start (about two seconds of work)
MANY = 100  # from here on it is said that maps are made, where no bar shows it
SECONDS = 9e-5  # that one map takes a core, times its width (measured from 16 to 64 cells)
MAX_SEED = 2**32 - 1  # what numpy's RandomState takes

Maps = dict[str, np.ndarray]  # "seeds" [P] int64, "rubble", "ice", "ore" [P, W, W] uint8, "factories_per_team" [P] int32
_BOARDS = ("rubble", "ice", "ore")


class MapPool:
    """P maps by seed: `rubble`, `ice`, `ore` `[P, W, W] uint8`, `factories_per_team [P] int32`, `seeds [P] int64`.

    Boards are indexed `[x, y]`; ice and ore are 0 or 1. `seeds` may repeat and come in any order. `cache_dir` is where
    maps are kept (default: `maps` in `LUXS2_CACHE`, else in `~/.cache/luxs2`), in one file for a map size and factory range;
    `processes` make what is missing (default: the cores there are); `progress` shows a bar, or not (default: when it
    takes long and somebody is watching; elsewhere a line). Raises `ValueError` for seeds outside 0 .. 2**32 - 1 and for none at all, and
    `ImportError` when maps must be made and `luxai_s2` is not installed.
    """

    def __init__(
        self,
        config: GameConfig,
        seeds: Iterable[int],
        cache_dir: str | os.PathLike[str] | None = None,
        processes: int | None = None,
        progress: bool | None = None,
    ) -> None:
        self.config = config
        self.seeds = _checked_seeds(seeds)
        path = cache_folder(cache_dir) / f"maps-{config.map_size}-{config.min_factories}-{config.max_factories}.npz"
        maps = _load(path, config)
        missing = np.setdiff1d(self.seeds, maps["seeds"])
        if len(missing):
            made = _make_all(config, missing, processes, progress)
            # somebody else may have added theirs meanwhile
            maps = _merged(_load(path, config), made)
            _save(path, config, maps)
        rows = np.searchsorted(maps["seeds"], self.seeds)
        self.rubble, self.ice, self.ore = (np.ascontiguousarray(maps[name][rows]) for name in _BOARDS)
        self.factories_per_team = maps["factories_per_team"][rows]

    def __len__(self) -> int:
        return len(self.seeds)


def cache_folder(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Where maps are kept: the given folder, else `maps` in the project's cache folder."""
    return Path(cache_dir) if cache_dir else cache_root() / "maps"


def _checked_seeds(seeds: Iterable[int]) -> np.ndarray:
    values = [int(seed) for seed in seeds]
    if not values:
        raise ValueError("seeds is empty; a pool needs at least one map.")
    for seed in values:
        if not 0 <= seed <= MAX_SEED:
            raise ValueError(f"The map seed {seed} is out of range; accepted are 0 to {MAX_SEED}.")
    return np.array(values, np.int64)


# Making maps --------------------------------------------------------------------------------------------------------


def _make(seeds: list[int], map_size: int, min_factories: int, max_factories: int) -> Maps:
    """The official boards of these seeds; runs in a worker, so it takes and returns plain data."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)  # pygame imports pkg_resources
        from luxai_s2.config import EnvConfig
        from luxai_s2.map.board import Board

    env_cfg = EnvConfig(map_size=map_size, MIN_FACTORIES=min_factories, MAX_FACTORIES=max_factories)
    maps = _no_maps(map_size, len(seeds))
    for i, seed in enumerate(seeds):
        # the environment draws the seed of its board like this
        board_seed = np.random.RandomState(seed=seed).randint(0, 2**32 - 1, dtype=np.int64)
        board = Board(seed=board_seed, env_cfg=env_cfg)
        for name in _BOARDS:
            maps[name][i] = getattr(board, name)
        maps["seeds"][i], maps["factories_per_team"][i] = seed, board.factories_per_team
    return maps


def _make_all(config: GameConfig, seeds: np.ndarray, processes: int | None, progress: bool | None) -> Maps:
    """All these maps, by several processes when there are many."""
    rules = (config.map_size, config.min_factories, config.max_factories)
    chunks = [seeds[start : start + CHUNK].tolist() for start in range(0, len(seeds), CHUNK)]
    processes = processes or min(_cores(), 16)
    alone = processes == 1 or len(seeds) <= FEW or multiprocessing.current_process().daemon
    made: list[Maps] = []

    def here() -> Iterator[int]:
        done = {seed for maps in made for seed in maps["seeds"].tolist()}
        for chunk in chunks:
            if chunk[0] not in done:
                made.append(_make(chunk, *rules))
                yield len(chunk)

    def by_workers() -> Iterator[int]:
        # spawned, since a fork copies the locks of threads that torch and numba have started
        with ProcessPoolExecutor(min(processes, len(chunks)), multiprocessing.get_context("spawn")) as pool:
            for future in as_completed([pool.submit(_make, chunk, *rules) for chunk in chunks]):
                made.append(future.result())
                yield len(made[-1]["seeds"])

    with _Bar(len(seeds), config.map_size, progress) as bar:
        try:
            for count in here() if alone else by_workers():
                bar.advance(count)
        except BrokenProcessPool as error:
            warnings.warn(f"A process that makes maps died ({error}); the rest is made without help.", RuntimeWarning, stacklevel=3)
            for count in here():
                bar.advance(count)
    return _merged(*made)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Bar:
    """A progress bar on stderr, or nothing."""

    def __init__(self, total: int, map_size: int, show: bool | None) -> None:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        if show is None:
            show = console.is_terminal and total > FEW
            if not show and total >= MANY:
                seconds = max(1, round(total * map_size * SECONDS))
                tell(f"Making {total} maps of {map_size}x{map_size} cells: about {seconds} s of one core, once.")
        self.progress = Progress(console=console, transient=True, disable=not show)
        self.task = self.progress.add_task(f"Making {total} maps of {map_size}x{map_size}", total=total)

    def __enter__(self) -> _Bar:
        self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def advance(self, count: int) -> None:
        self.progress.advance(self.task, count)


# On disk ------------------------------------------------------------------------------------------------------------


def _no_maps(map_size: int, count: int = 0) -> Maps:
    boards = {name: np.zeros((count, map_size, map_size), np.uint8) for name in _BOARDS}
    return {"seeds": np.zeros(count, np.int64), "factories_per_team": np.zeros(count, np.int32), **boards}


def _merged(*parts: Maps) -> Maps:
    """The maps of all parts, each seed once, by ascending seed."""
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    _, rows = np.unique(joined["seeds"], return_index=True)
    return {name: values[rows] for name, values in joined.items()}


def _tag(config: GameConfig) -> str:
    return f"{FORMAT}; map_size {config.map_size}, factories {config.min_factories} to {config.max_factories}"


def _load(path: Path, config: GameConfig) -> Maps:
    """What is on disk, by ascending seed; no maps, with a warning, where the file cannot be used."""
    size = config.map_size
    if not path.exists():
        return _no_maps(size)
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["format"]) != _tag(config):
                raise ValueError(f"it holds {str(file['format'])!r}, not {_tag(config)!r}")
            maps = {"seeds": file["seeds"], "factories_per_team": file["factories_per_team"], "rubble": file["rubble"]}
            for name in ("ice", "ore"):
                maps[name] = np.unpackbits(file[name], axis=-1, count=size)
        expected = _no_maps(size, len(maps["seeds"]))
        for name, values in maps.items():
            if values.shape != expected[name].shape or values.dtype != expected[name].dtype:
                raise ValueError(f"{name} is {values.dtype} {values.shape}, not {expected[name].dtype} {expected[name].shape}")
        if np.any(np.diff(maps["seeds"]) <= 0):
            raise ValueError("its seeds are not in order")
    # RuntimeError and NotImplementedError are zipfile's, of a flipped bit that says "encrypted" or "compressed some other way"
    except (OSError, EOFError, LookupError, TypeError, ValueError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        warnings.warn(f"The map cache {path} cannot be used ({error}); its maps are made again.", RuntimeWarning, stacklevel=3)
        return _no_maps(size)
    return maps


def _save(path: Path, config: GameConfig, maps: Maps) -> None:
    """Whole or not at all: written to a name of its own, flushed, renamed. Warns where the folder cannot be written."""
    packed: dict[str, Any] = {name: np.packbits(values, axis=-1) if name in ("ice", "ore") else values for name, values in maps.items()}
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.stem, suffix=".tmp", delete=False) as file:
            temporary = Path(file.name)
            np.savez_compressed(file, format=np.array(_tag(config)), **packed)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        warnings.warn(f"The maps cannot be kept in {path} ({error}); they are made again next time.", RuntimeWarning, stacklevel=3)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
