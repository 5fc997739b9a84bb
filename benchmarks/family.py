"""The rest of the family beside torch: conv1d, conv3d, transposed convolutions, gradients, integers.

    python benchmarks/compare.py --family            # all of it, some minutes
    python benchmarks/compare.py --family conv1d --family conv_transpose2d --seconds 2

Plain calls of both, on the same arrays, in turns; every result is compared with torch's in float64 (integers exactly,
with the same arithmetic).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from peers import Array, Settings, window
from report import Table, geometric_mean, milliseconds
from suites import SUITES
from timing import TOLERANCES, Others, Runner, measure, relative_error

import numbaconv as nc

#: Convolutions in torch's names: function, input shape, weight shape, keywords.
Sizes = tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Task:
    """One call that both libraries have under the same name and arguments."""

    name: str
    function: str
    input: tuple[int, ...]
    weight: tuple[int, ...]
    keywords: dict[str, Any]
    dtype: str = "float32"

    @property
    def gradient(self) -> bool:
        return self.function.endswith(("_input", "_weight"))

    def arrays(self) -> list[Array]:
        """Input, weight and, for a gradient, that of the output: normal numbers, or small integers."""
        random = np.random.default_rng(20240229)

        def draw(shape: tuple[int, ...]) -> Array:
            if np.dtype(self.dtype).kind != "f":
                return random.integers(0, 9, shape).astype(self.dtype)
            return random.standard_normal(shape, dtype=np.float32).astype(self.dtype)

        x, weight = draw(self.input), draw(self.weight)
        if not self.gradient:
            return [x, weight]
        output = nc.explain(self.input, self.weight, **self.keywords).problem.output_shape
        return [x, weight, draw(output)]

    def call(self, library: str, arrays: list[Any]) -> Callable[[], Any]:
        """The call, ready to be timed."""
        if library == "torch":
            import torch

            module: Any = torch.nn.grad if self.gradient else torch.nn.functional
        else:
            module = nc.grad if self.gradient else nc
        function = getattr(module, self.function)
        first, second, *rest = arrays
        if self.function.endswith("_input"):
            first = tuple(first.shape)
        elif self.function.endswith("_weight"):
            second = tuple(second.shape)
        return lambda: function(first, second, *rest, **self.keywords)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _conv1d() -> Iterator[Task]:
    """WaveNet's dilated layers, wav2vec 2.0's feature encoder on a second of sound, Whisper's on 30."""
    for dilation in (1, 16, 512):
        yield Task("wavenet", "conv1d", (1, 64, 16000), (128, 64, 2), {"dilation": dilation})
    yield Task("wavenet 1x1", "conv1d", (1, 64, 16000), (64, 64, 1), {})
    yield Task("wav2vec first", "conv1d", (1, 1, 16000), (512, 1, 10), {"stride": 5})
    yield Task("wav2vec", "conv1d", (1, 512, 3199), (512, 512, 3), {"stride": 2})
    yield Task("wav2vec", "conv1d", (1, 512, 399), (512, 512, 3), {"stride": 2})
    yield Task("wav2vec", "conv1d", (1, 512, 99), (512, 512, 2), {"stride": 2})
    yield Task("whisper first", "conv1d", (1, 80, 3000), (384, 80, 3), {"padding": 1})
    yield Task("whisper", "conv1d", (1, 384, 3000), (384, 384, 3), {"padding": 1, "stride": 2})


def _conv3d() -> Iterator[Task]:
    """3x3x3, 32 to 64 channels, 16 frames of 56x56."""
    for channels, filters in ((32, 32), (32, 64), (64, 64)):
        yield Task("video", "conv3d", (1, channels, 16, 56, 56), (filters, channels, 3, 3, 3), {"padding": 1})
    yield Task("video strided", "conv3d", (1, 64, 16, 56, 56), (64, 64, 3, 3, 3), {"padding": 1, "stride": 2})


