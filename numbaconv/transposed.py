"""Transposed convolutions: ``torch.nn.functional``'s names, order of arguments, defaults and shapes, on arrays."""

from __future__ import annotations

from typing import Any

from .execute import Options
from .foreign import conv_transpose


def conv_transpose2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    *,
    algorithm: str = "auto",
    precision: str = "standard",
    data_format: str = "NCHW",
    padding_mode: str = "zeros",
    activation: str | None = None,
    dtype: Any = None,
    out: Any = None,
) -> Any:
    """Spread images through filters; a drop-in for :func:`torch.nn.functional.conv_transpose2d` on NumPy arrays.

    out[n, f, h * stride + i * dilation - padding, w * ...] += weight[c, f, i, j] * input[n, c, h, w], on top of bias[f]

    The adjoint of :func:`numbaconv.conv2d` ("deconvolution"), computed without zeros between the input's cells: for
    each phase of the stride, an ordinary convolution with the taps that reach it, written into its cells of the result.

    Parameters
    ----------
    input : array_like, shape (N, C, H, W) or (C, H, W)
        As in :func:`numbaconv.conv2d`; with ``data_format`` "NHWC" of shape (N, H, W, C) or (H, W, C).
    weight : array_like, shape (C, F // groups, KH, KW)
        The filters, in this order of dimensions whatever the ``data_format``: the weight of the
        :func:`numbaconv.conv2d` that it is the adjoint of.
    bias : array_like, shape (F,), optional
        Added to every output of its filter.
    stride : int or sequence of int
        Cells of the result between those that neighbouring input cells are spread around.
    padding : int, sequence of int, or sequence of (before, after) pairs
        Cells taken away around the result, as a convolution with this padding would add them.
    output_padding : int or sequence of int
        Cells added behind the result, smaller than the stride or the dilation.
    groups : int
        Groups of channels that do not mix; it divides C.
    dilation : int or sequence of int
        Cells between neighbouring taps of a filter.
    padding_mode : "zeros"
        The only one, as in torch.
    algorithm, precision, data_format, activation, dtype, out
        As in :func:`numbaconv.conv2d`. An algorithm that is asked for must serve the convolutions of all phases.

    Returns
    -------
    ndarray, shape (N, F, OH, OW) or, with "NHWC", (N, OH, OW, F)
        Without N where the input has none. OH = (H - 1) * stride + dilation * (KH - 1) + 1 + output_padding - padding
        before - padding after.

    Raises
    ------
    ValueError
        Where sizes do not fit, a name is not known, or ``algorithm`` cannot serve the call; before anything is
        computed.
    TypeError
        Where an argument is of the wrong kind or dtype.

    References
    ----------
    Replaces ``torch.nn.functional.conv_transpose2d``; V. Dumoulin and F. Visin, "A guide to convolution arithmetic for
    deep learning", 2016, chapter 4.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaconv as nc
    >>> nc.conv_transpose2d(np.array([[[[1.0, 2.0]]]]), np.array([[[[1.0, 10.0]]]]), stride=2)
    array([[[[ 1., 10.,  2., 20.]]]])
    """
    options = Options(stride, padding, dilation, groups, algorithm, precision, data_format, padding_mode, activation)
    return conv_transpose(2, input, weight, bias, options, output_padding, dtype, out)


def conv_transpose1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    *,
    algorithm: str = "auto",
    precision: str = "standard",
    data_format: str = "NCW",
    padding_mode: str = "zeros",
    activation: str | None = None,
    dtype: Any = None,
    out: Any = None,
) -> Any:
    """Spread sequences through filters; a drop-in for :func:`torch.nn.functional.conv_transpose1d`.

    Parameters
    ----------
    input : array_like, shape (N, C, W) or (C, W)
        With ``data_format`` "NWC", (N, W, C) or (W, C).
    weight : array_like, shape (C, F // groups, KW)
        The filters.
    bias, stride, padding, output_padding, groups, dilation, algorithm, precision, data_format, padding_mode
        As in :func:`conv_transpose2d`, for one dimension.
    activation, dtype, out
        As in :func:`conv_transpose2d`.

    Returns
    -------
    ndarray, shape (N, F, OW) or, with "NWC", (N, OW, F)

    Raises
    ------
    ValueError, TypeError
        As in :func:`conv_transpose2d`.

    References
    ----------
    Replaces ``torch.nn.functional.conv_transpose1d``.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaconv as nc
    >>> nc.conv_transpose1d(np.array([[[1.0, 2.0, 3.0]]]), np.array([[[1.0, 1.0, 1.0]]]), stride=2)
    array([[[1., 1., 3., 2., 5., 3., 3.]]])
    """
    options = Options(stride, padding, dilation, groups, algorithm, precision, data_format, padding_mode, activation)
    return conv_transpose(1, input, weight, bias, options, output_padding, dtype, out)


def conv_transpose3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    *,
    algorithm: str = "auto",
    precision: str = "standard",
    data_format: str = "NCDHW",
    padding_mode: str = "zeros",
    activation: str | None = None,
    dtype: Any = None,
    out: Any = None,
) -> Any:
    """Spread volumes through filters; a drop-in for :func:`torch.nn.functional.conv_transpose3d`.

    Parameters
    ----------
    input : array_like, shape (N, C, D, H, W) or (C, D, H, W)
        With ``data_format`` "NDHWC", (N, D, H, W, C) or (D, H, W, C).
    weight : array_like, shape (C, F // groups, KD, KH, KW)
        The filters.
    bias, stride, padding, output_padding, groups, dilation, algorithm, precision, data_format, padding_mode
        As in :func:`conv_transpose2d`, for three dimensions.
    activation, dtype, out
        As in :func:`conv_transpose2d`.

    Returns
    -------
    ndarray, shape (N, F, OD, OH, OW) or, with "NDHWC", (N, OD, OH, OW, F)

    Raises
    ------
    ValueError, TypeError
        As in :func:`conv_transpose2d`.

    References
    ----------
    Replaces ``torch.nn.functional.conv_transpose3d``.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaconv as nc
    >>> nc.conv_transpose3d(np.ones((1, 4, 2, 3, 4)), np.ones((4, 2, 2, 2, 2)), stride=2).shape
    (1, 2, 4, 6, 8)
    """
    options = Options(stride, padding, dilation, groups, algorithm, precision, data_format, padding_mode, activation)
    return conv_transpose(3, input, weight, bias, options, output_padding, dtype, out)
