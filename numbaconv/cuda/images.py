"""``scipy.signal``'s two-dimensional functions on a GPU: convolutions of one channel, whatever surrounds the image."""

from __future__ import annotations

from typing import Any, Final

from ..choosing import convolution_window
from ..execute import part_of_key
from ..problem import ConvProblem
from ..scipy_rules import BOUNDARIES, check_boundary, check_mode, fill_number, result_dtype, swaps
from . import geometry as at
from .device_arrays import Arrays
from .job import Job
from .planner import run

_EXTENSIONS: Final = {
    "fill": at.FILL, "nearest": at.NEAREST, "symmetric": at.SYMMETRIC, "mirror": at.MIRROR, "wrap": at.WRAP,
}  # fmt: skip


def convolve2d(in1: Any, in2: Any, mode: str, boundary: str, fillvalue: Any, *, correlated: bool) -> Any:
    """The body of :func:`numbaconv.signal.convolve2d` and, ``correlated``, of ``correlate2d``."""
    arrays = Arrays({"in1": in1, "in2": in2}, None)

    def compute() -> Any:
        image, taps = arrays.needed("in1"), arrays.needed("in2")
        name = "correlate2d" if correlated else "convolve2d"
        if not image.ndim == taps.ndim == 2:
            raise ValueError(f"{name} inputs must both be 2-D arrays; got {image.ndim} and {taps.ndim} dimensions")
        swapped = swaps(mode, image.shape, taps.shape)
        if swapped:
            image, taps = taps, image
        dtype = result_dtype(image, taps)
        if dtype is None:
            raise TypeError(f"{name} on a GPU has no result of {image.dtype} and {taps.dtype}; convert one of them")
        check_mode(mode)
        check_boundary(boundary)
        extension = BOUNDARIES[boundary]
        fill = fill_number(fillvalue, dtype) if extension == "fill" else 0
        window = convolution_window(image.shape, taps.shape, mode, extension, correlated)
        result, view = arrays.result(window.output_shape, dtype)
        if not correlated:
            taps = taps.flipped()
        elif swapped:
            view = view.flipped()
        summed = taps.size > 0 and (image.size > 0 or extension == "fill")
        kernel = window.kernel_shape if summed else (1, 1)
        padding = tuple(
            (before, n_out + k - 1 - before - n)
            for before, n_out, k, n in zip(window.pad, window.output_shape, kernel, image.shape, strict=True)
        )
        problem = ConvProblem(
            1, int(summed), 1, 1, image.shape, kernel, (1, 1), padding, (1, 1), "zeros", dtype
        )  # fmt: skip
        x, w = (array.added(0).added(0).added(0).volume(3) for array in (image, taps))
        if not summed:
            x, w = x.cut(2, slice(0)), w.cut(2, slice(0))
        out = view.added(0).added(0).added(0).volume(3)
        run(
            Job(problem, x, w, None, out, False, "w" if correlated else "", _EXTENSIONS[extension], fill), arrays.device
        )  # fmt: skip
        return result

    return arrays.remembered(("images", *map(part_of_key, (mode, boundary, fillvalue)), correlated), compute)
