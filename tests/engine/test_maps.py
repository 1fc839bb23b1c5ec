"""Map pools: the official maps, by seed, made once."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from engine import maps
from engine.config import GameConfig
from engine.maps import MapPool

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "maps_reference.json").read_text())["maps"]
BOARDS = ("rubble", "ice", "ore")


def same(a: MapPool, b: MapPool) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in (*BOARDS, "factories_per_team", "seeds"))


def digest(board: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(board, dtype=np.int64).tobytes()).hexdigest()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with the maps 0 .. 39 of size 48."""
    folder = tmp_path_factory.mktemp("maps")
    MapPool(GameConfig(), range(40), cache_dir=folder)
    return folder


@pytest.mark.parametrize("map_size", [48, 64])
def test_maps_are_those_of_the_official_generator_with_the_c_noise(map_size: int, tmp_path: Path) -> None:
    seeds = sorted(int(key.split("/")[1]) for key in REFERENCE if key.startswith(f"{map_size}/"))
    assert len(seeds) >= 50
    pool = MapPool(GameConfig.for_map_size(map_size), seeds, cache_dir=tmp_path)
    for i, seed in enumerate(seeds):
        expected = REFERENCE[f"{map_size}/{seed}"]
        found = {name: digest(getattr(pool, name)[i]) for name in BOARDS}
        assert {**found, "factories_per_team": pool.factories_per_team[i]} == expected, f"map {seed} of size {map_size}"


@pytest.mark.parametrize("config", [GameConfig(), GameConfig.for_map_size(64), GameConfig(map_size=32, min_factories=1, max_factories=3)])
def test_maps_are_those_of_an_official_reset(config: GameConfig, tmp_path: Path) -> None:
    from luxai_s2.env import LuxAI_S2

    seeds = [7, 2**32 - 1, 123_456_789]
    pool = MapPool(config, seeds, cache_dir=tmp_path)
    env = LuxAI_S2(**config.env_cfg())
    for i, seed in enumerate(seeds):
        env.reset(seed=seed)
        for name in BOARDS:
            np.testing.assert_array_equal(getattr(pool, name)[i], getattr(env.state.board, name))
        assert pool.factories_per_team[i] == env.state.board.factories_per_team


def test_a_pool_from_disk_is_the_pool_that_was_made(kept: Path) -> None:
    fresh = MapPool(GameConfig(), range(40), cache_dir=kept.parent / "elsewhere")
    assert same(fresh, MapPool(GameConfig(), range(40), cache_dir=kept))
    for name in BOARDS:
        board = getattr(fresh, name)
        assert board.shape == (40, 48, 48) and board.dtype == np.uint8 and board.flags.c_contiguous
    assert fresh.factories_per_team.dtype == np.int32 and fresh.seeds.dtype == np.int64
    assert len(fresh) == 40


def test_loading_needs_no_official_engine(kept: Path) -> None:
    code = (
        "import sys; sys.modules['luxai_s2'] = None\n"
        "from engine.config import GameConfig; from engine.maps import MapPool\n"
        f"print(len(MapPool(GameConfig(), range(40), cache_dir={str(kept)!r})))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True)
    assert run.stdout == "40\n" and run.stderr == ""


def test_making_prints_nothing(tmp_path: Path) -> None:
    code = "from engine.config import GameConfig; from engine.maps import MapPool; MapPool(GameConfig(), [0])"
    environ = {**{k: v for k, v in os.environ.items() if k != "PYGAME_HIDE_SUPPORT_PROMPT"}, "LUXS2_CACHE": str(tmp_path)}
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, env=environ, check=True)
    assert run.stdout == "" and run.stderr == ""
    assert [path.name for path in (tmp_path / "maps").iterdir()] == ["maps-48-2-5.npz"]


def test_order_and_repetition_are_kept_and_seeds_differ(kept: Path) -> None:
    pool = MapPool(GameConfig(), [30, 4, 4, 0], cache_dir=kept)
    assert pool.seeds.tolist() == [30, 4, 4, 0]
    ordered = MapPool(GameConfig(), range(40), cache_dir=kept)
    for name in (*BOARDS, "factories_per_team"):
        np.testing.assert_array_equal(getattr(pool, name), getattr(ordered, name)[[30, 4, 4, 0]])
    different = {ordered.rubble[i].tobytes() for i in range(40)}
    assert len(different) == 40


