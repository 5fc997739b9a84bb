"""Layers of networks: ``nc.Conv2d`` beside prepared peers, ``nc.conv2d`` beside plain calls."""

from __future__ import annotations

from peers import OURS_LAYER, OURS_NHWC, OURS_PLAIN, make_arrays
from ratios import Compared, Roofed, Work, check, contestant, moved, unfolded_sums
from suites import SUITES
from timing import TOLERANCES, reference

#: Layers of ``suites.py``, a few for each way a layer can be computed: what regresses shows in one of them.
LAYERS = {
    f"{suite}: {name} {sizes}": next(item for item in SUITES[suite] if (item.name, str(item)) == (name, sizes))
    for suite, name, sizes in (
        ("vgg16", "conv1_1", "3x224x224 -> 64 3x3"),
        ("vgg16", "conv3_2", "256x56x56 -> 256 3x3"),
        ("vgg16", "conv5_1", "512x14x14 -> 512 3x3"),
        ("resnet50", "conv1", "3x224x224 -> 64 7x7 s2"),
        ("resnet50", "stage1.1.reduce", "64x56x56 -> 64 1x1"),
        ("resnet50", "stage3.1.3x3", "256x28x28 -> 256 3x3 s2"),
        ("resnet50", "stage4.1.expand", "512x7x7 -> 2048 1x1"),
        ("depthwise", "mobilenetv2", "96x112x112 -> 96 3x3 s2 depthwise"),
        ("depthwise", "convnext-t", "96x56x56 -> 96 7x7 depthwise"),
        ("mixed", "5x5", "64x56x56 -> 64 5x5"),
        ("mixed", "dilated context", "64x56x56 -> 64 3x3 d2"),
        ("mixed", "resnext", "256x28x28 -> 256 3x3 g32"),
    )
}
#: Those of them whose channels come last in memory, one for each way that such a layer is computed.
CHANNELS_LAST = [
    name for name in LAYERS if name.partition(" ")[2] in (
        "conv1_1 3x224x224 -> 64 3x3", "conv3_2 256x56x56 -> 256 3x3", "stage1.1.reduce 64x56x56 -> 64 1x1",
        "convnext-t 96x56x56 -> 96 7x7 depthwise", "resnext 256x28x28 -> 256 3x3 g32",
    )
]  # fmt: skip


class _Layers(Compared, Roofed):
    """A layer as ``ready`` and ``plain`` compute it, beside torch's contestant ``beside``."""

    param_names = ("layer",)
    ready, plain, beside = OURS_LAYER, OURS_PLAIN, "torch"

    def prepare(self, problem: str) -> Work:
        layer = LAYERS[problem]
        arrays = make_arrays(layer, "float32")
        ours = {name: contestant(name, layer, arrays) for name in (self.ready, self.plain)}
        ready, plain = ours[self.ready], ours[self.plain]
        expected = reference(layer, arrays)
        for each in ours.values():
            check(each.nchw(each.call()), expected, TOLERANCES["float32"][each.algorithm == "winograd"])
        windows = (layer.stride, layer.padding, layer.dilation, layer.groups)
        return Work(
            ready.call,
            layer.flops,
            moved(layer),
            peers={
                "scipy": lambda: (plain.call, unfolded_sums(arrays.x, arrays.weight, *windows)),
                "torch": lambda: (plain.call, contestant(self.beside, layer, arrays).call),
                "onnxruntime": lambda: (ready.call, contestant("ONNX Runtime", layer, arrays).call),
            },
        )


class Layers(_Layers):
    """``time_call`` and the roofline are of the layer object, whose weights are laid out before."""

    params = (list(LAYERS),)

    def track_time_over_onnxruntime(self, _problem: str) -> float:
        return self.over("onnxruntime")


class ChannelsLast(_Layers):
    """``nc.conv2d`` of arrays whose channels come last, beside torch's, which has a layout for them."""

    params = (CHANNELS_LAST,)
    ready, plain, beside = OURS_NHWC, OURS_NHWC, "torch channels_last"
