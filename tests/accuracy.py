"""How far a result may lie from the reference: bounds that follow from the roundings."""

import functools

import numpy as np
from naive import padded, padding_pairs, per_dimension, scipy_reference, tap_reference

import numbaconv as nc
from numbaconv.kernels import geometry as at
from numbaconv.kernels.winograd_simd import Tile, tile_matrices


def summation_bound(x, w, bias, dtype, arguments, reference):
    """What rounding can do to sums of K products in ``dtype``, added in any order, with or without FMA.

    On its way to an output a product is rounded at most K + 1 times, by half an eps each: itself, K - 1 additions, the
    bias. One more covers the terms of second order. The reference rounds, too, in float64.
    """
    absolute = (None if array is None else np.abs(array) for array in (x, w, bias))
    roundings = np.prod(w.shape[1:]) + 2
    eps = np.finfo(dtype).eps + np.finfo(np.float64).eps
    return roundings * eps / 2 * reference(*absolute, **{**arguments, "activation": None})


@functools.cache
def amplification(tile):
    """How many times an error of one rounding in the transformed input or weights can grow on its way to an output.

    F(2, 3): 4; F(4, 3): 14; F(4, 5): 42; both axes multiply. Errors of normal data stay below a third of that on one
    axis and a tenth on two (docs/accuracy.md); filters that are little but a corner tap come close.
    """
    output, weight, data = (np.abs(np.array(matrix, np.float64)) for matrix in tile_matrices(tile))
    return float((output @ (weight.max(1) * data.sum(1))).max())


def winograd_bound(x, w, bias, dtype, arguments, precision="standard", algorithm="winograd"):
    """Winograd's promise, |error| <= c * eps * max|tile| * sum|w|: small beside the tile, not beside the output.

    c is the amplification of the tile that the plan has, once for the transforms' roundings (half an eps of the input,
    half of the weights) and by half an eps for each product added at one point of the tile: after a product of 1e4
    every further sum is rounded to its last digit. ``max|tile|`` is the largest input under it. ``algorithm`` is what
    the call asked for: "auto" takes more accurate tiles than "winograd".
    """
    channels_last = arguments["data_format"].endswith("C")
    geometry = nc.explain(x, w, bias, **arguments, algorithm=algorithm, precision=precision).geometry
    ndim, kernel = w.ndim - 2, w.shape[2:]
    # Along the depth, every tap is a piece of its own.
    tiles = [Tile(1, 1), *(Tile(geometry[at.TILE_H + axis], geometry[at.TAPS_H + axis]) for axis in range(2))][-ndim:]
    pieces = [geometry[at.KERNEL_D], *geometry[at.PIECES_H : at.PIECES_W + 1]][-ndim:]
    reach = [tile.m + tile.r * count - 1 for count, tile in zip(pieces, tiles, strict=True)]
    phases = [1, *geometry[at.PHASES_H : at.PHASES_W + 1]][-ndim:]
    x = np.moveaxis(x, -1, 1) if channels_last else x
    stride = per_dimension(arguments["stride"], ndim)
    dilation = per_dimension(arguments["dilation"], ndim)
    pairs = padding_pairs(arguments["padding"], x.shape[2:], kernel, stride, dilation)
    sizes = [
        (n + sum(pair) - d * (k - 1) - 1) // s + 1
        for n, pair, k, d, s in zip(x.shape[2:], pairs, kernel, dilation, stride, strict=True)
    ]
    stride = [1 if n == 1 else s for n, s in zip(sizes, stride, strict=True)]  # as plans have it
    # Row o of the outputs is in the phase o % d, and there in tile o // d // m.
    firsts = [
        (np.arange(n) % d + np.arange(n) // d // tile.m * tile.m * d) * s
        for n, d, s, tile in zip(sizes, dilation, stride, tiles, strict=True)
    ]
    # In the cells of a stride's phases, one behind the other; along the depth, taps are pieces.
    steps = [d * s if axis >= ndim - 2 else d for axis, (d, s) in enumerate(zip(dilation, stride, strict=True))]
    under = [
        (step * np.arange(r)[:, None] + np.arange(count)).reshape(-1)
        for step, r, count in zip(steps, reach, phases, strict=True)
    ]
    last = [int(first.max()) + int(cells.max()) for first, cells in zip(firsts, under, strict=True)]
    whole = [
        (before, max(after, end + 1 - n - before))
        for n, (before, after), end in zip(x.shape[2:], pairs, last, strict=True)
    ]
    x = np.abs(padded(x, whole, arguments["padding_mode"]))
    groups = arguments["groups"]
    largest = x.reshape(x.shape[0], groups, w.shape[1], *x.shape[2:]).max(2)
    for axis, (first, beside) in enumerate(zip(firsts, under, strict=True)):
        cells = first[:, None] + beside
        largest = np.moveaxis(np.moveaxis(largest, 2 + axis, -1)[..., cells].max(-1), -1, 2 + axis)
    outputs = largest.repeat(w.shape[0] // groups, 1)
    each = (-1, *[1] * ndim)
    products = w.shape[1] * np.prod(pieces) * np.prod(phases)
    factor = np.prod([amplification(tile) for tile in tiles]) * (1 + products / 2)
    total = factor * outputs * np.abs(w).reshape(w.shape[0], -1).sum(1, dtype=np.float64).reshape(each)
    if bias is not None:
        total += np.abs(bias).reshape(each)
    allowed = np.finfo(dtype).eps * total
    return np.moveaxis(allowed, 1, -1) if channels_last else allowed


def bound(algorithm, x, w, bias, dtype, arguments, reference=scipy_reference):
    """The largest error of each output that ``algorithm`` may make."""
    if algorithm == "winograd" and x.size > 0:
        return winograd_bound(x, w, bias, dtype, arguments)
    return summation_bound(x, w, bias, dtype, arguments, reference)


def assert_accurate(algorithm, out, x, w, bias, arguments):
    """``out`` has the reference's shape, NaN and infinities, and finite values within what the algorithm promises."""
    with np.errstate(invalid="ignore"):
        # SciPy's dilated kernels have zeros between their taps, which NaN times 0 would show.
        reference = scipy_reference if np.isfinite(x).all() else tap_reference
        expected = reference(x, w, bias, **arguments)
    assert out.shape == expected.shape
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(out[~finite], expected[~finite])
    counted = (None if array is None else np.where(np.isfinite(array), array, 0) for array in (x, w, bias))
    allowed = bound(algorithm, *counted, out.dtype, arguments)[finite]
    excess = np.abs(out[finite] - expected[finite]) - allowed
    assert excess.size == 0 or excess.max() <= 0, f"{(excess > 0).sum()} outputs are off, up to {excess.max()} too far"


def assert_same_bits(actual, expected):
    """Two arrays of one shape and dtype, equal to the last bit: 0.0 is not -0.0."""
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
    assert actual.tobytes() == expected.tobytes(), f"differ at {np.argwhere(actual != expected)[:5].tolist()}"
