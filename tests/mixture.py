"""Calls of every kind, large enough for several threads; for tests that make them from threads and processes."""

import numpy as np

import numbaconv as nc


def calls():
    """Functions without arguments, each of which returns an array."""
    random = np.random.default_rng(0)

    def normal(*shape):
        return random.normal(size=shape).astype(np.float32)

    x, w, deep = normal(1, 16, 60, 60), normal(24, 16, 3, 3), normal(1, 24, 60, 60)
    image, taps, row = normal(600, 600), normal(5, 5), np.hanning(19)[1:-1].astype(np.float32)
    layer = nc.Conv2d.from_weight(w, padding=1)
    return [
        lambda: nc.conv2d(x, w, algorithm="direct_channels"),
        lambda: nc.conv2d(x, w, algorithm="direct_pixels"),
        lambda: nc.conv2d(x, w, algorithm="im2col"),
        lambda: nc.conv2d(x, w, algorithm="winograd"),
        lambda: nc.conv2d(x, normal_depthwise, groups=16),
        lambda: layer(x),
        lambda: nc.conv_transpose2d(deep, w, stride=2),
        lambda: nc.grad.conv2d_weight(x, w.shape, deep, padding=1),
        lambda: nc.signal.convolve2d(image, taps, "same"),
        lambda: nc.signal.convolve2d(image, np.outer(row, row)),
        lambda: nc.ndimage.convolve(image, taps),
        lambda: nc.conv2d(x[:, :, :6, :6], w),
    ]


normal_depthwise = np.random.default_rng(1).normal(size=(16, 1, 5, 5)).astype(np.float32)


def results(_=None):
    """All of them as bytes: which thread computes a value does not change it."""
    return [call().tobytes() for call in calls()]
