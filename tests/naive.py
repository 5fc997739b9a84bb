"""The references: a convolution as its definition reads, and one assembled from SciPy. Both sum in float64.

Both take the arguments of ``numbaconv.conv2d`` by the same names. They are meant to be read, so they work out paddings
and sizes by themselves, in their own words: what they share with the package is the definition of a convolution, not a
line of code.
"""

import functools

import numpy as np
import scipy.signal

#: What NumPy calls each padding mode.
NUMPY_MODES = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
    "symmetric": "symmetric",
}


def per_dimension(value, ndim):
    """One integer for each of ``ndim`` dimensions."""
    values = np.atleast_1d(value).tolist()
    return values * ndim if len(values) == 1 else values


def padding_pairs(padding, input_size, kernel_size, stride, dilation):
    """(before, after) for each dimension, from any form of the argument ``padding``."""
    if not isinstance(padding, str):
        sides = list(padding) if isinstance(padding, (tuple, list)) else [padding]
        if len(sides) == 1:
            sides *= len(input_size)
        return [(side, side) if np.ndim(side) == 0 else tuple(side) for side in sides]
    pairs = []
    for size, kernel, step, spread in zip(input_size, kernel_size, stride, dilation, strict=True):
        last_read = (int(np.ceil(size / step)) - 1) * step + (kernel - 1) * spread
        total = 0 if padding == "valid" else max(0, last_read + 1 - size)
        smaller_first = (total // 2, total - total // 2)
        pairs.append(smaller_first[::-1] if padding == "same_lower" else smaller_first)
    return pairs


def padded(x, pairs, padding_mode):
    """Input (batch, channels, *size) with cells added around its spatial dimensions."""
    return np.pad(np.asarray(x, np.float64), [(0, 0), (0, 0), *pairs], NUMPY_MODES[padding_mode])


def conv2d_loops(x, w, bias=None, *, stride=1, padding=0, dilation=1, groups=1, padding_mode="zeros"):
    """Convolve with plain loops: for every output (n, f, oh, ow), sum over every input channel and tap (c, kh, kw)."""
    filters, group_channels, kernel_height, kernel_width = w.shape
    stride_h, stride_w = per_dimension(stride, 2)
    dilation_h, dilation_w = per_dimension(dilation, 2)
    pairs = padding_pairs(padding, x.shape[2:], w.shape[2:], (stride_h, stride_w), (dilation_h, dilation_w))
    x = padded(x, pairs, padding_mode)
    batch, _, height, width = x.shape
    out_height = (height - dilation_h * (kernel_height - 1) - 1) // stride_h + 1
    out_width = (width - dilation_w * (kernel_width - 1) - 1) // stride_w + 1
    out = np.empty((batch, filters, out_height, out_width))
    for n in range(batch):
        for f in range(filters):
            group = f // (filters // groups)
            for oh in range(out_height):
                for ow in range(out_width):
                    total = 0.0 if bias is None else float(bias[f])
                    for c in range(group_channels):
                        for kh in range(kernel_height):
                            for kw in range(kernel_width):
                                row = oh * stride_h + kh * dilation_h
                                column = ow * stride_w + kw * dilation_w
                                total += x[n, group * group_channels + c, row, column] * float(w[f, c, kh, kw])
                    out[n, f, oh, ow] = total
    return out


def scipy_reference(
    x,
    w,
    bias=None,
    *,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    padding_mode="zeros",
    data_format=None,
    activation=None,
):
    """Convolve in any number of dimensions, channel by channel, with ``scipy.signal.correlate``.

    SciPy knows neither stride nor dilation: the kernel is dilated by writing it into zeros, and of the outputs at
    stride 1 only every stride-th is kept.
    """
    ndim = w.ndim - 2
    channels_last = data_format is not None and data_format.endswith("C")
    if channels_last:
        x = np.moveaxis(x, -1, 1)
    stride, dilation = per_dimension(stride, ndim), per_dimension(dilation, ndim)
    x = padded(x, padding_pairs(padding, x.shape[2:], w.shape[2:], stride, dilation), padding_mode)
    filters, group_channels, *kernel = w.shape
    dilated = np.zeros((filters, group_channels, *[(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]))
    dilated[(..., *[slice(None, None, d) for d in dilation])] = w
    dense = [size - reach + 1 for size, reach in zip(x.shape[2:], dilated.shape[2:], strict=True)]
    out = np.zeros((x.shape[0], filters, *dense))
    # The same sums, five times faster.
    correlate = scipy.signal.correlate2d if ndim == 2 else functools.partial(scipy.signal.correlate, method="direct")
    for n, f, c in np.ndindex(x.shape[0], filters, group_channels):
        channel = f // (filters // groups) * group_channels + c
        out[n, f] += correlate(x[n, channel], dilated[f, c], mode="valid")
    out = out[(..., *[slice(None, None, s) for s in stride])]
    if bias is not None:
        out = out + np.reshape(bias, (-1, *[1] * ndim))
    if activation == "relu":
        out = np.where(out < 0, 0, out)
    return np.moveaxis(out, 1, -1) if channels_last else out


def taps(kernel_size):
    """The indices of every tap of a kernel."""
    return np.ndindex(*kernel_size)


def under_tap(tap, outputs, stride, dilation):
    """The padded input cells that lie under one tap, for all outputs."""
    return tuple(
        slice(t * d, t * d + (n - 1) * s + 1, s) for t, n, s, d in zip(tap, outputs, stride, dilation, strict=True)
    )


def transposed_reference(
    x,
    w,
    bias=None,
    *,
    stride=1,
    padding=0,
    output_padding=0,
    groups=1,
    dilation=1,
    data_format=None,
    activation=None,
    dtype=np.float64,
):
    """Spread every input cell through the filters, tap by tap, onto a result as large as all of them reach; cut it."""
    ndim = w.ndim - 2
    channels_last = data_format is not None and data_format.endswith("C")
    x, w = np.asarray(np.moveaxis(x, -1, 1) if channels_last else x, dtype), np.asarray(w, dtype)
    stride, dilation, extra = (per_dimension(value, ndim) for value in (stride, dilation, output_padding))
    pairs = padding_pairs(padding, x.shape[2:], w.shape[2:], stride, dilation)
    size = [
        (n - 1) * s + d * (k - 1) + 1 + more
        for n, s, d, k, more in zip(x.shape[2:], stride, dilation, w.shape[2:], extra, strict=True)
    ]
    batch, channels, *inputs = x.shape
    x = x.reshape(batch, groups, channels // groups, *inputs)
    filters = w.shape[1]
    w = w.reshape(groups, channels // groups, *w.shape[1:])
    out = np.zeros((batch, groups, filters, *size), dtype)
    for tap in taps(w.shape[3:]):
        spread = np.einsum("ngc...,gcf->ngf...", x, w[(slice(None),) * 3 + tap])
        out[(..., *under_tap(tap, inputs, stride, dilation))] += spread
    out = out.reshape(batch, groups * filters, *size)
    out = out[(..., *[slice(before, n - after) for (before, after), n in zip(pairs, size, strict=True)])]
    if bias is not None:
        out = out + np.reshape(bias, (-1, *[1] * ndim)).astype(dtype)
    if activation == "relu":
        out = np.where(out < 0, 0, out)
    return np.moveaxis(out, 1, -1) if channels_last else out


def tap_reference(
    x,
    w,
    bias=None,
    *,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    padding_mode="zeros",
    data_format=None,
    activation=None,
    dtype=np.float64,
):
    """Convolve tap by tap in NumPy's arithmetic of any dtype: integers wrap around, booleans are "and" and "or"."""
    ndim = w.ndim - 2
    channels_last = data_format is not None and data_format.endswith("C")
    x, w = np.moveaxis(x, -1, 1) if channels_last else x, w.astype(dtype)
    stride, dilation = per_dimension(stride, ndim), per_dimension(dilation, ndim)
    pairs = padding_pairs(padding, x.shape[2:], w.shape[2:], stride, dilation)
    x = np.pad(x.astype(dtype), [(0, 0), (0, 0), *pairs], NUMPY_MODES[padding_mode])
    size = [
        (n - d * (k - 1) - 1) // s + 1 for n, s, d, k in zip(x.shape[2:], stride, dilation, w.shape[2:], strict=True)
    ]
    filters, channels = w.shape[:2]
    x = x.reshape(x.shape[0], groups, channels, *x.shape[2:])
    w = w.reshape(groups, filters // groups, *w.shape[1:])
    out = np.zeros((x.shape[0], groups, filters // groups, *size), dtype)
    for tap in taps(w.shape[3:]):
        seen = x[(..., *under_tap(tap, size, stride, dilation))]
        out += np.einsum("ngc...,gfc->ngf...", seen, w[(slice(None),) * 3 + tap])
    out = out.reshape(x.shape[0], filters, *size)
    if bias is not None:
        out = out + np.reshape(bias, (-1, *[1] * ndim)).astype(dtype)
    if activation == "relu":
        out = np.where(out < 0, out.dtype.type(0), out)
    return np.moveaxis(out, 1, -1) if channels_last else out


def weight_gradient_reference(
    x, weight_shape, g, *, stride=1, padding=0, dilation=1, groups=1, data_format=None, dtype=np.float64
):
    """The sum over images and outputs of what each tap sees times the gradient there."""
    ndim = len(weight_shape) - 2
    if data_format is not None and data_format.endswith("C"):
        x, g = np.moveaxis(x, -1, 1), np.moveaxis(g, -1, 1)
    stride, dilation = per_dimension(stride, ndim), per_dimension(dilation, ndim)
    pairs = padding_pairs(padding, x.shape[2:], weight_shape[2:], stride, dilation)
    x = np.pad(x.astype(dtype), [(0, 0), (0, 0), *pairs])
    g = g.astype(dtype).reshape(g.shape[0], groups, weight_shape[0] // groups, *g.shape[2:])
    x = x.reshape(x.shape[0], groups, weight_shape[1], *x.shape[2:])
    out = np.zeros((groups, *g.shape[2:3], *weight_shape[1:]), dtype)
    for tap in taps(weight_shape[2:]):
        seen = x[(..., *under_tap(tap, g.shape[3:], stride, dilation))]
        axes = "xyz"[:ndim]
        out[(..., *tap)] = np.einsum(f"ngf{axes},ngc{axes}->gfc", g, seen)
    return out.reshape(weight_shape)
