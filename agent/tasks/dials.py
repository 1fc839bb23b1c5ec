"""The numbers of the rule."""

from __future__ import annotations

from typing import NamedTuple


class Dials(NamedTuple):
    """A factory's and its robots' thresholds, in the game's own units."""

    strike: int = 1
    """1: step onto enemies of the own kind that stand still."""
    trip_power: int = 2500
    """Power with which a heavy leaves home at the least, while there is water."""
    ice_a_heavy: float = 4.0
    """Water a turn that a heavy which digs ice is taken to bring."""
    supply: float = 0.5
    """Share of the water that could be used, from which on a heavy may leave ice to others."""
    ore_water: int = 70
    """Water from which the only heavy of a factory may fetch ore."""
    ore_diggers: int = 1
    """Heavies of a factory that dig ore at one time."""
    metal_enough: int = 100
    """Metal from which none is dug."""
    last_ore: int = 150
    """Turns before the end from which no ore is dug."""
    last_build: int = 100
    """Turns before the end from which nothing is built."""
    heavies: int = 12
    """A factory builds no more."""
    lights: int = 4
    """The same of lights, once it has two heavies ..."""
    first_lights: int = 2
    """... and before."""
    heavy_power: int = 70
    """Power a turn that a factory needs for each heavy."""
    rich: int = 3000
    """Power from which a factory builds whatever it has metal for."""
    full: int = 90
    """Lichen on a tile, in the mean, from which watering waits for plenty."""
