"""The adjoint of a convolution in its weight, as an ordinary convolution."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from .arrays import Array, new_array, prepared
from .execute import How, Options, convolve
from .lowering import lowering
from .problem import DATA_FORMATS, ConvProblem
from .recipes import Recorder


def weight_adjoint(
    problem: ConvProblem, x: Array, y: Array, how: How, out: Array, recorder: Recorder | None = None
) -> None:
    """The adjoint of a convolution in its weight.

    out[f, c, k] = sum over n, o of conjugate of x[n, c, o * stride + k * dilation - padding before] * y[n, f, o]

    That is a convolution of x with the weight y in which the batch is summed over, stride and dilation change places,
    and the channels of x are a further dimension before the spatial ones, along which y has one tap.

    Parameters
    ----------
    problem : ConvProblem
        The convolution; its padding holds zeros.
    x : ndarray, of the problem's input shape
    y : ndarray, of the problem's output shape
    how : How
    out : ndarray, of the problem's weight shape and dtype
        Every element is written.
    recorder : Recorder, optional
        It is told what was done.
    """
    recorder = recorder or Recorder((x, y, None), out)
    if out.size == 0:
        return
    if y.size == 0:
        out[...] = 0
        return
    lower = lowering(problem.dtype)
    if lower is not None:
        recorder.give_up()
        groups, axis = problem.groups, -1 if problem.channels_last else 1
        inner = lower.problem(problem)
        computed = new_array(inner.weight_shape, inner.dtype)
        weight_adjoint(inner, lower.channels(x, groups, axis), lower.channels(y, groups, axis), how, computed)
        lower.store_weight(computed, out, groups)
        return
    x, y = prepared(x, problem.dtype), prepared(y, problem.dtype)
    if problem.channels_last:
        x, y = np.moveaxis(x, -1, 1), np.moveaxis(y, -1, 1)
    if problem.ndim == 3:
        _volumes(problem, x, y, how, out, recorder)
    else:
        _images(problem, x, y, how, out, recorder)


def _volumes(problem: ConvProblem, x: Array, y: Array, how: How, out: Array, recorder: Recorder) -> None:
    """One tap in depth after the other: the slices of a volume that it multiplies are images of a batch."""
    (size, *_), (stride, *_), (dilation, *_), ((before, _), *_) = (
        problem.input_size, problem.stride, problem.dilation, problem.padding,
    )  # fmt: skip
    for tap in range(problem.kernel_size[0]):
        # Output slice o reads input slice o * stride + offset.
        offset = tap * dilation - before
        first = max(0, -(offset // stride))
        last = min(problem.output_size[0], (size - 1 - offset) // stride + 1)
        if first >= last:
            recorder.give_up()
            out[:, :, tap] = 0
            continue
        read = slice(first * stride + offset, (last - 1) * stride + offset + 1, stride)
        images = dataclasses.replace(
            problem,
            batch=problem.batch * (last - first),
            **{
                name: getattr(problem, name)[1:]
                for name in ("input_size", "kernel_size", "stride", "padding", "dilation")
            },
        )
        x_slices, y_slices = x[:, :, read].swapaxes(1, 2), y[:, :, first:last].swapaxes(1, 2)
        _images(
            images, x_slices.reshape(-1, *x_slices.shape[2:]), y_slices.reshape(-1, *y_slices.shape[2:]), how,
            out[:, :, tap], recorder,
        )  # fmt: skip


def _images(problem: ConvProblem, x: Array, y: Array, how: How, out: Array, recorder: Recorder) -> None:
    """One or two spatial dimensions, channels first."""
    read = cells_read(problem)
    if min(read) < 1:  # of an output in the padding before the input, no tap reaches it
        recorder.give_up()
        out[...] = 0
        return
    window: tuple[slice, ...] = (slice(None), slice(None), *map(slice, read))
    x = x[window]  # cells that no tap reads are left out
    inner = _deepened(problem)
    split = x.reshape(problem.batch, problem.groups, problem.group_channels, *x.shape[2:])
    given = split.swapaxes(0, 1).reshape(inner.input_shape)  # groups of images
    options = Options(
        inner.stride, inner.padding, inner.dilation, inner.groups, how.algorithm, how.precision,
        DATA_FORMATS[inner.ndim][0], "zeros", None,
    )  # fmt: skip
    convolve(inner.ndim, given, y.swapaxes(0, 1)[:, :, None], None, options, problem.dtype, out[None], None, recorder)


def cells_read(problem: ConvProblem) -> tuple[int, ...]:
    """How many cells of the input some tap reads, from the first one on."""
    return tuple(
        min(size, (given - 1) * stride + (kernel - 1) * dilation + 1 - before)
        for size, given, kernel, stride, dilation, (before, _) in zip(
            problem.input_size, problem.output_size, problem.kernel_size, problem.stride, problem.dilation,
            problem.padding, strict=True,
        )
    )  # fmt: skip


@functools.lru_cache(1024)
def exchanged(problem: ConvProblem) -> ConvProblem:
    """The convolution that is a problem's adjoint in its weight: channels and batch, stride and dilation change places.

    Some tap must reach the input: :func:`cells_read` are positive.
    """
    read = cells_read(problem)
    padding = tuple(
        (before, (given - 1) * stride + (kernel - 1) * dilation + 1 - before - cells)
        for cells, given, kernel, stride, dilation, (before, _) in zip(
            read, problem.output_size, problem.kernel_size, problem.stride, problem.dilation, problem.padding,
            strict=True,
        )
    )  # fmt: skip
    return dataclasses.replace(
        problem,
        batch=problem.group_channels,
        channels=problem.groups * problem.batch,
        input_size=read,
        kernel_size=problem.output_size,
        stride=problem.dilation,
        padding=padding,
        dilation=problem.stride,
        channels_last=False,
    )


@functools.lru_cache(1024)
def _deepened(problem: ConvProblem) -> ConvProblem:
    """:func:`exchanged` with the channels as a dimension before the spatial ones, along which there is one tap.

    So that direct summation makes its tiles of several channels' outputs.
    """
    other = exchanged(problem)
    return dataclasses.replace(
        other,
        batch=1,
        input_size=(other.batch, *other.input_size),
        kernel_size=(1, *other.kernel_size),
        stride=(1, *other.stride),
        padding=((0, 0), *other.padding),
        dilation=(1, *other.dilation),
    )
