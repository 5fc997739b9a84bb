"""Arrays that lie on a GPU: seen without a copy, and new ones of the same library on the same device and stream."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from ..arrays import Array, check_out
from ..tensors import is_tensor, lies_on_gpu, numpy_dtype
from . import dlpack
from .launch import Device, Recording
from .shim import SIMULATED, check_driver, cuda
from .views import Memory, View

#: What the simulator pretends to be.
SIMULATED_CAPABILITY = (9, 0)
SIMULATED_MULTIPROCESSORS = 2


class Found(NamedTuple):
    """An array on a GPU."""

    view: View
    device: int
    stream: int
    writeable: bool


class Kind(NamedTuple):
    """A library of arrays on one device, and how it makes a new one."""

    name: str
    empty: Callable[[Sequence[int], np.dtype[Any]], Any]


def read(name: str, value: Any) -> Found:
    """An array on a GPU as the kernels see it.

    Raises
    ------
    TypeError
        Where it is no array on a GPU, or of a dtype or layout that kernels cannot read.
    """
    if not lies_on_gpu(value):
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise TypeError(f"{name} is a {kind} in the CPU's memory, but other arrays are on a GPU; copy it there")
    if is_tensor(value):
        return _from_torch(name, value)
    if SIMULATED:
        return _simulated(value)
    if not hasattr(value, "__cuda_array_interface__"):
        address, shape, strides, dtype, device = dlpack.read(name, value)
        return Found(_view(name, value, address, shape, strides, dtype), device, 0, True)
    described = value.__cuda_array_interface__
    if described.get("mask") is not None:
        raise TypeError(f"{name} is a masked array, whose mask a convolution would ignore")
    own = getattr(value, "dtype", None)
    dtype = own if isinstance(own, np.dtype) else np.dtype(described["typestr"])
    shape, given = tuple(described["shape"]), described.get("strides")
    strides = tuple(given) if given is not None else _contiguous(shape, dtype.itemsize)
    address, read_only = described["data"]
    view = _view(name, value, address or 0, shape, strides, dtype)
    return Found(view, _device_of(value), described.get("stream") or 0, not read_only)


def _from_torch(name: str, tensor: Any) -> Found:
    torch = sys.modules["torch"]
    if tensor.layout is not torch.strided:
        raise TypeError(f"{name} has layout {tensor.layout}, not torch.strided; pass {name}.to_dense()")
    plain = tensor
    if tensor.is_neg() or tensor.is_conj():
        if name == "out":
            raise TypeError("out is a lazily conjugated or negated tensor; pass out.resolve_conj().resolve_neg()")
        plain = tensor.detach().resolve_conj().resolve_neg()
    dtype = _torch_dtypes.get(tensor.dtype)
    if dtype is None:
        dtype = _torch_dtypes[tensor.dtype] = numpy_dtype(name, plain)
    address = plain.data_ptr()
    if address % dtype.itemsize:
        raise TypeError(f"{name} is not aligned to its elements of {dtype.itemsize} bytes (address {address})")
    view = View(Memory(address, dtype, plain, address), 0, tuple(plain.shape), plain.stride())
    number = plain.get_device()
    return Found(view, number, _torch_stream(number), True)


#: NumPy's dtypes of torch's.
_torch_dtypes: dict[Any, np.dtype[Any]] = {}


def _torch_stream(number: int) -> int:
    """The address of torch's current stream, in a tenth of the time that its Stream object takes, where torch can."""
    torch = sys.modules["torch"]
    raw = getattr(torch._C, "_cuda_getCurrentRawStream", None)
    return int(torch.cuda.current_stream(number).cuda_stream if raw is None else raw(number))


