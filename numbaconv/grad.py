"""Gradients of convolutions: ``torch.nn.grad``'s functions, on arrays. Each is a convolution again."""

from __future__ import annotations

from typing import Any

from .execute import Options
from .foreign import input_gradient, weight_gradient


def conv2d_input(
    input_size: Any,
    weight: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
    precision: str = "standard",
    data_format: str = "NCHW",
    dtype: Any = None,
    out: Any = None,
) -> Any:
    """Gradient of :func:`numbaconv.conv2d` with respect to its input; a drop-in for ``torch.nn.grad.conv2d_input``.

    It is the transposed convolution of ``grad_output``: <conv2d(x, weight), grad_output> = <x, conv2d_input(x.shape,
    weight, grad_output)> for every x.

    Parameters
    ----------
    input_size : sequence of int, (N, C, H, W) or (C, H, W)
        The shape of the gradient: the input's; with ``data_format`` "NHWC", (N, H, W, C) or (H, W, C).
    weight : array_like, shape (F, C // groups, KH, KW)
        The convolution's filters.
    grad_output : array_like, of the convolution's output shape
        The gradient with respect to the output.
    stride, padding, dilation, groups, data_format
        The convolution's; see :func:`numbaconv.conv2d`. Its ``padding_mode`` is "zeros".
    algorithm, precision
        As in :func:`numbaconv.conv_transpose2d`.
    dtype : dtype, optional
        Of accumulation and result. By default NumPy's promotion of the arrays' dtypes.
    out : ndarray, optional
        Where the result is written.

    Returns
    -------
    ndarray, of shape ``input_size``

    Raises
    ------
    ValueError
        Where sizes do not fit, a name is not known, or ``algorithm`` cannot serve the call.
    TypeError
        Where an argument is of the wrong kind or dtype.

    References
    ----------
    Replaces ``torch.nn.grad.conv2d_input``.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaconv as nc
    >>> weight = np.array([[[[1.0, 10.0, 100.0]]]])
    >>> nc.grad.conv2d_input((1, 1, 1, 4), weight, np.ones((1, 1, 1, 2)))
    array([[[[  1.,  11., 110., 100.]]]])
    """
    options = Options(stride, padding, dilation, groups, algorithm, precision, data_format)
    return input_gradient(2, input_size, weight, grad_output, options, dtype, out)


def conv2d_weight(
    input: Any,
    weight_size: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
    precision: str = "standard",
    data_format: str = "NCHW",
    dtype: Any = None,
    out: Any = None,
) -> Any:
    """Gradient of :func:`numbaconv.conv2d` with respect to its weight; a drop-in for ``torch.nn.grad.conv2d_weight``.

    It is a convolution of the input with ``grad_output`` in which batch and channels, stride and dilation change
    places: <conv2d(input, w), grad_output> = <w, conv2d_weight(input, w.shape, grad_output)> for every w.

    Parameters
    ----------
    input : array_like, shape (N, C, H, W) or (C, H, W)
        The convolution's input; with ``data_format`` "NHWC", (N, H, W, C) or (H, W, C).
    weight_size : sequence of int, (F, C // groups, KH, KW)
        The shape of the gradient: the weight's.
    grad_output : array_like, of the convolution's output shape
        The gradient with respect to the output.
    stride, padding, dilation, groups, data_format
        The convolution's; see :func:`numbaconv.conv2d`. Its ``padding_mode`` is "zeros".
    algorithm, precision
        As in :func:`numbaconv.conv2d`, of the convolution that computes the gradient.
    dtype : dtype, optional
        Of accumulation and result. By default NumPy's promotion of the arrays' dtypes.
    out : ndarray, optional
        Where the result is written.

    Returns
    -------
    ndarray, of shape ``weight_size``
        Summed over the batch.

    Raises
    ------
    ValueError
        Where sizes do not fit, a name is not known, or ``algorithm`` cannot serve the call.
    TypeError
        Where an argument is of the wrong kind or dtype.

    References
    ----------
    Replaces ``torch.nn.grad.conv2d_weight``.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaconv as nc
    >>> image = np.array([[[[1.0, 2.0, 4.0, 8.0]]]])
    >>> nc.grad.conv2d_weight(image, (1, 1, 1, 3), np.ones((1, 1, 1, 2)))
    array([[[[ 3.,  6., 12.]]]])
    """
    options = Options(stride, padding, dilation, groups, algorithm, precision, data_format)
    return weight_gradient(2, input, weight_size, grad_output, options, dtype, out)


