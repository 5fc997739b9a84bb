"""Compiles kernels to machine code, and keeps it on disk for other processes. Nothing here needs a GPU.

Numba's own cache does not serve: it knows a kernel by the values that its closure holds, and those hold intrinsics,
which have another identity in each process. Here a kernel is known by its name and by what its factory was given; the
directory is that of the CPU's kernels, which is named after a hash of all sources.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import logging
import os
import pathlib
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from .. import runtime
from .shim import PACKAGE, cuda, types

log = logging.getLogger("numbaconv")

Kernel = Callable[..., None]
#: What the type of a kernel's argument follows from: ("memory", dtype), ("scalar", dtype), or (an integer's name, how
#: many there are).
Kind = tuple[str, Any]


class Binary(NamedTuple):
    """A kernel's machine code, and its name there."""

    name: str
    code: bytes


def factory(make: Callable[..., Any]) -> Any:
    """Decorate a function that makes a kernel, or a tuple of them: each is made once, and knows its arguments."""

    @functools.cache
    @functools.wraps(make)
    def made(*arguments: Any) -> Any:
        result = make(*arguments)
        for kernel in result if isinstance(result, tuple) else (result,):
            kernel.made_of = arguments
        return result

    return made


def numba_type(kind: Kind) -> Any:
    """Numba's type of an argument."""
    name, what = kind
    if name in ("memory", "scalar"):
        names = {"bool": "boolean"}
        scalar = getattr(types, names.get(what.name, what.name))
        return types.CPointer(scalar) if name == "memory" else scalar
    return types.UniTuple(getattr(types, name), what)


def launch_bounds(kernel: Kernel, capability: tuple[int, int]) -> tuple[int, int] | None:
    """(threads of a block, blocks of a multiprocessor) that a kernel asks the compiler to make room for."""
    wanted: dict[int, tuple[int, int]] = getattr(kernel, "launch_bounds", {})
    return wanted.get(capability[0])


def ptx(kernel: Kernel, kinds: Sequence[Kind], capability: tuple[int, int]) -> str:
    """A kernel's code before it is assembled."""
    signature = types.void(*map(numba_type, kinds))
    code, _ = cuda.compile_ptx(kernel, signature, cc=capability, launch_bounds=launch_bounds(kernel, capability))
    return str(code).rstrip("\0")


def assembled(code: str, capability: tuple[int, int]) -> Binary:
    """Machine code from PTX, by NVIDIA's linker, which comes with CUDA's wheels."""
    from cuda.bindings import nvjitlink

    data = code.encode()
    linker = nvjitlink.create(1, ["-arch=sm_{}{}".format(*capability)])
    try:
        nvjitlink.add_data(linker, nvjitlink.InputType.PTX, data, len(data), "kernel")
        nvjitlink.complete(linker)
        result = bytearray(nvjitlink.get_linked_cubin_size(linker))
        nvjitlink.get_linked_cubin(linker, result)
    except nvjitlink.nvJitLinkError as error:
        said = bytearray(nvjitlink.get_error_log_size(linker))
        nvjitlink.get_error_log(linker, said)
        raise RuntimeError(f"a kernel was not assembled: {error}: {said.rstrip(bytes(1)).decode()}") from None
    finally:
        nvjitlink.destroy(linker)
    return Binary(re.findall(r"\.visible \.entry ([\w$%]+)\(", code)[0], bytes(result))


@functools.cache
def _versions() -> str:
    return " ".join(f"{name} {importlib.metadata.version(name)}" for name in (PACKAGE, "numba"))


def path_of(kernel: Kernel, kinds: Sequence[Kind], capability: tuple[int, int]) -> pathlib.Path | None:
    """Where a kernel's machine code is kept; None where it is not."""
    directory = runtime.cache_directory()
    made_of = getattr(kernel, "made_of", None)
    if directory is None or (made_of is None and kernel.__closure__):  # what it was made of is not known
        return None
    names = [(name, what if isinstance(what, int) else what.name) for name, what in kinds]
    key = repr((kernel.__module__, kernel.__qualname__, made_of, names, capability, _versions()))
    return directory / f"gpu-{kernel.__name__}-{hashlib.sha256(key.encode()).hexdigest()[:32]}.bin"


def binary(kernel: Kernel, kinds: Sequence[Kind], capability: tuple[int, int]) -> Binary:
    """A kernel's machine code for a device, from the cache where it is there."""
    path = path_of(kernel, kinds, capability)
    found = None if path is None else _read(path)
    if found is None:
        found = assembled(ptx(kernel, kinds, capability), capability)
        if path is not None:
            _write(path, found)
    return found


def _read(path: pathlib.Path) -> Binary | None:
    """What a file holds: a digest of the rest, the kernel's name, and its code. A damaged one is as none."""
    with contextlib.suppress(OSError, ValueError):
        digest, content = path.read_bytes().split(b"\n", 1)
        if digest == hashlib.sha256(content).hexdigest().encode():
            name, code = content.split(b"\n", 1)
            return Binary(name.decode(), code)
    return None


def _write(path: pathlib.Path, made: Binary) -> None:
    """Keep it; other processes see the whole file or none."""
    content = made.name.encode() + b"\n" + made.code
    draft = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        draft.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
        draft.replace(path)
    except OSError as error:
        log.debug("kernel %s is not kept: %s", made.name, error)


__all__: Final = ["Binary", "Kind", "assembled", "binary", "factory", "launch_bounds", "numba_type", "path_of", "ptx"]
