"""The layers that ``compare.py`` measures: suites of distinct convolutions, each of them once.

A suite holds every distinct layer of its networks (at 224 x 224 pixels), however often a network repeats it, so every
distinct layer weighs the same. Two layers are the same where all sizes, strides, paddings, dilations and groups are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Final

Pair = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Layer:
    """One two-dimensional convolution with bias; ``channels`` and ``filters`` count all groups."""

    name: str
    batch: int
    channels: int
    height: int
    width: int
    filters: int
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        return self.batch, self.channels, self.height, self.width

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return self.filters, self.channels // self.groups, *self.kernel

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        sizes = zip((self.height, self.width), self.kernel, self.stride, self.padding, self.dilation, strict=True)
        rows, columns = ((size + 2 * pad - dil * (k - 1) - 1) // step + 1 for size, k, step, pad, dil in sizes)
        return self.batch, self.filters, rows, columns

    @property
    def depth(self) -> int:
        """Products that are summed for one output."""
        _, channels, rows, columns = self.weight_shape
        return channels * rows * columns

    @property
    def flops(self) -> int:
        """Multiplications and additions of direct summation, whichever algorithm computes the layer."""
        batch, filters, rows, columns = self.output_shape
        return 2 * batch * filters * rows * columns * self.depth

    def __str__(self) -> str:
        """Sizes and whatever differs from stride 1, "half" padding, dilation 1, one group and one image."""
        rows, columns = self.kernel
        parts = [f"{self.channels}x{self.height}x{self.width} -> {self.filters}", f"{rows}x{columns}"]
        if self.stride != (1, 1):
            parts.append(f"s{_short(*self.stride)}")
        if self.padding != _half(self.kernel, self.dilation):
            parts.append(f"p{_short(*self.padding)}")
        if self.dilation != (1, 1):
            parts.append(f"d{_short(*self.dilation)}")
        if self.groups == self.channels > 1:
            parts.append("depthwise")
        elif self.groups > 1:
            parts.append(f"g{self.groups}")
        if self.batch > 1:
            parts.append(f"batch {self.batch}")
        return " ".join(parts)


def _short(first: int, second: int) -> str:
    """Two numbers, or one where they are equal."""
    return f"{first}" if first == second else f"{first}x{second}"


def _half(kernel: Pair, dilation: Pair) -> Pair:
    """The padding that keeps odd kernels' outputs as large as their inputs at stride 1."""
    return dilation[0] * (kernel[0] - 1) // 2, dilation[1] * (kernel[1] - 1) // 2


def layer(
    name: str,
    channels: int,
    size: int | Pair,
    filters: int,
    kernel: int | Pair,
    stride: int = 1,
    *,
    padding: int | Pair | None = None,
    dilation: int = 1,
    groups: int = 1,
    batch: int = 1,
) -> Layer:
    """A layer from few words: one number serves both dimensions, and padding is "half" where it is not given."""

    def both(value: int | Pair) -> Pair:
        return (value, value) if isinstance(value, int) else value

    height, width = both(size)
    pads = _half(both(kernel), both(dilation)) if padding is None else both(padding)
    return Layer(
        name, batch, channels, height, width, filters, both(kernel), both(stride), pads, both(dilation), groups
    )


