"""How much each algorithm rounds: RMS error against float64, beside a plain float32 loop over the products."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from peers import Array

import numbaconv as nc

CHANNELS: Final = (1, 3, 8, 32, 128, 512)
ALGORITHMS: Final = ("auto", "direct", "im2col", "winograd")
PLAIN: Final = "plain float32 loop"


def _rms(result: Array, expected: Array) -> float:
    return float(np.sqrt(np.mean((result.astype(np.float64) - expected) ** 2)))


def _windows(x: Array) -> Array:
    """3x3 windows with no padding as (products, pixels)."""
    windows = np.lib.stride_tricks.sliding_window_view(x[0], (3, 3), (1, 2))
    return np.ascontiguousarray(windows.transpose(0, 3, 4, 1, 2)).reshape(x.shape[1] * 9, -1)


def measure_errors() -> dict[str, dict[str, Any]]:
    """By channels: each algorithm's RMS error, and the plain loop's, on normal data of 38x38 outputs, 16 filters."""
    found: dict[str, dict[str, Any]] = {}
    for channels in CHANNELS:
        random = np.random.default_rng(channels)
        x = random.standard_normal((1, channels, 40, 40), dtype=np.float32)
        weight = random.standard_normal((16, channels, 3, 3), dtype=np.float32)
        products, filters = _windows(x), weight.reshape(16, -1)
        expected = filters.astype(np.float64) @ products.astype(np.float64)
        total = np.zeros(expected.shape, np.float32)
        for k, row in enumerate(products):
            total += filters[:, k, None] * row
        errors = {PLAIN: _rms(total, expected)}
        for algorithm in ALGORITHMS:
            result = nc.conv2d(x, weight, algorithm=algorithm).reshape(16, -1)
            errors[algorithm] = _rms(result, expected)
        found[str(channels)] = errors
    return found
