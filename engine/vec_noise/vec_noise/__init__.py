"""Simplex noise in numpy: the one function of the C package `vec_noise` 1.1.4 that the official map generator calls.

The C package is abandoned and no longer builds; this distribution carries its name so that `luxai_s2` installs and makes
the same maps. Every operation below is a float32 operation in the order in which the C code rounds: a rearranged sum or
a fused multiply-add changes bits of the noise, and through percentiles and rounding whole cells of a map.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["snoise2"]

F32 = np.float32
SKEW = F32(0.3660254037844386)  # (sqrt(3) - 1) / 2: squares to pairs of triangles
UNSKEW = F32(0.21132486540518713)  # (3 - sqrt(3)) / 6: and back

# Ken Perlin's permutation of 0 .. 255, twice in a row so that a sum of two entries needs no wrap
_PERLIN = """
    151 160 137 91 90 15 131 13 201 95 96 53 194 233 7 225 140 36 103 30 69 142 8 99 37 240 21 10 23 190 6 148 247 120 234 75
    0 26 197 62 94 252 219 203 117 35 11 32 57 177 33 88 237 149 56 87 174 20 125 136 171 168 68 175 74 165 71 134 139 48 27
    166 77 146 158 231 83 111 229 122 60 211 133 230 220 105 92 41 55 46 245 40 244 102 143 54 65 25 63 161 1 216 80 73 209
    76 132 187 208 89 18 169 200 196 135 130 116 188 159 86 164 100 109 198 173 186 3 64 52 217 226 250 124 123 5 202 38 147
    118 126 255 82 85 212 207 206 59 227 47 16 58 17 182 189 28 42 223 183 170 213 119 248 152 2 44 154 163 70 221 153 101
    155 167 43 172 9 129 22 39 253 19 98 108 110 79 113 224 232 178 185 112 104 218 246 97 228 251 34 242 193 238 210 144 12
    191 179 162 241 81 51 145 235 249 14 239 107 49 192 214 31 181 199 106 157 184 84 204 176 115 121 50 45 127 4 150 254
    138 236 205 93 222 114 67 29 24 72 243 141 128 195 78 66 215 61 156 180
"""
PERMUTATION = np.array(_PERLIN.split() * 2, dtype=np.intp)

# the twelve edge directions of a cube, seen along its third axis; the last look-up of the hash is done here once
_DIRECTIONS = [(1, 1), (-1, 1), (1, -1), (-1, -1), (1, 0), (-1, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (0, 1), (0, -1)]
GRADIENT_X, GRADIENT_Y = np.array(_DIRECTIONS, dtype=F32)[PERMUTATION % 12].T.copy()


def _corner(x: np.ndarray, y: np.ndarray, hashed: np.ndarray) -> np.ndarray:
    """What one corner of the triangle adds: its gradient's ramp at offset (x, y), faded to 0 at distance sqrt(1/2)."""
    fade = F32(0.5) - x * x - y * y
    fade = np.maximum(fade, F32(0))
    ramp = GRADIENT_X[hashed] * x + GRADIENT_Y[hashed] * y
    return fade * fade * fade * fade * ramp


def _simplex(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """One octave at float32 `x`, `y` of equal shape."""
    skew = (x + y) * SKEW
    i, j = np.floor(x + skew), np.floor(y + skew)
    unskew = (i + j) * UNSKEW
    x0, y0 = x - (i - unskew), y - (j - unskew)
    lower = x0 > y0  # which of the two triangles of the square
    step_x, step_y = lower.astype(F32), (~lower).astype(F32)
    x1, y1 = x0 - step_x + UNSKEW, y0 - step_y + UNSKEW
    x2, y2 = x0 + UNSKEW * F32(2) - F32(1), y0 + UNSKEW * F32(2) - F32(1)

    column, row = i.astype(np.intp) & 255, j.astype(np.intp) & 255
    hash0 = column + PERMUTATION[row]
    hash1 = column + lower + PERMUTATION[row + ~lower]
    hash2 = column + 1 + PERMUTATION[row + 1]
    return (_corner(x0, y0, hash0) + _corner(x1, y1, hash1) + _corner(x2, y2, hash2)) * F32(70)


def snoise2(
    x: npt.ArrayLike, y: npt.ArrayLike, octaves: int = 1, persistence: float = 0.5, lacunarity: float = 2.0
) -> np.ndarray | np.float32:
    """Two-dimensional simplex noise, as a sum of octaves (fractal Brownian motion), in about -1 .. 1.

    `x` and `y` broadcast against each other and are rounded to float32 first; the result is float32 of the broadcast
    shape, a scalar for two scalars. Each further octave has `lacunarity` times the frequency and `persistence` times the
    amplitude of the one before. Raises `ValueError` for less than one octave.
    """
    if octaves < 1:
        raise ValueError(f"octaves is {octaves}; accepted are 1 and more.")
    x, y = np.broadcast_arrays(np.asarray(x, dtype=F32), np.asarray(y, dtype=F32))
    frequency = amplitude = span = F32(1)
    total = _simplex(x, y)
    for _ in range(1, octaves):
        frequency *= F32(lacunarity)
        amplitude *= F32(persistence)
        span += amplitude
        total += _simplex(x * frequency, y * frequency) * amplitude
    return total / span