def distinct(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """Keep the first of equal layers; the name does not count."""
    kept: dict[Layer, Layer] = {}
    for item in layers:
        kept.setdefault(dataclasses.replace(item, name=""), item)
    return tuple(kept.values())


def _vgg16() -> tuple[Layer, ...]:
    """Simonyan & Zisserman 2014, configuration D: 13 layers, 9 of them distinct."""
    blocks = ((2, 64, 224), (2, 128, 112), (3, 256, 56), (3, 512, 28), (3, 512, 14))
    layers, channels = [], 3
    for number, (repeats, filters, size) in enumerate(blocks, 1):
        for repeat in range(1, repeats + 1):
            layers.append(layer(f"conv{number}_{repeat}", channels, size, filters, 3))
            channels = filters
    return distinct(layers)


def _resnet50() -> tuple[Layer, ...]:
    """He et al. 2015, as torchvision has it (v1.5: strides in the 3x3 layers): 53 layers, 23 of them distinct."""
    layers, channels, size = [layer("conv1", 3, 224, 64, 7, 2)], 64, 56
    for stage, width in enumerate((64, 128, 256, 512), 1):
        for block in (1, 2):  # all further blocks of a stage repeat the second one
            stride = 2 if stage > 1 and block == 1 else 1
            name, after = f"stage{stage}.{block}", size // stride
            layers.append(layer(f"{name}.reduce", channels, size, width, 1))
            layers.append(layer(f"{name}.3x3", width, size, width, 3, stride))
            layers.append(layer(f"{name}.expand", width, after, 4 * width, 1))
            if block == 1:
                layers.append(layer(f"{name}.shortcut", channels, size, 4 * width, 1, stride))
            channels, size = 4 * width, after
    return distinct(layers)


def _depthwise() -> tuple[Layer, ...]:
    """Every depthwise layer of MobileNetV2, EfficientNet-B0 and ConvNeXt-T, and RepLKNet's largest."""

    def one(name: str, channels: int, size: int, kernel: int, stride: int = 1) -> Layer:
        return layer(name, channels, size, channels, kernel, stride, groups=channels)

    mobilenet = (
        (32, 112, 1),
        (96, 112, 2),
        (144, 56, 1),
        (144, 56, 2),
        (192, 28, 1),
        (192, 28, 2),
        (384, 14, 1),
        (576, 14, 1),
        (576, 14, 2),
        (960, 7, 1),
    )
    efficientnet = (
        (32, 112, 3, 1),
        (96, 112, 3, 2),
        (144, 56, 3, 1),
        (144, 56, 5, 2),
        (240, 28, 5, 1),
        (240, 28, 3, 2),
        (480, 14, 3, 1),
        (480, 14, 5, 1),
        (672, 14, 5, 1),
        (672, 14, 5, 2),
        (1152, 7, 5, 1),
        (1152, 7, 3, 1),
    )
    convnext = ((96, 56), (192, 28), (384, 14), (768, 7))
    return distinct(
        [one("mobilenetv2", channels, size, 3, stride) for channels, size, stride in mobilenet]
        + [one("efficientnet-b0", channels, size, kernel, stride) for channels, size, kernel, stride in efficientnet]
        + [one("convnext-t", channels, size, 7) for channels, size in convnext]
        + [one("replknet-31b", 128, 56, 31)]
    )


def _mixed() -> tuple[Layer, ...]:
    """What the other suites lack: small images, first layers, large and flat kernels, dilation, groups, batches."""
    return distinct(
        (
            layer("course", 1, 32, 8, 3),
            layer("lenet.c1", 1, 32, 6, 5, padding=0),
            layer("lenet.c3", 6, 14, 16, 5, padding=0),
            layer("lenet.c1", 1, 32, 6, 5, padding=0, batch=64),
            layer("lenet.c3", 6, 14, 16, 5, padding=0, batch=64),
            layer("first alexnet", 3, 224, 64, 11, 4, padding=2),
            layer("first mobilenet", 3, 224, 32, 3, 2),
            layer("first inception", 3, 299, 32, 3, 2, padding=0),
            layer("first convnext", 3, 224, 96, 4, 4, padding=0),
            layer("first vit", 3, 224, 768, 16, 16, padding=0),
            layer("first cifar", 3, 32, 64, 3, batch=32),
            layer("dilated resnet", 256, 28, 256, 3, dilation=2),
            layer("dilated resnet", 512, 28, 512, 3, dilation=4),
            layer("dilated context", 64, 56, 64, 3, dilation=2),
            layer("aspp", 512, 33, 256, 3, dilation=6),
            layer("grouped alexnet", 64, 27, 192, 5, groups=2),
            layer("grouped shufflenet", 240, 28, 240, 1, groups=3),
            layer("grouped wide", 256, 28, 256, 3, groups=8),
            layer("resnext", 128, 56, 128, 3, groups=32),
            layer("resnext", 256, 56, 256, 3, 2, groups=32),
            layer("resnext", 256, 28, 256, 3, groups=32),
            layer("resnext", 512, 14, 512, 3, groups=32),
            layer("resnext", 1024, 7, 1024, 3, groups=32),
            layer("5x5 inception", 48, 35, 64, 5),
            layer("5x5", 64, 56, 64, 5),
            layer("5x5 strided", 64, 56, 128, 5, 2),
            layer("7x7", 64, 56, 64, 7),
            layer("1x7 inception", 128, 17, 128, (1, 7)),
            layer("7x1 inception", 128, 17, 128, (7, 1)),
            layer("1x7 inception", 192, 17, 192, (1, 7)),
            layer("3x3 strided", 64, 112, 128, 3, 2),
            layer("2x2 strided", 96, 56, 192, 2, 2, padding=0),
            layer("odd sizes", 67, 57, 61, 3),
            layer("wide image", 16, (32, 512), 32, 3),
            layer("3x3 batch", 64, 56, 64, 3, batch=8),
            layer("3x3 batch", 512, 7, 512, 3, batch=16),
            layer("1x1 batch", 256, 14, 1024, 1, batch=8),
            layer("5x5 batch", 32, 28, 64, 5, batch=16),
        )
    )


def _winograd() -> tuple[Layer, ...]:
    """Beside the networks' 3x3 layers, what Winograd's algorithm serves: larger, flat and dilated kernels, batches."""
    return distinct(
        (
            layer("5x5", 48, 28, 128, 5),
            layer("7x7", 64, 56, 64, 7),
            layer("dilated", 256, 28, 256, 3, dilation=2),
            layer("dilated", 512, 28, 512, 3, dilation=4),
            layer("1x7", 128, 17, 128, (1, 7)),
            layer("7x1", 128, 17, 128, (7, 1)),
            layer("batch", 64, 56, 64, 3, batch=16),
            layer("batch", 128, 28, 128, 3, batch=16),
            layer("batch", 256, 14, 256, 3, batch=32),
            layer("batch", 512, 7, 512, 3, batch=32),
        )
    )


SUITES: Final[dict[str, tuple[Layer, ...]]] = {
    "vgg16": _vgg16(),
    "resnet50": _resnet50(),
    "depthwise": _depthwise(),
    "mixed": _mixed(),
    "winograd": _winograd(),
}
#: The smallest call: nearly all of its time is overhead.
OVERHEAD: Final = layer("overhead", 1, 8, 1, 3)

if __name__ == "__main__":
    for suite, layers in SUITES.items():
        print(f"{suite}: {len(layers)} distinct layers")
        for item in layers:
            print(f"  {item.name:20} {item!s:36} {item.flops / 1e9:8.3f} GFLOP")
