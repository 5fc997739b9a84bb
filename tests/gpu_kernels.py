"""Compiles the GPU path's kernels without a GPU, and reads from the machine code what they take.

``compile_one`` runs in a process of its own pool: Numba, NVVM, NVIDIA's linker and cuobjdump, as for a device of a
compute capability. Nothing runs.
"""

import itertools
import os
import pathlib
import re
import shutil
import subprocess
import sysconfig
import tempfile
from typing import NamedTuple

import numpy as np

#: A100, RTX 30, H100, B200, RTX 50.
CAPABILITIES = ((8, 0), (8, 6), (9, 0), (10, 0), (12, 0))
SLOTS = ("uint32", 52)


def memory(name):
    if name == "bfloat16":
        import ml_dtypes

        return "memory", np.dtype(ml_dtypes.bfloat16)
    return "memory", np.dtype(name)


def scalar(name):
    return "scalar", np.dtype(name)


class Expected(NamedTuple):
    """A kernel: how to get it, its arguments, the most registers, and how many of some instructions it has at least."""

    kernel: tuple
    arguments: tuple
    registers: int
    instructions: dict


def direct(dtype, sums, registers):
    arguments = (*[memory(dtype)] * 4, *[scalar(sums)] * 2, ("int64", 52))
    return Expected(("direct", "convolve"), arguments, registers, {})


