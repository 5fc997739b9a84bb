"""Convolutions of arrays: ``torch.nn.functional``'s names, order of arguments, defaults and shapes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arrays import Array, as_array
from .execute import Options, describe, make_options
from .foreign import convolve, through
from .forks import load_module
from .tensors import lies_on_gpu, to_array, to_dtype


def conv2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
    precision: str = "standard",
    data_format: str = "NCHW",
    padding_mode: str = "zeros",
    activation: str | None = None,
    dtype: Any = None,
    out: Any = None,
) -> Any:
    """Convolve images with filters; a drop-in for :func:`torch.nn.functional.conv2d` on NumPy arrays.

    out[n, f, h, w] = bias[f] + sum over c, i, j of weight[f, c, i, j] * input[n, c, h * stride + i * dilation -
    padding, w * ...]

    As everywhere in deep learning this is a cross-correlation: the filters are not flipped.

    Parameters
    ----------
    input : array_like, shape (N, C, H, W) or (C, H, W)
        Numbers or booleans; with ``data_format`` "NHWC" of shape (N, H, W, C) or (H, W, C). Any strides, alignment and
        byte order, read-only or not; it is never modified. All arrays may also be torch's tensors, or others with
        DLPack: they are read without a copy, and the result is of their kind. Where they lie on a GPU, it computes
        (:mod:`numbaconv.cuda`); NumPy arrays never go there. A tensor that requires a gradient gets it. Of
        subclasses the base array is taken; masked arrays are refused.
    weight : array_like, shape (F, C // groups, KH, KW)
        The filters, in this order of dimensions whatever the ``data_format``.
    bias : array_like, shape (F,), optional
        Added to every output of its filter.
    stride : int or sequence of int
        Cells between neighbouring outputs.
    padding : int, sequence of int, sequence of (before, after) pairs, or str
        Cells added around the input. "valid" adds none; "same" gives ceil(size / stride) outputs at any stride, an odd
        cell going after ("same_upper" is another name for it, "same_lower" puts it before).
    dilation : int or sequence of int
        Cells between neighbouring taps of a filter.
    groups : int
        Groups of channels that do not mix; it divides C and F.
    algorithm : {"auto", "direct", "im2col", "winograd"}
        "auto" takes the one expected to be fastest, and :func:`explain` tells which and why. One that cannot serve the
        call raises. "direct" has two ways, which can be asked for: "direct_channels" has output channels in the vector
        lanes, "direct_pixels" has pixels there.
    precision : {"exact", "standard", "fast"}
        "exact" sums products directly, never through Winograd's transforms. "standard" uses those whose RMS error on
        normal data is within 4 times of a plain float32 loop's, "fast" also those of up to 14 times (docs/accuracy.md).
    data_format : {"NCHW", "NHWC"}
        Whether channels come before or after height and width, in input and output.
    padding_mode : {"zeros", "reflect", "replicate", "circular", "symmetric"}
        What the added cells hold; NumPy's "constant", "edge" and "wrap" are accepted, too.
    activation : {None, "relu"}
        Applied to the output after the bias.
    dtype : dtype, optional
        Of accumulation and result, as in :func:`numpy.sum`; by default NumPy's promotion of the arrays' dtypes.
        Integers wrap around, so for images of uint8 ask for int32; of booleans the result is whether any product is
        true; float16 and bfloat16 (of the package ml_dtypes) are accumulated in float32 and rounded once.
    out : ndarray, optional
        Where the result is written: of its shape and dtype, with any strides, not overlapping the other arrays.

    Returns
    -------
    ndarray, shape (N, F, OH, OW) or, with "NHWC", (N, OH, OW, F)
        Without N where the input has none. OH = floor((H + padding before + after - dilation * (KH - 1) - 1) / stride)
        + 1.

    Raises
    ------
    ValueError
        Where sizes do not fit, a name is not known, or ``algorithm`` cannot serve the call; before anything is
        computed.
    TypeError
        Where an argument is of the wrong kind or dtype.

    References
    ----------
    Replaces ``torch.nn.functional.conv2d``; V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep
    learning", 2016.

    Examples
    --------
    The course's first question: a 32x32 image of one channel, 8 filters of 3x3, stride 1, padding "same".

    >>> import numpy as np
    >>> import numbaconv as nc
    >>> image = np.ones((1, 1, 32, 32), np.float32)
    >>> filters = np.ones((8, 1, 3, 3), np.float32)
    >>> nc.conv2d(image, filters, padding="same").shape
    (1, 8, 32, 32)
    """
    options = make_options(
        (stride, padding, dilation, groups, algorithm, precision, data_format, padding_mode, activation)
    )
    return convolve(2, input, weight, bias, options, dtype, out)


def conv1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
    precision: str = "standard",
    data_format: str = "NCW",
    padding_mode: str = "zeros",
    activation: str | None = None,
    dtype: Any = None,
    out: Any = None,
) -> Any:
    """Convolve sequences with filters; a drop-in for :func:`torch.nn.functional.conv1d` on NumPy arrays.

    Parameters
    ----------
    input : array_like, shape (N, C, W) or (C, W)
        With ``data_format`` "NWC", (N, W, C) or (W, C).
    weight : array_like, shape (F, C // groups, KW)
        The filters.
    bias, stride, padding, dilation, groups, algorithm, precision, data_format, padding_mode, activation, dtype, out
        As in :func:`conv2d`, for one dimension.

    Returns
    -------
    ndarray, shape (N, F, OW) or, with "NWC", (N, OW, F)

    Raises
    ------
    ValueError, TypeError
        As in :func:`conv2d`.

    References
    ----------
    Replaces ``torch.nn.functional.conv1d``.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaconv as nc
    >>> nc.conv1d(np.array([[1.0, 2.0, 4.0, 7.0]]), np.array([[[-1.0, 1.0]]]))
    array([[1., 2., 3.]])
    """
    options = make_options(
        (stride, padding, dilation, groups, algorithm, precision, data_format, padding_mode, activation)
    )
    return convolve(1, input, weight, bias, options, dtype, out)


def conv3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
    precision: str = "standard",
    data_format: str = "NCDHW",
    padding_mode: str = "zeros",
    activation: str | None = None,
    dtype: Any = None,
    out: Any = None,
) -> Any:
    """Convolve volumes with filters; a drop-in for :func:`torch.nn.functional.conv3d` on NumPy arrays.

    Parameters
    ----------
    input : array_like, shape (N, C, D, H, W) or (C, D, H, W)
        With ``data_format`` "NDHWC", (N, D, H, W, C) or (D, H, W, C).
    weight : array_like, shape (F, C // groups, KD, KH, KW)
        The filters.
    bias, stride, padding, dilation, groups, algorithm, precision, data_format, padding_mode, activation, dtype, out
        As in :func:`conv2d`, for three dimensions.

    Returns
    -------
    ndarray, shape (N, F, OD, OH, OW) or, with "NDHWC", (N, OD, OH, OW, F)

    Raises
    ------
    ValueError, TypeError
        As in :func:`conv2d`.

    References
    ----------
    Replaces ``torch.nn.functional.conv3d``.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaconv as nc
    >>> nc.conv3d(np.ones((1, 1, 4, 5, 6)), np.ones((2, 1, 3, 3, 3))).shape
    (1, 2, 2, 3, 4)
    """
    options = make_options(
        (stride, padding, dilation, groups, algorithm, precision, data_format, padding_mode, activation)
    )
    return convolve(3, input, weight, bias, options, dtype, out)


def conv2D_gemm(image: Any, kernel: Any, stride: Any = 1, padding: Any = "same") -> Any:
    """Convolve an image as a beginners' course writes it: patches become a matrix, and one product (im2col + GEMM).

    Parameters
    ----------
    image : array_like, shape (H, W, C) or (N, H, W, C)
        One image or a batch of them, channels last.
    kernel : array_like, shape (KH, KW, C, F)
        F filters. They are not flipped.
    stride : int or sequence of int
        Cells between neighbouring outputs.
    padding : {"same", "valid"}, int, or any other form that :func:`conv2d` takes
        "same" gives ceil(size / stride) outputs.

    Returns
    -------
    ndarray, shape (OH, OW, F) or (N, OH, OW, F)
        In the dtype that NumPy promotes the arguments to, accumulated in that dtype.

    Raises
    ------
    ValueError, TypeError
        As in :func:`conv2d`.

    References
    ----------
    K. Chellapilla, S. Puri and P. Simard, "High performance convolutional neural networks for document processing",
    2006.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaconv as nc
    >>> nc.conv2D_gemm(np.ones((32, 32, 1)), np.ones((3, 3, 1, 8))).shape
    (32, 32, 8)
    """
    return through(
        lambda image, kernel, _: _conv2d_gemm(image, kernel, stride, padding), {"image": image, "kernel": kernel}
    )


def _conv2d_gemm(image: Any, kernel: Any, stride: Any, padding: Any) -> Any:
    image, kernel = as_array("image", image), as_array("kernel", kernel)
    if image.ndim not in (3, 4):
        raise ValueError(f"image must have shape (H, W, C) or (N, H, W, C); got {image.shape}")
    if kernel.ndim != 4:
        raise ValueError(f"kernel must have shape (KH, KW, C, F); got {kernel.shape}")
    if image.shape[-1] != kernel.shape[2]:
        raise ValueError(
            f"image has {image.shape[-1]} channels (shape {image.shape}) "
            f"but kernel has {kernel.shape[2]} (shape {kernel.shape})"
        )
    weight = kernel.transpose(3, 2, 0, 1)
    return conv2d(image, weight, None, stride, padding, algorithm="im2col", data_format="NHWC")


def explain(
    input_or_shape: Any,
    weight_or_shape: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
    precision: str = "standard",
    data_format: str | None = None,
    padding_mode: str = "zeros",
    activation: str | None = None,
    dtype: Any = None,
) -> Any:
    """Tell how a convolution would be computed, without computing it.

    Parameters
    ----------
    input_or_shape, weight_or_shape : array_like or tuple of int
        The arrays, or their shapes (taken as float32). The weight's rank says whether it is conv1d, conv2d or conv3d.
    bias, stride, padding, dilation, groups, algorithm, precision, data_format, padding_mode, activation, dtype
        As in :func:`conv2d`.

    Returns
    -------
    Plan
        Printable: the algorithm and why, each rejected one with its reason, operations, bytes and workspace. Of arrays
        on a GPU, what would run there: a :class:`numbaconv.cuda.planner.GpuPlan`.

    Raises
    ------
    ValueError, TypeError
        As the call itself would, and where there is nothing to compute (an empty output, no input channels).

    Examples
    --------
    >>> import numbaconv as nc
    >>> plan = nc.explain((1, 64, 56, 56), (64, 64, 5, 5), padding=4, dilation=2, stride=2)
    >>> dict(plan.rejected)["winograd"]
    'winograd needs stride or dilation 1, these are (2, 2) and (2, 2)'
    """
    options = Options(stride, padding, dilation, groups, algorithm, precision, data_format, padding_mode, activation)
    if lies_on_gpu(input_or_shape) or lies_on_gpu(weight_or_shape):
        return _explain_on_gpu(input_or_shape, weight_or_shape, bias, options, dtype)
    x, weight = _array_of("input_or_shape", input_or_shape), _array_of("weight_or_shape", weight_or_shape)
    ndim = weight.ndim - 2
    if ndim not in (1, 2, 3):
        raise ValueError(f"weight must have 3, 4 or 5 dimensions; got {weight.ndim} (shape {weight.shape})")
    if x.ndim == ndim + 1:
        x = x[None]
    problem, plan = describe(ndim, x, weight, None if bias is None else to_array("bias", bias), options, dtype)
    if plan is None:
        raise ValueError(
            f"there is nothing to compute: output shape {problem.output_shape}, "
            f"{problem.depth} products for each output"
        )
    return plan


def _explain_on_gpu(input: Any, weight: Any, bias: Any, options: Options, dtype: Any) -> Any:
    return load_module(".cuda.engine").explain(input, weight, bias, options, to_dtype(dtype))


def _array_of(name: str, value: Any) -> Array:
    """An array, or one of the given shape that takes no memory."""
    if isinstance(value, tuple) and all(isinstance(size, (int, np.integer)) for size in value):
        if any(size < 0 for size in value):
            raise ValueError(f"{name} must have no negative size; got {value}")
        return np.broadcast_to(np.float32(0), value)
    return to_array(name, value)
