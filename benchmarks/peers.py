"""The contestants of ``compare.py``: numbaconv and the libraries beside it, each ready to compute one layer.

All of them get the same NumPy arrays beforehand, converted to their own kind, and keep their defaults except for

- the number of threads;
- OpenVINO's ``INFERENCE_PRECISION_HINT=f32``: where the CPU has bfloat16 instructions it would round to bfloat16;
- what makes a peer faster at no cost to its user: torch runs in inference mode, OpenVINO shares input and output
  memory instead of copying, "channels last" gets its arrays in that order (the conversion is not timed).

"Prepared" contestants have seen the weights before the clock starts (a session, a compiled model, a layer object);
"plain" ones are function calls that get the weights like any other argument.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from suites import Layer, Pair

import numbaconv
from numbaconv.planner import choose

Array = npt.NDArray[Any]


class Unsupported(Exception):  # noqa: N818 - it is an answer, not an error
    """This contestant cannot compute this layer; the message says why."""


class Settings(NamedTuple):
    """What the command line asks of every contestant."""

    dtype: str = "float32"
    threads: int = 2
    algorithm: str = "auto"
    precision: str = "standard"

    @property
    def own(self) -> dict[str, str]:
        """The keywords of our own calls, without those that are defaults."""
        chosen = {"algorithm": self.algorithm, "precision": self.precision}
        return {name: value for name, value in chosen.items() if value not in ("auto", "standard")}


class Arrays(NamedTuple):
    """A layer's data, in the benchmark's dtype: NCHW, (F, C / groups, KH, KW) and (F,)."""

    x: Array
    weight: Array
    bias: Array


class Ready(NamedTuple):
    """A contestant that has been built for one layer; ``algorithm`` is known of our own only."""

    call: Callable[[], Any]
    nchw: Callable[[Any], Array]
    algorithm: str | None = None


@dataclasses.dataclass(frozen=True)
class Contestant:
    """How to build one way of computing a layer."""

    name: str
    library: str
    kind: str
    build: Callable[[Layer, Arrays, Settings], Ready]

    @property
    def ours(self) -> bool:
        return self.library == "numbaconv"


def make_arrays(layer: Layer, dtype: str) -> Arrays:
    """Normal data; the weights are scaled so that outputs are of the order of 1."""
    random = np.random.default_rng(20240229)
    x = random.standard_normal(layer.input_shape).astype(dtype)
    weight = (random.standard_normal(layer.weight_shape) / np.sqrt(layer.depth)).astype(dtype)
    return Arrays(x, weight, random.standard_normal(layer.filters).astype(dtype))


def short(pair: Pair) -> int | Pair:
    """One number where both are equal, as one would write it."""
    return pair[0] if pair[0] == pair[1] else pair


def window(layer: Layer) -> dict[str, Any]:
    """The keywords that torch and numbaconv share."""
    return {
        "stride": short(layer.stride),
        "padding": short(layer.padding),
        "dilation": short(layer.dilation),
        "groups": layer.groups,
    }


# ---------------------------------------------------------------------------------------------- numbaconv


def _numbaconv_plain(layer: Layer, arrays: Arrays, settings: Settings) -> Ready:
    x, weight, bias = arrays
    conv2d, keywords = numbaconv.conv2d, window(layer) | settings.own
    return Ready(lambda: conv2d(x, weight, bias, **keywords), np.asarray, _algorithm(layer, settings))


def _numbaconv_nhwc(layer: Layer, arrays: Arrays, settings: Settings) -> Ready:
    _, weight, bias = arrays
    x = np.ascontiguousarray(arrays.x.transpose(0, 2, 3, 1))
    conv2d, keywords = numbaconv.conv2d, window(layer) | settings.own | {"data_format": "NHWC"}
    algorithm = _algorithm(layer, settings, data_format="NHWC")
    return Ready(lambda: conv2d(x, weight, bias, **keywords), lambda y: y.transpose(0, 3, 1, 2), algorithm)


def _numbaconv_layer(layer: Layer, arrays: Arrays, settings: Settings) -> Ready:
    x, weight, bias = arrays
    algorithm = _algorithm(layer, settings, packed=True)
    module = importlib.import_module("numbaconv.nn")
    prepared = module.Conv2d.from_weight(weight, bias, **window(layer), **settings.own)
    return Ready(lambda: prepared(x), np.asarray, algorithm)


def _algorithm(layer: Layer, settings: Settings, data_format: str = "NCHW", packed: bool = False) -> str:
    """The algorithm of our call; :class:`Unsupported` where a forced one cannot serve the layer."""
    batch, channels, *size = layer.input_shape
    shape = (batch, channels, *size) if data_format == "NCHW" else (batch, *size, channels)
    x, weight = (np.broadcast_to(np.dtype(settings.dtype).type(0), sizes) for sizes in (shape, layer.weight_shape))
    keywords = window(layer) | settings.own | {"data_format": data_format}
    try:
        plan = numbaconv.explain(x, weight, None, **keywords)
    except ValueError as reason:
        raise Unsupported(str(reason)) from reason
    if packed:  # a layer's plan does not count the packing of weights
        plan = choose(plan.problem, settings.algorithm, settings.precision, packed=True)
    return plan.algorithm


# -------------------------------------------------------------------------------------------------- torch


def _torch(layer: Layer, arrays: Arrays, channels_last: bool, prepared: bool) -> Ready:
    import torch

    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    x, weight = (torch.from_numpy(array).to(memory_format=memory_format) for array in arrays[:2])
    bias, keywords = torch.from_numpy(arrays.bias), window(layer)
    if not prepared:
        conv2d = torch.nn.functional.conv2d
        return Ready(lambda: conv2d(x, weight, bias, **keywords), _from_torch)
    module = torch.nn.Conv2d(layer.channels, layer.filters, layer.kernel, dtype=x.dtype, **keywords).eval()
    module.weight.copy_(weight)
    module.bias.copy_(bias)
    module = module.to(memory_format=memory_format)
    return Ready(lambda: module(x), _from_torch)


def _from_torch(y: Any) -> Array:
    array: Array = y.contiguous().numpy()
    return array


def _torch_builder(channels_last: bool, prepared: bool) -> Callable[[Layer, Arrays, Settings], Ready]:
    return lambda layer, arrays, _settings: _torch(layer, arrays, channels_last, prepared)


# ------------------------------------------------------------------------------- ONNX Runtime, OpenVINO, JAX


def _onnxruntime(layer: Layer, arrays: Arrays, settings: Settings) -> Ready:
    import onnx
    import onnxruntime

    pads, helper = layer.padding, onnx.helper
    node = helper.make_node(
        "Conv", ["x", "w", "b"], ["y"], kernel_shape=layer.kernel, strides=layer.stride, dilations=layer.dilation,
        pads=[*pads, *pads], group=layer.groups,
    )  # fmt: skip
    of_type = helper.np_dtype_to_tensor_dtype(arrays.x.dtype)
    constants = [onnx.numpy_helper.from_array(arrays.weight, "w"), onnx.numpy_helper.from_array(arrays.bias, "b")]
    graph = helper.make_graph(
        [node],
        "conv",
        [helper.make_tensor_value_info("x", of_type, layer.input_shape)],
        [helper.make_tensor_value_info("y", of_type, layer.output_shape)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = settings.threads, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    run, feeds = session.run, {"x": arrays.x}
    return Ready(lambda: run(None, feeds), lambda outputs: outputs[0])


def _openvino(layer: Layer, arrays: Arrays, settings: Settings) -> Ready:
    import openvino

    ops = importlib.import_module("openvino.opset13")
    x, weight, bias = arrays
    parameter = ops.parameter(layer.input_shape, x.dtype)
    where = (layer.stride, layer.padding, layer.padding, layer.dilation)
    if layer.groups == 1:
        y = ops.convolution(parameter, ops.constant(weight), *where)
    else:
        split = weight.reshape(layer.groups, -1, *weight.shape[1:])
        y = ops.group_convolution(parameter, ops.constant(split), *where)
    y = ops.add(y, ops.constant(bias.reshape(1, -1, 1, 1)))
    config = {"INFERENCE_NUM_THREADS": settings.threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(openvino.Model([y], [parameter], "conv"), "CPU", config)
    infer, feeds = compiled.create_infer_request().infer, {0: x}
    return Ready(lambda: infer(feeds, share_inputs=True, share_outputs=True), lambda outputs: np.array(outputs[0]))


def _jax(layer: Layer, arrays: Arrays, _settings: Settings) -> Ready:
    import jax

    pads = [(before, before) for before in layer.padding]

    def convolution(x: Any, weight: Any, bias: Any) -> Any:
        y = jax.lax.conv_general_dilated(
            x, weight, layer.stride, pads, rhs_dilation=layer.dilation, dimension_numbers=("NCHW", "OIHW", "NCHW"),
            feature_group_count=layer.groups,
        )  # fmt: skip
        return y + bias[None, :, None, None]

    compiled = jax.jit(convolution)
    x, weight, bias = (jax.numpy.asarray(array) for array in arrays)
    return Ready(lambda: compiled(x, weight, bias).block_until_ready(), np.asarray)


# ---------------------------------------------------------------------------------------------- all of them

PLAIN, PREPARED = "plain", "prepared"
OURS_PLAIN, OURS_NHWC, OURS_LAYER = "numbaconv", "numbaconv NHWC", "numbaconv layer"
CONTESTANTS: Final = (
    Contestant(OURS_PLAIN, "numbaconv", PLAIN, _numbaconv_plain),
    Contestant(OURS_NHWC, "numbaconv", PLAIN, _numbaconv_nhwc),
    Contestant(OURS_LAYER, "numbaconv", PREPARED, _numbaconv_layer),
    Contestant("torch", "torch", PLAIN, _torch_builder(channels_last=False, prepared=False)),
    Contestant("torch channels_last", "torch", PLAIN, _torch_builder(channels_last=True, prepared=False)),
    Contestant("torch layer", "torch", PREPARED, _torch_builder(channels_last=False, prepared=True)),
    Contestant("torch layer channels_last", "torch", PREPARED, _torch_builder(channels_last=True, prepared=True)),
    Contestant("ONNX Runtime", "onnxruntime", PREPARED, _onnxruntime),
    Contestant("OpenVINO", "openvino", PREPARED, _openvino),
    Contestant("JAX", "jax", PREPARED, _jax),
)
PEERS: Final = tuple(dict.fromkeys(item.library for item in CONTESTANTS if not item.ours))
#: What a peer imports.
_MODULES: Final = {"onnxruntime": ("onnxruntime", "onnx"), "jax": ("jax", "jaxlib")}


def select(peers: list[str], nhwc: bool, settings: Settings) -> tuple[list[Contestant], list[str]]:
    """The contestants that can take part, and a sentence for each one that was asked for and cannot."""
    chosen, skipped = [], {}
    for item in CONTESTANTS:
        if item.ours:
            reason = _no_layer() if item.name == OURS_LAYER else None
            wanted = nhwc or item.name != OURS_NHWC
        else:
            reason, wanted = _missing(item.library, settings), item.library in peers
        if wanted and reason is None:
            chosen.append(item)
        elif wanted and reason is not None:
            skipped[item.name if item.ours else item.library] = reason
    return chosen, [f"{name} is skipped: {reason}" for name, reason in skipped.items()]


def _no_layer() -> str | None:
    if importlib.util.find_spec("numbaconv.nn") is None:
        return "this numbaconv has no numbaconv.nn"
    if not hasattr(importlib.import_module("numbaconv.nn").Conv2d, "from_weight"):
        return "this numbaconv.nn.Conv2d has no from_weight"
    return None


def _missing(library: str, settings: Settings) -> str | None:
    """Why a peer cannot take part, or None."""
    absent = [name for name in _MODULES.get(library, (library,)) if importlib.util.find_spec(name) is None]
    if absent:
        return f"{' and '.join(absent)} not installed"
    if library == "onnxruntime" and settings.dtype != "float32":
        return f"its CPU provider has no Conv kernel for {settings.dtype}"
    if library == "openvino" and settings.dtype != "float32":
        return f"its CPU plugin computes {settings.dtype} in float32"
    if library == "jax" and settings.threads != cpu_count():
        cpus = "one CPU" if settings.threads == 1 else f"{settings.threads} CPUs"
        return f"XLA takes as many threads as the process has CPUs ({cpu_count()}); bind it to {cpus} with `taskset`"
    return None


def cpu_count() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions(contestants: list[Contestant]) -> dict[str, str]:
    """The versions of everything that takes part, and of what it is compiled with."""
    names = dict.fromkeys(["numbaconv", *(item.library for item in contestants), "numba", "llvmlite", "numpy"])
    return {name: importlib.metadata.version(name) for name in names}


@contextlib.contextmanager
def session(contestants: list[Contestant], settings: Settings) -> Iterator[None]:
    """Set the threads of every library that takes part, and torch's inference mode, while measuring."""
    libraries = {item.library for item in contestants}
    numba.set_num_threads(settings.threads)
    with contextlib.ExitStack() as stack:
        if "torch" in libraries:
            import torch

            torch.set_num_threads(settings.threads)
            stack.enter_context(torch.inference_mode())
        if "jax" in libraries:
            os.environ.setdefault("JAX_PLATFORMS", "cpu")
            import jax

            jax.config.update("jax_enable_x64", settings.dtype == "float64")
        yield
