"""The numpy noise equals the C package it stands in for, bit for bit."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import vec_noise
from vec_noise import snoise2

REFERENCE = Path(__file__).parents[1] / "data" / "snoise2_reference.npz"


def bits(values: np.ndarray) -> np.ndarray:
    assert values.dtype == np.float32
    return np.ascontiguousarray(values).view(np.uint32)


@pytest.mark.parametrize("octaves", [1, 2, 3, 4])
def test_equals_the_c_package_bit_for_bit(octaves: int) -> None:
    with np.load(REFERENCE) as file:
        x, y, expected = file["x"], file["y"], file[f"octaves_{octaves}"]
    np.testing.assert_array_equal(bits(np.asarray(snoise2(x, y, octaves=octaves))), bits(expected))


def test_the_installed_distribution_is_this_one() -> None:
    """Not the C package, and not an outdated copy."""
    source = Path(__file__).parents[2] / "engine" / "vec_noise" / "vec_noise" / "__init__.py"
    assert version("vec_noise") == "1.1.4+numpy"
    assert Path(str(vec_noise.__file__)).read_text() == source.read_text()


def test_broadcasts_and_does_not_depend_on_the_shape() -> None:
    x, y = np.linspace(-3, 3, 7), np.linspace(40, 41, 5)
    grid = np.asarray(snoise2(*np.meshgrid(x, y), octaves=3))
    np.testing.assert_array_equal(bits(np.asarray(snoise2(x[None, :], y[:, None], octaves=3))), bits(grid))
    for i, j in [(0, 0), (4, 6), (2, 3)]:
        alone = snoise2(x[j], y[i], octaves=3)
        assert np.ndim(alone) == 0 and alone == grid[i, j]


def test_octaves_are_weighted_sums_of_single_octaves() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-50, 50, (2, 1000)).astype(np.float32)
    octave = [np.asarray(snoise2(x * np.float32(2**k), y * np.float32(2**k)), np.float64) for k in range(3)]
    expected = (octave[0] + octave[1] / 2 + octave[2] / 4) / 1.75
    np.testing.assert_allclose(snoise2(x, y, octaves=3), expected, atol=1e-6)


def test_is_bounded_and_continuous() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-20, 20, (2, 50_000))
    here = np.asarray(snoise2(x, y))
    near = np.asarray(snoise2(x + 1e-3, y - 1e-3))
    assert 0.9 < np.abs(here).max() <= 1
    assert np.abs(here - near).max() < 0.02


def test_no_octave_is_an_error() -> None:
    with pytest.raises(ValueError, match="octaves is 0"):
        snoise2(0.0, 0.0, octaves=0)
