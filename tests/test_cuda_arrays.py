"""What the GPU path does before any kernel: it needs neither a GPU nor, here, numba-cuda."""

import importlib.util

import numpy as np
import pytest

import numbaconv as nc
from numbaconv.cuda import dlpack
from numbaconv.cuda.views import Memory, View, channel_groups, dense, filter_groups
from numbaconv.tensors import lies_on_gpu

INSTALLED = any(importlib.util.find_spec(name) for name in ("numba_cuda", "numba_cuda_mlir"))


class OnGpu:
    """An array that says that it lies on a GPU; nothing may touch its memory."""

    def __init__(self, array):
        self.array = array
        self.shape, self.dtype = array.shape, array.dtype

    @property
    def __cuda_array_interface__(self):
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (1 << 40, False), "version": 3}


class Capsule:
    """An array that has nothing but DLPack."""

    def __init__(self, array, device=2):
        self.array = array
        self.device = device

    def __dlpack__(self, stream=None):
        assert stream == 1
        return self.array.__dlpack__()

    def __dlpack_device__(self):
        return self.device, 0


def test_arrays_on_a_gpu_are_told_apart():
    array = np.ones((2, 3))
    assert lies_on_gpu(OnGpu(array))
    assert lies_on_gpu(Capsule(array))
    for other in (array, [1.0], 1.0, None, Capsule(array, device=1)):
        assert not lies_on_gpu(other)


def test_without_package_or_driver():
    """The message says what to install, or why there is no GPU."""
    x, w = OnGpu(np.ones((1, 2, 5, 5))), OnGpu(np.ones((3, 2, 3, 3)))
    if INSTALLED:
        from numbaconv.cuda.shim import cuda

        if cuda.is_available():
            pytest.skip("there is a GPU, and these arrays are not on it")
    kind, words = (RuntimeError, "cannot use one") if INSTALLED else (ImportError, r"pip install 'numbaconv\[cuda13\]'")
    for call in (nc.conv2d, nc.conv_transpose2d, nc.explain, nc.signal.convolve2d):
        with pytest.raises(kind, match=words):
            call(x, w)


def test_arrays_do_not_move_by_themselves():
    x, w = np.ones((1, 2, 5, 5)), np.ones((3, 2, 3, 3))
    with pytest.raises(TypeError, match="input in the CPU memory, weight on a GPU"):
        nc.conv2d(x, OnGpu(w))
    with pytest.raises(TypeError, match="takes no arrays on a GPU"):
        nc.unfold(OnGpu(x), 3)
    from numbaconv.cuda import conv2d

    with pytest.raises(TypeError, match=r"numbaconv\.cuda\.conv2d takes arrays on a GPU"):
        conv2d(x, w)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float16", "float32", "complex128"])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray, lambda a: a[::2, 1:, ::-1]])
def test_dlpack(dtype, layout):
    array = layout(np.ones((4, 5, 6), dtype))
    address, shape, strides, found, device = dlpack.read("x", Capsule(array))
    assert address == array.__array_interface__["data"][0]
    assert (shape, strides, found, device) == (array.shape, array.strides, array.dtype, 0)


def seen(view, memory):
    """The elements of a view, from NumPy's flat array."""
    strides = [stride * memory.itemsize for stride in view.strides]
    return np.lib.stride_tricks.as_strided(memory[view.start :], view.shape, strides)


def test_views_are_numpys():
    flat = np.arange(2 * 6 * 4 * 5)
    view = dense(Memory(0, flat.dtype, None, 0), (2, 6, 4, 5))
    array = flat.reshape(2, 6, 4, 5)
    pairs = [
        (view, array),
        (view.cut(2, slice(1, None, 2)), array[:, :, 1::2]),
        (view.cut(3, range(3, -1, -2)), array[..., 3::-2]),
        (view.cut(1, slice(0)), array[:, :0]),
        (view.flipped(), array[::-1, ::-1, ::-1, ::-1]),
        (view.split(1, 3), array.reshape(2, 3, 2, 4, 5)),
        (view.ordered((1, 3, 0, 2)), array.transpose(1, 3, 0, 2)),
        (view.added(1), array[:, None]),
        (view.cut(1, slice(2, 3)).without(1), array[:, 2]),
        (view.cut(0, slice(0, 1)).volume(2), array[:1, :, None]),
        (channel_groups(view, 2, False), array.reshape(2, 2, 3, 1, 4, 5)),
        (channel_groups(view, 5, True), np.moveaxis(array, -1, 1).reshape(2, 5, 1, 1, 6, 4)),
        (filter_groups(view, 2), array.reshape(2, 1, 6, 1, 4, 5)),
    ]
    for got, expected in pairs:
        assert got.shape == expected.shape
        np.testing.assert_array_equal(seen(got, flat), expected)
        assert isinstance(got, View)
    assert view.cut(3, slice(1, 3)).reach == flat.size - 2