def _conv_transpose2d() -> Iterator[Task]:
    """DCGAN's generator and U-Net's up-sampling."""
    yield Task("dcgan first", "conv_transpose2d", (1, 100, 1, 1), (100, 512, 4, 4), {})
    for batch in (1, 16):
        for channels, size in ((512, 4), (256, 8), (128, 16)):
            shapes = (batch, channels, size, size), (channels, channels // 2, 4, 4)
            yield Task("dcgan", "conv_transpose2d", *shapes, {"stride": 2, "padding": 1})
        shapes = (batch, 64, 32, 32), (64, 3, 4, 4)
        yield Task("dcgan last", "conv_transpose2d", *shapes, {"stride": 2, "padding": 1})
    for channels, size in ((1024, 14), (512, 28), (256, 56), (128, 112)):
        shapes = (1, channels, size, size), (channels, channels // 2, 2, 2)
        yield Task("u-net", "conv_transpose2d", *shapes, {"stride": 2})


def _gradient(function: str) -> Iterator[Task]:
    """Every distinct layer of ResNet-50."""
    for layer in SUITES["resnet50"]:
        yield Task(layer.name, function, layer.input_shape, layer.weight_shape, window(layer))


def _dtypes() -> Iterator[Task]:
    """What is not float32, where torch has it."""
    shapes = (1, 64, 56, 56), (64, 64, 3, 3)
    for dtype in ("float64", "int8", "int16", "int32", "int64", "uint8"):
        yield Task(f"3x3 {dtype}", "conv2d", *shapes, {"padding": 1}, dtype)
        yield Task(f"1x1 {dtype}", "conv2d", (1, 256, 28, 28), (256, 256, 1, 1), {}, dtype)


FAMILY: Final[dict[str, tuple[Task, ...]]] = {
    "conv1d": tuple(_conv1d()),
    "conv3d": tuple(_conv3d()),
    "conv_transpose2d": tuple(_conv_transpose2d()),
    "conv2d_input": tuple(_gradient("conv2d_input")),
    "conv2d_weight": tuple(_gradient("conv2d_weight")),
    "dtypes": tuple(_dtypes()),
}


def wrong(task: Task, name: str, result: Any, expected: Array) -> str | None:
    """What is wrong with a result, or None."""
    error = relative_error(np.asarray(result).astype(expected.dtype), expected)
    allowed = 0.0 if expected.dtype.kind != "f" else TOLERANCES[task.dtype][1]
    return None if error <= allowed else f"WRONG RESULT: {name}: {task.name}: relative error {error:.1e}"


def compare(suite: str, settings: Settings, rounds: int, seconds: float, text: str) -> tuple[Table, list[str]]:
    """Measure one suite; what was wrong comes with the table."""
    import torch

    rows, ratios, complaints, meanwhile = [], [], [], Others()
    for task in FAMILY[suite]:
        sizes = f"{_shape(task.input)}, {_shape(task.weight)}"
        sizes += "".join(f" {name[0]}{value}" for name, value in task.keywords.items() if value not in (0, 1))
        if text.lower() not in f"{suite} {task.name} {sizes}".lower():
            continue
        arrays = task.arrays()
        tensors = [torch.from_numpy(array) for array in arrays]
        ours, theirs = task.call("numbaconv", arrays), task.call("torch", tensors)
        exact = task.call("torch", [tensor.double() if tensor.is_floating_point() else tensor for tensor in tensors])()
        expected = exact.numpy()
        found = [wrong(task, "numbaconv", ours(), expected), wrong(task, "torch", theirs().numpy(), expected)]
        complaints += filter(None, found)
        runners = [Runner(ours), Runner(theirs)]
        measure(runners, rounds, seconds)
        mine, other = (runner.minimum for runner in runners)
        ratios.append(other / mine)
        rows.append([task.name, sizes, milliseconds(mine), milliseconds(other), f"{other / mine:.2f}"])
    if ratios:
        rows.append(["geometric mean", "", "", "", f"{geometric_mean(ratios):.2f}"])
        rows.append(["worst", "", "", "", f"{min(ratios):.2f}"])
    title = f"{suite}, plain calls beside torch {torch.__version__}, {settings.threads} threads{meanwhile.remark()}"
    return Table(title, ["layer", "sizes", "ours ms", "torch ms", "torch / ours"], rows, left=2), complaints
