"""Transforms of tiles beside direct summation: as accurate for every output, whatever the data."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from numbaconv import choosing, signal
from numbaconv.algorithms import tiles
from numbaconv.algorithms.windows import EXTENSIONS
from numbaconv.filtering import slide

MODES = ("full", "same", "valid")
DOUBLE = np.dtype("f8")


def transformed(image, taps, window, dtype, fill=0.0, strict=True):
    """The result by tiles, which the plan would not take for so small an image."""
    spoilt, least = choosing.transforms_spoil(window, image, taps, np.dtype(dtype), fill, strict, True)
    assert spoilt is None
    out = np.full(window.output_shape, 77, dtype)
    slide(window, image, taps, out, fill, DOUBLE, least=least)
    return out


def summed(image, taps, window, fill=0.0):
    """Direct sums in float64, and those of magnitudes."""
    results = []
    for convert in (np.asarray, np.abs):
        out = np.empty(window.output_shape)
        with np.errstate(all="ignore"):
            slide(window, convert(image.astype("f8")), convert(taps.astype("f8")), out, float(convert(fill)), DOUBLE)
        results.append(out)
    return results


@st.composite
def windows(draw, least=1):
    """Images and kernels of two dimensions; several tiles, or less than one."""
    size = [draw(st.integers(1, 90)), draw(st.integers(1, 200))]
    taps = [draw(st.integers(least, 30)) for _ in range(2)]
    mode = draw(st.sampled_from(MODES))
    if mode == "valid":
        size = [max(pair) for pair in zip(size, taps, strict=True)]
    return choosing.convolution_window(tuple(size), tuple(taps), mode, draw(st.sampled_from(EXTENSIONS)))


def uneven(random, shape, spread):
    """Numbers of widely differing sizes, some patches of zeros, and signs."""
    values = random.standard_normal(shape) * 10.0 ** random.integers(-spread, spread + 1, shape)
    if spread:
        top, left = (int(random.integers(0, size)) for size in shape)
        values[top : top + 40, left : left + 40] = 0
        values[:, : int(random.integers(0, shape[1] + 1))] *= 10.0**-spread
    return values


@hypothesis.given(
    window=windows(), spread=st.sampled_from((0, 0, 2, 9)), kernel_spread=st.sampled_from((0, 0, 3)),
    fill=st.sampled_from((0.0, 0.0, 2.5)), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_float32_errs_no_more_than_sums_may(window, spread, kernel_spread, fill, seed):
    """For every output the error is within the bound of direct summation in float32."""
    random = np.random.default_rng(seed)
    image = uneven(random, window.input_shape, spread).astype("f4")
    taps = uneven(random, window.kernel_shape, kernel_spread).astype("f4")
    ours = transformed(image, taps, window, "f4", fill)
    exact, size = summed(image, taps, window, fill)
    assert (np.abs(ours - exact) <= (taps.size + 1) * 2.0**-24 * size + np.finfo("f4").smallest_subnormal).all()


@hypothesis.given(window=windows(least=9), spread=st.sampled_from((0, 0, 2, 9)), seed=st.integers(0, 2**32 - 1))
def test_float64_errs_no_more_than_is_proven(window, spread, seed):
    """What is kept is right to 2^-14 of itself, the rest as sums are. Kernels are as large as those transformed."""
    ours, exact, bound = in_float64(window, spread, seed)
    assert (np.abs(ours - exact) <= 2.0**-14 * np.abs(exact) + bound).all()


def in_float64(window, spread, seed):
    """The results of transforms and of sums, and what both sums may err together."""
    random = np.random.default_rng(seed)
    image, taps = uneven(random, window.input_shape, spread), random.standard_normal(window.kernel_shape)
    exact, size = summed(image, taps, window)
    return transformed(image, taps, window, "f8"), exact, 2 * (taps.size + 1) * 2.0**-53 * size


@pytest.mark.parametrize("spread", [0, 2, 9])
def test_float64_errs_no_more_than_sums_may(spread):
    """But for a few outputs: one of the 1,156 of seed 17 here, where numbers spread over 18 digits, by 1.6 times."""
    window = choosing.convolution_window((18, 17), (17, 18), "full", "fill")
    beyond, largest = 0, 0.0
    for seed in range(40):
        ours, exact, bound = in_float64(window, spread, seed)
        beyond += int((np.abs(ours - exact) > bound).sum())
        with np.errstate(invalid="ignore", divide="ignore"):
            largest = max(largest, float(np.nanmax(np.abs(ours - exact) / bound)))
    assert beyond <= (4 if spread == 9 else 0)  # of 46,240
    assert largest < 16


@hypothesis.given(
    window=windows(), value=st.sampled_from((np.nan, np.inf, -np.inf)), dtype=st.sampled_from(("f4", "f8")),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_nothing_spreads(window, value, dtype, seed):
    random = np.random.default_rng(seed)
    image, taps = (random.standard_normal(shape).astype(dtype) for shape in (window.input_shape, window.kernel_shape))
    image[tuple(int(random.integers(0, n)) for n in image.shape)] = value
    ours = transformed(image, taps, window, dtype)
    exact, _ = summed(image, taps, window)
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(exact))
    np.testing.assert_array_equal(np.isinf(ours), np.isinf(exact))
    finite = np.isfinite(exact)
    np.testing.assert_allclose(ours[finite], exact[finite], rtol=1e-4, atol=1e-4)


@hypothesis.given(
    window=windows(), dtype=st.sampled_from(("u1", "i2", "u2", "i4", "i8")), fill=st.integers(0, 9),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_integers_are_exact(window, dtype, fill, seed):
    """They wrap around, too."""
    random = np.random.default_rng(seed)
    image, taps = (
        random.integers(-100 * (dtype[0] == "i"), 100, shape).astype(dtype)
        for shape in (window.input_shape, window.kernel_shape)
    )
    expected = np.empty(window.output_shape, "i8")
    slide(window, image.astype("i8"), taps.astype("i8"), expected, fill, np.dtype("i8"))
    np.testing.assert_array_equal(transformed(image, taps, window, dtype, fill), expected.astype(dtype))


def test_integers_beyond_what_is_proven():
    image, taps = np.full((300, 300), 2**40), np.full((40, 40), 2**10)
    window = choosing.convolution_window(image.shape, taps.shape, "same")
    spoilt, _ = choosing.transforms_spoil(window, image, taps, np.dtype("i8"), 0, True, True)
    assert "not provably exact" in spoilt


@pytest.mark.parametrize("length", tiles.LENGTHS)
def test_lengths(length, monkeypatch):
    """Butterflies of every radix in every order, along both axes."""
    random = np.random.default_rng(length)
    image, taps = random.standard_normal((length + 9, length + 40)), random.standard_normal((7, 5))
    for height, width in ((length, 24), (24, length)):
        monkeypatch.setattr(tiles, "sizes", lambda *_, h=height, w=width: (0.0, h, w))
        window = choosing.convolution_window(image.shape, taps.shape, "same", "wrap")
        out, expected = np.empty(image.shape), np.empty(image.shape)
        # Another layout than the one that the sizes of before are remembered for.
        backwards = out[::-1] if height == length else out[:, ::-1]
        slide(window, image, taps, backwards, 0.0, DOUBLE, least=(0.0, np.inf))
        slide(window, image, taps, expected, 0.0, DOUBLE)
        np.testing.assert_allclose(backwards, expected, rtol=0, atol=1e-12)


def test_the_kernels_spectrum_is_kept_for_equal_taps_only():
    random = np.random.default_rng(1)
    image = random.standard_normal((100, 130))
    window = choosing.convolution_window(image.shape, (20, 21), "same")
    kernels = [random.standard_normal((20, 21)) for _ in range(2)]
    for number in (0, 0, 1, 0, 1, 1):
        taps = kernels[number].copy()
        exact, _ = summed(image, taps, window)
        np.testing.assert_allclose(transformed(image, taps, window, "f8"), exact, rtol=0, atol=1e-11)
        taps[3, 4] += 1  # in place, after the call
        exact, _ = summed(image, taps, window)
        np.testing.assert_allclose(transformed(image, taps, window, "f8"), exact, rtol=0, atol=1e-11)


def test_small_outputs_beside_large_ones():
    """Only tiles that hold both are summed directly, and the plan says so little as that tiles are transformed."""
    random = np.random.default_rng(2)
    image, taps = random.standard_normal((400, 700)), random.standard_normal((61, 61))
    image[:, :200] *= 1e9
    plan = signal.explain(image, taps, "same")
    assert plan.method == "fft"
    assert plan.tiled
    ours = signal.convolve2d(image, taps, "same")
    window = choosing.convolution_window(image.shape, taps.shape, "same")
    exact, size = summed(image, taps[::-1, ::-1], window)
    assert (np.abs(ours - exact) <= taps.size * 2.0**-53 * size).all()


@pytest.mark.parametrize("apart", [1e-3, 1e-6, 1e-12])
def test_a_kernel_that_sees_the_small_values_only(apart):
    """In float64, where every window holds large values, too: what is kept errs by no more than is proven."""
    random = np.random.default_rng(2)
    image, taps = random.standard_normal((200, 300)), random.standard_normal((45, 45))
    image[:, ::2] *= apart
    taps[:, 1::2] = 0
    window = choosing.convolution_window(image.shape, taps.shape, "same")
    ours = transformed(image, taps, window, "f8")
    exact, size = summed(image, taps, window)
    assert (np.abs(ours - exact) <= choosing.PROVEN * np.abs(exact) + 2 * taps.size * 2.0**-53 * size).all()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_mask(dtype):
    """Where all under a window is 0, so is the result, as in direct summation."""
    image, taps = np.zeros((300, 300), dtype), np.random.default_rng(3).standard_normal((25, 31)).astype(dtype)
    image[100:140, 90:250] = 1
    window = choosing.convolution_window(image.shape, taps.shape, "same")
    ours = transformed(image, taps, window, dtype)
    exact, size = summed(image, taps, window)
    np.testing.assert_array_equal(ours == 0, size == 0)
    np.testing.assert_allclose(ours, exact, rtol=0, atol=taps.size * np.finfo(dtype).eps * size.max())