def test_missing_maps_are_added_to_those_on_disk(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    made: list[int] = []
    make = maps._make
    monkeypatch.setattr(maps, "_make", lambda seeds, *rules: made.extend(seeds) or make(seeds, *rules))
    MapPool(GameConfig(), [39, 50, 41], cache_dir=tmp_path)
    assert made == [41, 50]
    MapPool(GameConfig(), [*range(42), 50], cache_dir=tmp_path)
    assert made == [41, 50, 40]


def test_every_flipped_bit_of_the_directory_is_survived(kept: Path, tmp_path: Path) -> None:
    """Of the file's directory, which is not under a checksum: whatever it does to zipfile, the maps are the same, or made again."""
    path = tmp_path / "maps-48-2-5.npz"
    MapPool(GameConfig(), [3], cache_dir=tmp_path)
    content = path.read_bytes()
    directory = content.index(b"PK\x01\x02")
    expected = MapPool(GameConfig(), [3], cache_dir=kept)
    unusable = 0
    for bit in range(8 * directory, 8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = maps._load(path, GameConfig())
        unusable += not len(found["seeds"])
        for name in BOARDS if len(found["seeds"]) else ():
            np.testing.assert_array_equal(found[name], getattr(expected, name))
    assert unusable > 500


def test_maps_out_of_order_are_made_again(kept: Path, tmp_path: Path) -> None:
    path = tmp_path / "maps-48-2-5.npz"
    with np.load(kept / path.name) as file:
        values = dict(file)
    for order in ([1, 0], [0, 0]):
        np.savez(path, **{name: value if name == "format" else value[order] for name, value in values.items()})
        with pytest.warns(RuntimeWarning, match="its seeds are not in order"):
            assert same(MapPool(GameConfig(), [0, 1], cache_dir=tmp_path), MapPool(GameConfig(), [0, 1], cache_dir=kept))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text", "foreign", "pickle"])
def test_an_unusable_cache_is_made_again_with_a_warning(damage: str, kept: Path, tmp_path: Path) -> None:
    path = tmp_path / "maps-48-2-5.npz"
    content = bytearray((kept / path.name).read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 0xFF
    path.write_bytes({"truncated": content[: len(content) // 2], "flipped": content, "text": b"maps"}.get(damage, b""))
    if damage == "foreign":
        MapPool(GameConfig(min_factories=3), [0], cache_dir=tmp_path)
        os.replace(tmp_path / "maps-48-3-5.npz", path)
    if damage == "pickle":
        with path.open("wb") as file:
            np.savez(file, format=np.array([{"a": 1}], dtype=object))
    with pytest.warns(RuntimeWarning, match="cannot be used"):
        again = MapPool(GameConfig(), [3, 5], cache_dir=tmp_path)
    assert same(again, MapPool(GameConfig(), [3, 5], cache_dir=kept))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(again, MapPool(GameConfig(), [3, 5], cache_dir=tmp_path))
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_costs_only_the_cache(kept: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.warns(RuntimeWarning, match="cannot be kept"):
        pool = MapPool(GameConfig(), [3], cache_dir=blocked / "maps")
    assert same(pool, MapPool(GameConfig(), [3], cache_dir=kept))


def test_several_processes_make_the_same_maps(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "FEW", 0)
    monkeypatch.setattr(maps, "CHUNK", 10)
    pool = MapPool(GameConfig(), range(40), cache_dir=tmp_path, processes=2)
    assert same(pool, MapPool(GameConfig(), range(40), cache_dir=kept))


def _die(*_: object) -> None:
    os._exit(1)


def test_a_worker_that_dies_costs_only_time(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "FEW", 0)

    class Executor(maps.ProcessPoolExecutor):
        def submit(self, *_args: object, **_kwargs: object):  # pyright: ignore[reportIncompatibleMethodOverride]
            return super().submit(_die)

    monkeypatch.setattr(maps, "ProcessPoolExecutor", Executor)
    with pytest.warns(RuntimeWarning, match="made without help"):
        pool = MapPool(GameConfig(), range(40), cache_dir=tmp_path, processes=2)
    assert same(pool, MapPool(GameConfig(), range(40), cache_dir=kept))


def _make_pool(folder: str, seeds: list[int]) -> list[int]:
    return MapPool(GameConfig(), seeds, cache_dir=folder).rubble.sum((1, 2)).tolist()


def test_two_processes_at_once_leave_a_whole_file(kept: Path, tmp_path: Path) -> None:
    seeds = list(range(20))
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.starmap(_make_pool, [(str(tmp_path), seeds)] * 2)
    expected = MapPool(GameConfig(), seeds, cache_dir=kept)
    assert found == [expected.rubble.sum((1, 2)).tolist()] * 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(MapPool(GameConfig(), seeds, cache_dir=tmp_path), expected)
    assert [path.name for path in tmp_path.iterdir()] == ["maps-48-2-5.npz"]


def test_a_thousand_maps_are_read_once_and_none_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, rng = GameConfig.for_map_size(64), np.random.default_rng(0)
    content = maps._no_maps(64, 1000)
    content["seeds"][:] = np.arange(1000)
    content["rubble"][:] = rng.integers(0, 101, content["rubble"].shape)
    content["ice"][:] = rng.random(content["ice"].shape) < 0.02
    maps._save(tmp_path / "maps-64-4-10.npz", config, content)
    reads: list[Path] = []
    monkeypatch.setattr(maps, "_make", None)
    monkeypatch.setattr(np, "load", lambda path, load=np.load, **options: reads.append(path) or load(path, **options))
    pool = MapPool(config, range(1000), cache_dir=tmp_path)
    assert reads == [tmp_path / "maps-64-4-10.npz"]
    for name in BOARDS:
        np.testing.assert_array_equal(getattr(pool, name), content[name])


@pytest.mark.parametrize(("seeds", "message"), [([], "empty"), ([-1], "seed -1"), ([0, 2**32], "4294967296")])
def test_wrong_seeds_are_named(seeds: list[int], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        MapPool(GameConfig(), seeds, cache_dir=tmp_path)


def test_the_environment_variable_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUXS2_CACHE", str(tmp_path / "a"))
    assert maps.cache_folder() == tmp_path / "a" / "maps"
    assert maps.cache_folder(tmp_path / "b") == tmp_path / "b"
    monkeypatch.delenv("LUXS2_CACHE")
    assert maps.cache_folder() == Path.home() / ".cache" / "luxs2" / "maps"
