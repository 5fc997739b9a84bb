"""im2col and its adjoint for all to see: ``torch.nn.functional.unfold`` and ``fold``, on arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .arrays import Array, as_array, check_numbers, new_array, wide_dtype
from .foreign import through
from .problem import AXES, conv_problem, per_dimension
from .windows import gather, scatter


def unfold(input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """Lay out the windows of an image as the columns of a matrix; a drop-in for :func:`torch.nn.functional.unfold`.

    With it a convolution is a matrix product: conv2d(x, w) holds the numbers of w.reshape(F, -1) @ unfold(x, (KH, KW)).
    (The library never makes this matrix, which is KH * KW times the image, but a few columns of it at a time.)

    Parameters
    ----------
    input : array_like, shape (N, C, H, W) or (C, H, W)
        Numbers of any dtype.
    kernel_size : int or sequence of int
        Height and width of a window, KH and KW.
    dilation : int or sequence of int
        Cells between neighbouring cells of a window.
    padding : int, sequence of int, sequence of (before, after) pairs, or str
        Zeros around the image, as in :func:`numbaconv.conv2d`.
    stride : int or sequence of int
        Cells between neighbouring windows.

    Returns
    -------
    ndarray, shape (N, C * KH * KW, L) or (C * KH * KW, L)
        L = OH * OW windows, row after row; of the input's dtype.

    Raises
    ------
    ValueError
        Where sizes do not fit.
    TypeError
        Where an argument is of the wrong kind.

    References
    ----------
    Replaces ``torch.nn.functional.unfold``. K. Chellapilla, S. Puri and P. Simard, "High performance convolutional
    neural networks for document processing", 2006.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaconv as nc
    >>> nc.unfold(np.arange(9.0).reshape(1, 3, 3), 2)
    array([[0., 1., 3., 4.],
           [1., 2., 4., 5.],
           [3., 4., 6., 7.],
           [4., 5., 7., 8.]])
    """
    return through(lambda x, _: _unfold(x, kernel_size, dilation, padding, stride), {"input": input})


def _unfold(input: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Array:
    x = as_array("input", input)
    check_numbers("input", x)
    if x.ndim not in (3, 4):
        raise ValueError(f"input must have shape (N, C, H, W) or (C, H, W); got {x.shape}")
    images = x if x.ndim == 4 else x[None]
    kernel = per_dimension("kernel_size", kernel_size, 2, 1)
    problem = conv_problem(
        2, images.shape, (1, images.shape[1], *kernel), stride=stride, padding=padding, dilation=dilation
    )
    dtype = x.dtype.newbyteorder("=")
    columns = new_array((problem.batch, problem.channels, *kernel, *problem.output_size), dtype)
    gather(problem, images, columns)
    matrices = columns.reshape(problem.batch, problem.channels * problem.taps, problem.pixels)
    result: Array = matrices if x.ndim == 4 else matrices[0]
    return result


def fold(input: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """Add the windows of an image up to an image; a drop-in for :func:`torch.nn.functional.fold`.

    The adjoint of :func:`unfold`, not its inverse: a cell that lies in several windows gets the sum of them.

    Parameters
    ----------
    input : array_like, shape (N, C * KH * KW, L) or (C * KH * KW, L)
        The windows, laid out as :func:`unfold` does.
    output_size : int or sequence of int
        Height and width of the image.
    kernel_size, dilation, padding, stride
        As in :func:`unfold`.

    Returns
    -------
    ndarray, shape (N, C, H, W) or (C, H, W)
        Of the input's dtype; float16 is summed in float32, integers wrap.

    Raises
    ------
    ValueError
        Where sizes do not fit.
    TypeError
        Where an argument is of the wrong kind.

    References
    ----------
    Replaces ``torch.nn.functional.fold``.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaconv as nc
    >>> nc.fold(nc.unfold(np.ones((1, 3, 3)), 2), 3, 2)
    array([[[1., 2., 1.],
            [2., 4., 2.],
            [1., 2., 1.]]])
    """
    return through(lambda x, _: _fold(x, output_size, kernel_size, dilation, padding, stride), {"input": input})


def _fold(input: Any, output_size: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Array:
    columns = as_array("input", input)
    check_numbers("input", columns)
    if columns.ndim not in (2, 3):
        raise ValueError(f"input must have shape (N, C * KH * KW, L) or (C * KH * KW, L); got {columns.shape}")
    matrices = columns if columns.ndim == 3 else columns[None]
    size = per_dimension("output_size", output_size, 2, 1)
    kernel = per_dimension("kernel_size", kernel_size, 2, 1)
    batch, rows, count = matrices.shape
    if rows % math.prod(kernel):
        raise ValueError(
            f"input must have a multiple of {math.prod(kernel)} rows, as many as a window has cells "
            f"(kernel_size {kernel}); got {rows} (input shape {columns.shape})"
        )
    channels = rows // math.prod(kernel)
    problem = conv_problem(
        2, (batch, channels, *size), (1, channels, *kernel), stride=stride, padding=padding, dilation=dilation
    )
    if count != problem.pixels:
        counts = ", ".join(f"{axis} {n}" for axis, n in zip(AXES[2], problem.output_size, strict=True))
        raise ValueError(
            f"input must have a column for each of {problem.pixels} windows ({counts}) of output_size {size}; "
            f"got {count} (input shape {columns.shape})"
        )
    dtype = columns.dtype.newbyteorder("=")
    images = np.zeros(problem.input_shape, wide_dtype(dtype))
    scatter(problem, matrices.reshape(batch, channels, *kernel, *problem.output_size), images)
    images = images.astype(dtype, copy=False)
    result: Array = images if columns.ndim == 3 else images[0]
    return result
