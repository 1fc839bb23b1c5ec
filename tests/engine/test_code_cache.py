"""Machine code on disk: kept, damaged, not to be kept."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from engine import code_cache
from engine.jit import is_compiled, jit
from engine.notice import tell

pytestmark = pytest.mark.skipif(not is_compiled(), reason="compiles")


def total(values: np.ndarray) -> int:
    """What is compiled here."""
    found = 0
    for value in values:
        found += value
    return found


VALUES = np.arange(5)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The cache's, with `total` in it."""
    monkeypatch.setenv("LUXS2_CACHE", str(tmp_path))
    code_cache._warn.cache_clear()
    assert compiled()(VALUES) == 10
    yield tmp_path / "compiled"
    code_cache._warn.cache_clear()


def compiled() -> Any:
    """The function as a new process has it: not compiled yet."""
    return jit(total)


def kept(folder: Path) -> Path:
    (path,) = [path for path in folder.rglob("*") if path.is_file()]
    return path


def test_compiled_code_is_found_again(folder: Path) -> None:
    content = kept(folder).read_bytes()
    function = compiled()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert function(VALUES) == 10
        assert sum(function.stats.cache_hits.values()) == 1 and kept(folder).read_bytes() == content
        assert function(VALUES.astype(np.int8)) == 10  # another signature is another file
    assert len(list(folder.rglob("*.code"))) == 2


def test_compiling_is_told_once_and_reading_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("LUXS2_CACHE", str(tmp_path))
    tell.cache_clear()
    for expected in (1, 0):
        for values in (VALUES, VALUES.astype(np.int8)):
            compiled()(values)
        assert capsys.readouterr().err.count("Compiling the game for this machine: about a minute") == expected


def test_cut_files_and_flipped_bits_are_thrown_away(folder: Path) -> None:
    path = kept(folder)
    content = path.read_bytes()
    function = compiled()
    signature = (numba.typeof(VALUES),)  # pyright: ignore[reportPrivateImportUsage]
    rng = random.Random(0)
    damaged = [content[:size] for size in range(0, len(content), 31)]
    for _ in range(200):
        flipped = bytearray(content)
        flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        damaged.append(bytes(flipped))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for data in damaged:
            path.write_bytes(data)
            assert function._cache.load_overload(signature, function.targetctx) is None
    path.write_bytes(content)
    assert function._cache.load_overload(signature, function.targetctx) is not None


@pytest.mark.parametrize("damage", [b"", b"\x80\x04", b"text" * 1000])
def test_damaged_code_is_made_anew(damage: bytes, folder: Path) -> None:
    path = kept(folder)
    content = path.read_bytes()
    path.write_bytes(damage or content[: len(content) // 2])
    with pytest.warns(RuntimeWarning, match="is damaged; it is thrown away and made anew"):
        assert compiled()(VALUES) == 10
    assert len(path.read_bytes()) == len(content)
    function = compiled()
    assert function(VALUES) == 10 and sum(function.stats.cache_hits.values()) == 1


def test_without_a_folder_it_is_compiled_in_memory_with_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LUXS2_CACHE", str(tmp_path / "file"))
    code_cache._warn.cache_clear()
    function = compiled()
    with pytest.warns(RuntimeWarning, match="cannot be kept in .*LUXS2_CACHE") as caught:
        assert function(VALUES) == 10
        assert function(VALUES.astype(np.int8)) == 10
    assert len(caught) == 1
    code_cache._warn.cache_clear()


def test_a_full_disk_ends_nothing_and_leaves_nothing(folder: Path) -> None:
    kept(folder).unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.warns(RuntimeWarning, match="cannot be kept"):
            assert compiled()(VALUES) == 10
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_what_compiles_nothing_says_nothing_of_the_cache(tmp_path: Path) -> None:
    code = "import engine.engine, wrappers.observation, arena.replay_page"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env={"PATH": "", "LUXS2_CACHE": "/dev/null"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stderr == ""
