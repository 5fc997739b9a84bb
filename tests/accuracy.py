"""How far a result may lie from the reference: bounds that follow from the roundings."""

import numpy as np
from naive import padded, padding_pairs, scipy_reference

#: c of Winograd's promise |error| <= c * eps * max|tile| * sum|w|, for F(4x4, 3x3). Measured on normal data and one
#: channel (the worst: with more of them errors average out): 99% of 5.5 million outputs stay below 1.7, 99.99% below
#: 4.9; the largest, of a filter that is little but a corner tap, was 20. In theory the transforms amplify a rounding up
#: to 14.6 * 14.6 = 214 times there.
WINOGRAD = 32


def summation_bound(x, w, bias, dtype, arguments, reference):
    """What rounding can do to sums of K products in ``dtype``, added in any order, with or without FMA.

    On its way to an output a product is rounded at most K + 1 times, by half an eps each: itself, K - 1 additions, the
    bias. One more covers the terms of second order. The reference rounds, too, in float64.
    """
    absolute = (None if array is None else np.abs(array) for array in (x, w, bias))
    roundings = np.prod(w.shape[1:]) + 2
    eps = np.finfo(dtype).eps + np.finfo(np.float64).eps
    return roundings * eps / 2 * reference(*absolute, **{**arguments, "activation": None})


def winograd_bound(x, w, bias, dtype, arguments):
    """Winograd's promise: an error small beside the largest input of the output's 6x6 tile, not beside the output."""
    channels_last = arguments["data_format"] == "NHWC"
    x = np.moveaxis(x, -1, 1) if channels_last else x
    pairs = padding_pairs(arguments["padding"], x.shape[2:], (3, 3), (1, 1), (1, 1))
    height, width = (size + sum(pair) - 2 for size, pair in zip(x.shape[2:], pairs, strict=True))
    whole_tiles = [(before, after + -n % 4) for (before, after), n in zip(pairs, (height, width), strict=True)]
    x = np.abs(padded(x, whole_tiles, arguments["padding_mode"]))
    groups, filters = arguments["groups"], w.shape[0]
    largest = x.reshape(x.shape[0], groups, w.shape[1], *x.shape[2:]).max(2)
    tiles = np.lib.stride_tricks.sliding_window_view(largest, (6, 6), (2, 3))[:, :, ::4, ::4].max((-2, -1))
    outputs = tiles.repeat(4, 2).repeat(4, 3)[:, :, :height, :width].repeat(filters // groups, 1)
    total = WINOGRAD * outputs * np.abs(w).sum((1, 2, 3), dtype=np.float64)[:, None, None]
    if bias is not None:
        total += np.abs(bias)[:, None, None]
    bound = np.finfo(dtype).eps * total
    return np.moveaxis(bound, 1, -1) if channels_last else bound


def bound(algorithm, x, w, bias, dtype, arguments, reference=scipy_reference):
    """The largest error of each output that ``algorithm`` may make."""
    if algorithm == "winograd":
        return winograd_bound(x, w, bias, dtype, arguments)
    return summation_bound(x, w, bias, dtype, arguments, reference)


def assert_accurate(algorithm, out, x, w, bias, arguments):
    """``out`` has the reference's shape, NaN and infinities, and finite values within what the algorithm promises."""
    with np.errstate(invalid="ignore"):
        expected = scipy_reference(x, w, bias, **arguments)
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