def gemm(rows, vectors, side_by_side):
    arguments = (*[memory("float32")] * 4, memory("int32"), *[scalar("uint32")] * 2, SLOTS)
    # A step of 8 rows: rows * 8 * 8 products; per row, rows / 4 + 2 loads of four from shared memory.
    instructions = {"FFMA": 64 * rows, "LDS.128": 8 * (rows // 4 + 2)}
    if vectors:
        instructions["LDG.E.128"] = 6  # twice: taps, channels, weights
    if side_by_side:
        instructions["STG.E.128"] = 2 * rows
    return Expected(
        ("gemm", "convolve", rows, vectors, side_by_side), arguments, 128 if rows == 8 else 80, instructions
    )


def depthwise(rows, dtype, kernel=(0, 0), stride=1):
    taps = kernel[0] * kernel[1] or 2
    path = ("depthwise", "convolve", rows, kernel, stride)
    return Expected(path, (*[memory(dtype)] * 4, SLOTS), {25: 96, 49: 160}.get(taps, 80), {"FFMA": taps * rows})


def tensor(kind, dtype, filters=128, pairs=False):
    arguments = (*[memory(dtype)] * 4, memory("int32"), *[scalar("uint32")] * 2, SLOTS)
    # Two halves of a stage: 4 by filters / 16 products, 4 and filters / 32 loads; stages are fetched at two places.
    instructions = {"HMMA": filters // 2, "LDSM": 2 * (4 + filters // 32), "LDGSTS": 2 * (4 + filters // 32)}
    registers = 255 if filters == 128 else 168 if kind == "tf32" else 128
    return Expected(("tensor", "convolve", kind, filters, pairs), arguments, registers, instructions)


def winograd(m, name, arguments, registers, fours=False):
    return Expected(("winograd", "transforms_of", m, fours, name), arguments, registers, {"STG.E.128": m * fours})


def transforms(m, registers):
    f32, u32 = memory("float32"), scalar("uint32")
    more = {}
    if m == 4:
        more["winograd 4 output fours"] = winograd(m, "output", (f32, f32, f32, *[u32] * 3, SLOTS), registers, True)
    return {
        **more,
        f"winograd {m} weight": winograd(m, "weight", (f32, f32, u32, u32, SLOTS), registers),
        f"winograd {m} input": winograd(m, "input", (f32, f32, *[u32] * 4, SLOTS), registers),
        f"winograd {m} output": winograd(m, "output", (f32, f32, f32, *[u32] * 3, SLOTS), registers),
    }


def copy(dtype, turned):
    return Expected(("copy", "copy", turned), (memory(dtype), memory(dtype), ("uint32", 26)), 64, {})


def added(dtype):
    return Expected(("parts", "added"), (memory("float32"), memory(dtype), memory(dtype), ("uint32", 37)), 64, {})


KERNELS = {
    "direct float32": direct("float32", "float32", 96),
    "direct float64": direct("float64", "float64", 96),
    "direct uint8": direct("uint8", "int64", 96),
    "direct int64": direct("int64", "int64", 96),
    "direct bool": direct("bool", "int64", 96),
    "direct complex64": direct("complex64", "complex64", 96),
    "direct complex128": direct("complex128", "complex128", 112),
    "direct float16": direct("float16", "float32", 96),
    "direct bfloat16": direct("bfloat16", "float32", 96),
    "copy float32": copy("float32", False),
    "copy turned float32": copy("float32", True),
    "copy turned bfloat16": copy("bfloat16", True),
    "added float32": added("float32"),
    "added float16": added("float16"),
    "gemm 8 pixels": gemm(8, False, "pixels"),
    "gemm 8 vectors": gemm(8, True, ""),
    "gemm 8 vectors filters": gemm(8, True, "filters"),
    "gemm 4": gemm(4, False, ""),
    "gemm 4 pixels": gemm(4, False, "pixels"),
    "gemm 4 vectors": gemm(4, True, ""),
    "gemm 4 vectors filters": gemm(4, True, "filters"),
    "depthwise 4": depthwise(4, "float32"),
    "depthwise 8": depthwise(8, "float32"),
    "depthwise 4 float16": depthwise(4, "float16"),
    "depthwise 8 of 3x3": depthwise(8, "float32", (3, 3)),
    "depthwise 4 of 3x3 s2": depthwise(4, "float32", (3, 3), 2),
    "depthwise 8 of 5x5 float16": depthwise(8, "float16", (5, 5)),
    "depthwise 8 of 7x7": depthwise(8, "float32", (7, 7)),
    "tensor float16": tensor("f16", "float16"),
    "tensor bfloat16": tensor("bf16", "bfloat16"),
    "tensor TF32": tensor("tf32", "float32"),
    "tensor float16 pairs": tensor("f16", "float16", 128, True),
    "tensor float16 64 pairs": tensor("f16", "float16", 64, True),
    "tensor bfloat16 64 pairs": tensor("bf16", "bfloat16", 64, True),
    "tensor TF32 64": tensor("tf32", "float32", 64),
    **transforms(2, 64),
    **transforms(4, 104),
}


def tools():
    """The folder of cuobjdump and nvdisasm, from NVIDIA's wheels or the PATH; None where one is missing."""
    names = ("cuobjdump", "nvdisasm")
    folders = sorted(pathlib.Path(sysconfig.get_path("purelib"), "nvidia").glob("*/bin"))
    for folder in folders:
        if all((folder / name).exists() for name in names):
            return str(folder)
    found = shutil.which("cuobjdump")
    return str(pathlib.Path(found).parent) if found and all(map(shutil.which, names)) else None


def kernel_of(path):
    """A kernel from its module's name, its name, the arguments of its factory, and what of the result it is."""
    import importlib

    module, name, *arguments = path
    found = getattr(importlib.import_module(f"numbaconv.cuda.kernels.{module}"), name)
    if module == "winograd":
        return getattr(found(*arguments[:2]), arguments[2])
    return found(*arguments) if arguments or hasattr(found, "cache_info") else found


def argument(kind):
    """An argument of a kind, as the algorithms pass it."""
    from numbaconv.cuda.launch import Integers
    from numbaconv.cuda.views import Memory

    name, what = kind
    if name == "memory":
        return Memory(1 << 40, what, None, 1 << 40)
    return what.type(1) if name == "scalar" else Integers((1,) * what, name)


def parameters(kind):
    """The bytes of each parameter that the kernel must declare for an argument of a kind."""
    from numbaconv.cuda import shim

    name, what = kind
    if name == "memory":
        return [8]
    if name == "scalar":
        pair = what.kind == "c" and shim.PACKAGE == "numba-cuda"
        return [what.itemsize // 2] * 2 if pair else [what.itemsize]
    return [np.dtype(name).itemsize] * what


def pretend(capability):
    """Let the package believe in a device of a compute capability: it asks for the current one when it compiles."""
    from numbaconv.cuda import shim

    class Device:
        compute_capability = capability

    if shim.PACKAGE == "numba-cuda":
        import numba.cuda.dispatcher

        numba.cuda.dispatcher.get_current_device = lambda: Device
    else:
        import numba_cuda_mlir.tools

        numba_cuda_mlir.tools._cached_cc = capability


def compile_one(name, capability):
    """(name, capability, what cuobjdump says of the kernel)."""
    from numbaconv.cuda import compiling
    from numbaconv.cuda.launch import slots

    pretend(capability)
    expected = KERNELS[name]
    code = compiling.ptx(kernel_of(expected.kernel), expected.arguments, capability)
    made = compiling.assembled(code, capability)
    folder = tools()
    with tempfile.TemporaryDirectory() as work:
        path = pathlib.Path(work, "kernel.cubin")
        path.write_bytes(made.code)
        listing = subprocess.run(
            [pathlib.Path(folder, "cuobjdump"), "-sass", "-res-usage", path],
            capture_output=True, text=True, check=True,
            env={**os.environ, "PATH": os.pathsep.join([folder, os.environ["PATH"]])},
        ).stdout  # fmt: skip
    listed = code[code.index(".visible .entry") :].partition(")")[0]
    found = re.findall(r"\.param (?:\.align \d+ )?\.[a-z](\d+)[^,\[]*(?:\[(\d+)\])?", listed)
    declared = [int(bits) // 8 * int(count or 1) for bits, count in found]
    passed = sum(len(slots(argument(kind))) for kind in expected.arguments)
    usage = re.search(rf"Function {re.escape(made.name)}:\s+REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", listing)
    registers, stack, local = map(int, usage.groups())
    measured = {
        "parameters": declared == list(itertools.chain(*map(parameters, expected.arguments)))
        and passed == len(declared),
        "stack": stack,
        "local": local,
        "spills": len(re.findall(r"\b(?:LDL|STL)\b", listing)),
        "registers": registers,
        # What the code declares: the device keeps some more for itself.
        "shared": sum(map(int, re.findall(r"\.shared .*\[(\d+)\];", code))),
    }
    for instruction in ("FFMA", "LDS.128", "LDG.E.128", "STG.E.128", "HMMA", "LDSM", "LDGSTS"):
        measured[instruction] = len(re.findall(rf"\b{re.escape(instruction)}\b", listing))
    return name, capability, measured


def attempt(name, capability):
    """:func:`compile_one`, or what went wrong, so that one kernel does not hide the others."""
    try:
        return compile_one(name, capability)
    except Exception as error:
        return name, capability, {"error": f"{type(error).__name__}: {error}"}


def table(results):
    """What was measured, as a table in Markdown."""
    lines = ["| kernel | " + " | ".join("sm_{}{}".format(*each) for each in CAPABILITIES) + " |"]
    lines.append("|---" * (1 + len(CAPABILITIES)) + "|")
    for name in KERNELS:
        cells = [str(results.get((name, each), {}).get("registers", "-")) for each in CAPABILITIES]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