def _view(
    name: str, owner: Any, address: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype[Any]
) -> View:
    """A view from an address and strides in bytes."""
    if not dtype.isnative:
        raise TypeError(f"{name} has byte order {dtype.byteorder!r}; on a GPU arrays must have the machine's own")
    size = dtype.itemsize
    if address % size or any(stride % size for stride, n in zip(strides, shape, strict=True) if n > 1):
        raise TypeError(f"{name} is not aligned to its elements of {size} bytes (address {address}, strides {strides})")
    if 0 in shape:
        return View(Memory(address, dtype, owner, address), 0, shape, tuple(stride // size for stride in strides))
    before = sum(-stride * (n - 1) for stride, n in zip(strides, shape, strict=True) if stride < 0)
    lowest = address - before
    return View(
        Memory(lowest, dtype, owner, lowest), before // size, shape, tuple(stride // size for stride in strides)
    )


def _simulated(value: Any) -> Found:
    """The simulator's arrays are NumPy's: what a kernel takes is a flat one."""
    array = value._ary
    address = array.__array_interface__["data"][0]
    view = _view("array", array, address, array.shape, array.strides, array.dtype)
    flat = np.lib.stride_tricks.as_strided(
        array[tuple(slice(None, None, -1) if stride < 0 else slice(None) for stride in array.strides)],
        (view.reach if array.size else 0,), (array.itemsize,),
    )  # fmt: skip
    memory = Memory(type(value)(flat), array.dtype, array, view.memory.address)
    return Found(View(memory, view.start, view.shape, view.strides), 0, 0, array.flags.writeable)


def _contiguous(shape: Sequence[int], step: int) -> tuple[int, ...]:
    strides = []
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def _device_of(value: Any) -> int:
    """CUDA's number of the device that an array lies on."""
    if hasattr(value, "gpu_data"):  # Numba's
        return int(value.gpu_data.context.device.id)
    if hasattr(value, "__dlpack_device__"):
        return int(value.__dlpack_device__()[1])
    return int(cuda.get_current_device().id)


def kind_of(name: str, value: Any, device: int) -> Kind:
    """The library that an array on a GPU is of."""
    library = type(value).__module__.split(".")[0]
    if is_tensor(value):
        torch = sys.modules["torch"]
        return Kind("torch", lambda shape, dtype: torch.empty(
            tuple(shape), dtype=_of_torch(dtype), device=value.device
        ))  # fmt: skip
    if library == "numba" or hasattr(value, "__cuda_ndarray__"):
        own = sys.modules.get(f"{library}.cuda", cuda)  # of the two packages the array's own, whichever compiles
        return Kind("numba", lambda shape, dtype: _within(cuda.gpus[device], own.device_array, tuple(shape), dtype))
    if library == "cupy":
        cupy = sys.modules["cupy"]
        return Kind("cupy", lambda shape, dtype: _within(cupy.cuda.Device(device), cupy.empty, tuple(shape), dtype))
    if not hasattr(value, "__array_namespace__"):
        raise TypeError(
            f"{name} is a {type(value).__module__}.{type(value).__qualname__}, of which no new arrays can be made: it "
            "has no __array_namespace__; pass arrays of CuPy, torch or Numba, or out="
        )
    space = value.__array_namespace__()
    return Kind(space.__name__, lambda shape, dtype: space.empty(
        tuple(shape), dtype=getattr(space, dtype.name), device=value.device
    ))  # fmt: skip


@functools.cache
def _of_torch(dtype: np.dtype[Any]) -> Any:
    """The dtype of torch's that is NumPy's."""
    return getattr(sys.modules["torch"], dtype.name)


def _within(context: Any, make: Callable[..., Any], *arguments: Any) -> Any:
    with context if not SIMULATED else contextlib.nullcontext():
        return make(*arguments)


class Arrays:
    """The arrays of one call: all on one device, of one library."""

    def __init__(self, arrays: dict[str, Any], out: Any) -> None:
        check_driver()
        self.out = out
        given = {name: value for name, value in {**arrays, "out": out}.items() if value is not None}
        self._found = {name: read(name, value) for name, value in given.items()}
        name, first = next(iter(self._found.items()))
        if any(found.device != first.device for found in self._found.values()):
            raise ValueError(
                "all arrays must be on one device; "
                + ", ".join(f"{each} is on GPU {found.device}" for each, found in self._found.items())
            )
        self._kind = kind_of(name, given[name], first.device)
        if any(type(value) is not type(given[name]) for value in given.values()):
            kinds = {each: kind_of(each, value, first.device).name for each, value in given.items()}
            if len(set(kinds.values())) > 1:
                listed = ", ".join(f"{each} of {kind}" for each, kind in kinds.items())
                raise TypeError(f"arrays of different libraries do not mix: {listed}")
        capability, multiprocessors = _properties(first.device)
        self.device = Device(first.device, first.stream, capability, multiprocessors, self._fresh)
        for other in self._found.values():
            if other.stream not in (0, first.stream):
                cuda.external_stream(other.stream).synchronize()

    def __getitem__(self, name: str) -> View | None:
        found = self._found.get(name)
        return None if found is None else found.view

    def needed(self, name: str) -> View:
        """An array that was given."""
        return self._found[name].view

    def _fresh(self, elements: int, dtype: np.dtype[Any]) -> Memory:
        memory = self._memory(self._kind.empty((max(1, elements),), dtype), dtype)
        recording = self.device.recording
        if recording is not None:
            recording.memories.append(memory)
            recording.workspaces.append((elements, dtype))
        return memory

    def _memory(self, made: Any, dtype: np.dtype[Any]) -> Memory:
        """The memory of a new array."""
        if self._kind.name != "torch":
            return read("array", made).view.memory
        address = made.data_ptr()
        return Memory(address, dtype, made, address)

    def result(self, shape: tuple[int, ...], dtype: np.dtype[Any], unbatched: bool = False) -> tuple[Any, View]:
        """The array to return, ``out`` or a new one, and its view with a batch."""
        wanted = shape[1:] if unbatched else shape
        if self.out is None:
            made = self._kind.empty(wanted, dtype)
            view = read("out", made).view
        else:
            made, found = self.out, self._found["out"]
            inputs: dict[str, Array | None] = {
                name: _shadow(other) for name, other in self._found.items() if name != "out"
            }
            check_out(_shadow(found), wanted, dtype, inputs)
            view = found.view
        recording = self.device.recording
        if recording is not None:
            recording.memories = [*self._inputs(), view.memory]
            self._asked = (shape, dtype, unbatched)
        return made, view.added(0) if unbatched else view

    def _inputs(self) -> list[Memory]:
        return [found.view.memory for name, found in self._found.items() if name != "out"]

    def remembered(self, what: Any, compute: Callable[[], Any]) -> Any:
        """``compute()``, which asks for one result; or, of a call like an earlier one, what that launched.

        ``what`` tells calls apart whose arrays are alike: in all but their addresses, of which the alignment counts.
        """
        key = (
            what, self.device.number, self._kind.name,
            *((name, view.start, view.shape, view.strides, view.dtype, view.memory.address % ALIGNED)
              for name, (view, *_) in self._found.items()),
        )  # fmt: skip
        found = _calls.get(key)
        if found is not None:
            asked, recording = found
            if self.out is None:
                shape, dtype, unbatched = asked
                made = self._kind.empty(shape[1:] if unbatched else shape, dtype)
                memory = self._memory(made, dtype)
            else:
                made, view = self.result(*asked)
                memory = view.memory
            recording.repeat(self.device, [*self._inputs(), memory])
            return made
        recording = Recording()
        self.device = dataclasses.replace(self.device, recording=recording)
        result = compute()
        recording.finish()
        if len(_calls) >= CALLS_KEPT:
            _calls.clear()
        _calls[key] = self._asked, recording
        return result


#: Bytes at whose multiples memory must begin for the kernels that read most at once; new arrays do.
ALIGNED: Final = 16
#: Calls that are remembered; beyond that all are forgotten and planned again.
CALLS_KEPT: Final = 1024
#: What they asked of :meth:`Arrays.result`, and launched.
_calls: dict[Any, tuple[Any, Recording]] = {}


def _shadow(found: Found) -> Array:
    """A NumPy array at an array's address: its layout can be asked about, and its elements must not be touched."""
    view = found.view
    strides = tuple(stride * view.dtype.itemsize for stride in view.strides)
    address = view.memory.address + view.start * view.dtype.itemsize
    raw = np.dtype((np.void, view.dtype.itemsize))

    class Shadow:
        __array_interface__ = {  # noqa: RUF012
            "version": 3, "shape": view.shape, "strides": strides, "typestr": raw.str,
            "data": (address, not found.writeable),
        }  # fmt: skip

    return np.asarray(Shadow()).view(view.dtype)


@functools.cache
def _properties(number: int) -> tuple[tuple[int, int], int]:
    """A device's compute capability, and how many multiprocessors it has."""
    if SIMULATED:
        return SIMULATED_CAPABILITY, SIMULATED_MULTIPROCESSORS
    with cuda.gpus[number]:
        device = cuda.get_current_device()
        major, minor = device.compute_capability
        return (major, minor), device.MULTIPROCESSOR_COUNT