def conv1d_input(
    input_size: Any,
    weight: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
    precision: str = "standard",
    data_format: str = "NCW",
    dtype: Any = None,
    out: Any = None,
) -> Any:
    """Gradient of :func:`numbaconv.conv1d` with respect to its input; replaces ``torch.nn.grad.conv1d_input``.

    Parameters
    ----------
    input_size : sequence of int, (N, C, W) or (C, W)
        The input's shape; with ``data_format`` "NWC", (N, W, C) or (W, C).
    weight : array_like, shape (F, C // groups, KW)
        The convolution's filters.
    grad_output : array_like, of the convolution's output shape
        The gradient with respect to the output.
    stride, padding, dilation, groups, algorithm, precision, data_format, dtype, out
        As in :func:`conv2d_input`.

    Returns
    -------
    ndarray, of shape ``input_size``

    Raises
    ------
    ValueError, TypeError
        As in :func:`conv2d_input`.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaconv as nc
    >>> nc.grad.conv1d_input((1, 1, 4), np.array([[[1.0, 10.0]]]), np.array([[[1.0, 2.0, 3.0]]]))
    array([[[ 1., 12., 23., 30.]]])
    """
    options = Options(stride, padding, dilation, groups, algorithm, precision, data_format)
    return input_gradient(1, input_size, weight, grad_output, options, dtype, out)


def conv1d_weight(
    input: Any,
    weight_size: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
    precision: str = "standard",
    data_format: str = "NCW",
    dtype: Any = None,
    out: Any = None,
) -> Any:
    """Gradient of :func:`numbaconv.conv1d` with respect to its weight; replaces ``torch.nn.grad.conv1d_weight``.

    Parameters
    ----------
    input : array_like, shape (N, C, W) or (C, W)
        The convolution's input; with ``data_format`` "NWC", (N, W, C) or (W, C).
    weight_size : sequence of int, (F, C // groups, KW)
        The weight's shape.
    grad_output : array_like, of the convolution's output shape
        The gradient with respect to the output.
    stride, padding, dilation, groups, algorithm, precision, data_format, dtype, out
        As in :func:`conv2d_weight`.

    Returns
    -------
    ndarray, of shape ``weight_size``

    Raises
    ------
    ValueError, TypeError
        As in :func:`conv2d_weight`.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaconv as nc
    >>> nc.grad.conv1d_weight(np.array([[[1.0, 2.0, 4.0]]]), (1, 1, 2), np.array([[[1.0, 10.0]]]))
    array([[[21., 42.]]])
    """
    options = Options(stride, padding, dilation, groups, algorithm, precision, data_format)
    return weight_gradient(1, input, weight_size, grad_output, options, dtype, out)


def conv3d_input(
    input_size: Any,
    weight: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
    precision: str = "standard",
    data_format: str = "NCDHW",
    dtype: Any = None,
    out: Any = None,
) -> Any:
    """Gradient of :func:`numbaconv.conv3d` with respect to its input; replaces ``torch.nn.grad.conv3d_input``.

    Parameters
    ----------
    input_size : sequence of int, (N, C, D, H, W) or (C, D, H, W)
        The input's shape; with ``data_format`` "NDHWC", (N, D, H, W, C) or (D, H, W, C).
    weight : array_like, shape (F, C // groups, KD, KH, KW)
        The convolution's filters.
    grad_output : array_like, of the convolution's output shape
        The gradient with respect to the output.
    stride, padding, dilation, groups, algorithm, precision, data_format, dtype, out
        As in :func:`conv2d_input`.

    Returns
    -------
    ndarray, of shape ``input_size``

    Raises
    ------
    ValueError, TypeError
        As in :func:`conv2d_input`.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaconv as nc
    >>> nc.grad.conv3d_input((1, 2, 4, 5, 6), np.ones((3, 2, 3, 3, 3)), np.ones((1, 3, 2, 3, 4))).shape
    (1, 2, 4, 5, 6)
    """
    options = Options(stride, padding, dilation, groups, algorithm, precision, data_format)
    return input_gradient(3, input_size, weight, grad_output, options, dtype, out)


def conv3d_weight(
    input: Any,
    weight_size: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
    precision: str = "standard",
    data_format: str = "NCDHW",
    dtype: Any = None,
    out: Any = None,
) -> Any:
    """Gradient of :func:`numbaconv.conv3d` with respect to its weight; replaces ``torch.nn.grad.conv3d_weight``.

    Parameters
    ----------
    input : array_like, shape (N, C, D, H, W) or (C, D, H, W)
        The convolution's input; with ``data_format`` "NDHWC", (N, D, H, W, C) or (D, H, W, C).
    weight_size : sequence of int, (F, C // groups, KD, KH, KW)
        The weight's shape.
    grad_output : array_like, of the convolution's output shape
        The gradient with respect to the output.
    stride, padding, dilation, groups, algorithm, precision, data_format, dtype, out
        As in :func:`conv2d_weight`.

    Returns
    -------
    ndarray, of shape ``weight_size``

    Raises
    ------
    ValueError, TypeError
        As in :func:`conv2d_weight`.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaconv as nc
    >>> nc.grad.conv3d_weight(np.ones((1, 2, 4, 5, 6)), (3, 2, 3, 3, 3), np.ones((1, 3, 2, 3, 4))).shape
    (3, 2, 3, 3, 3)
    """
    options = Options(stride, padding, dilation, groups, algorithm, precision, data_format)
    return weight_gradient(3, input, weight_size, grad_output, options, dtype, out)
