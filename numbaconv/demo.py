"""``python -m numbaconv demo``: the course's first question, answered on a real image by every implementation at hand.

The question: an image of 32x32x1, a kernel of 3x3x1x8, stride 1, padding "same". What shape is the result?
"""

from __future__ import annotations

import dataclasses
import functools
import io
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Final

import numpy as np

import numbaconv as nc

from .arrays import Array
from .digit import CREDIT, INSTALL, LABEL, PIXELS, CommandError, digit_image, filter_bank, read_image

#: The loops in Python take some 5 us for each output, so that of a larger image they get the centre.
LOOPS_SIZE: Final = 64
#: Later calls are timed until they took this long together, but at least and at most so many of them.
TIMED_SECONDS: Final = 0.25
TIMED_CALLS: Final = (3, 25)
#: Characters in the longer side of a picture in the terminal.
CELLS: Final = 24


# ------------------------------------------------------------------------------------- the implementations


def numpy_loops(image: Array, kernel: Array) -> Array:
    """Convolve as the definition says: for each pixel and each filter, multiply a patch by the filter and sum.

    Parameters
    ----------
    image : ndarray, shape (H, W, C)
    kernel : ndarray, shape (3, 3, C, F)

    Returns
    -------
    ndarray of float32, shape (H, W, F)
    """
    height, width, _ = image.shape
    filters = kernel.shape[3]
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))  # a border of zeros, so that every pixel has all its neighbours
    result = np.empty((height, width, filters), np.float32)
    for row in range(height):
        for column in range(width):
            patch = padded[row : row + 3, column : column + 3]  # the pixel and its neighbours: (3, 3, C)
            for f in range(filters):
                result[row, column, f] = np.sum(patch * kernel[:, :, :, f])
    return result


def scipy_convolution(image: Array, kernel: Array) -> Array:
    """Convolve with SciPy, filter by filter.

    What deep learning calls convolution does not flip the filter; mathematics, and SciPy with it, flips it in both
    directions. A filter flipped beforehand is flipped back.
    """
    from scipy.signal import convolve2d

    maps = [
        convolve2d(image[:, :, 0], kernel[::-1, ::-1, 0, f], mode="same", boundary="fill", fillvalue=0)
        for f in range(kernel.shape[3])
    ]
    return np.stack(maps, axis=-1)


def torch_convolution(kernel: Array) -> Callable[[Array], Array] | None:
    """Return ``torch.nn.Conv2d`` with this kernel as its weight; None where torch is not installed."""
    try:
        import torch
    except ImportError:
        return None
    size, _, channels, filters = kernel.shape
    layer = torch.nn.Conv2d(channels, filters, size, stride=1, padding="same", bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()))

    def convolve(image: Array) -> Array:
        with torch.inference_mode():
            result: Array = layer(torch.from_numpy(image.transpose(2, 0, 1)[None]))[0].permute(1, 2, 0).numpy()
        return result

    return convolve


def implementations(kernel: Array) -> dict[str, Callable[[Array], Array] | None]:
    """Return what the demo compares: functions from an image (H, W, 1) to its maps (H, W, 8), or None if not installed."""
    weight = kernel.transpose(3, 2, 0, 1).copy()  # torch's order: filters, channels, height, width
    conv2d = functools.partial(nc.conv2d, weight=weight, stride=1, padding="same", data_format="NHWC")
    return {
        "NumPy loops": functools.partial(numpy_loops, kernel=kernel),
        "scipy.signal.convolve2d": functools.partial(scipy_convolution, kernel=kernel),
        "nc.conv2D_gemm": functools.partial(nc.conv2D_gemm, kernel=kernel, stride=1, padding="same"),
        "nc.conv2d, direct": functools.partial(conv2d, algorithm="direct"),
        "nc.conv2d, im2col": functools.partial(conv2d, algorithm="im2col"),
        "nc.conv2d, winograd": functools.partial(conv2d, algorithm="winograd"),
        "torch.nn.Conv2d": torch_convolution(kernel),
    }


# -------------------------------------------------------------------------------------------- comparing them


@dataclasses.dataclass(frozen=True)
class Measured:
    """One implementation's result, its times in seconds and its largest difference from a reference in float64."""

    result: Array
    first: float
    later: float
    difference: float


def measure(function: Callable[[Array], Array], image: Array, kernel: Array) -> Measured:
    """Call a function once, then several times more, and compare its result."""
    start = time.perf_counter()
    result = function(image)
    first = time.perf_counter() - start
    later: list[float] = []
    while len(later) < TIMED_CALLS[0] or (len(later) < TIMED_CALLS[1] and sum(later) < TIMED_SECONDS):
        start = time.perf_counter()
        function(image)
        later.append(time.perf_counter() - start)
    return Measured(result, first, statistics.median(later), largest_difference(result, image, kernel))


def largest_difference(result: Array, image: Array, kernel: Array) -> float:
    """Compare maps with the same convolution in float64, some rows at a time so that large pictures need little memory."""
    padded = np.pad(image[:, :, 0], 1)
    taps = kernel.astype(np.float64).reshape(9, -1)
    rows = max(1, 100_000 // image.shape[1])
    worst = 0.0
    for start in range(0, image.shape[0], rows):
        patches = np.lib.stride_tricks.sliding_window_view(padded[start : start + rows + 2], (3, 3))
        reference = patches.astype(np.float64).reshape(*patches.shape[:2], 9) @ taps
        worst = max(worst, float(np.abs(result[start : start + rows] - reference).max()))
    return worst


def centre(image: Array, size: int) -> Array:
    """Cut out at most size x size pixels from the middle of an image."""
    top, left = (max(0, (extent - size) // 2) for extent in image.shape[:2])
    return image[top : top + size, left : left + size]


# ------------------------------------------------------------------------------------------------- images


def check_output(output: pathlib.Path, image: pathlib.Path | None) -> None:
    """Raise CommandError where the picture could not be written, before anything is computed."""
    instead = "; choose another --output FILE, or --no-picture"
    if output.suffix.lower() != ".png":
        raise CommandError(f"cannot write {str(output)!r}: the picture is a PNG, its name must end in .png{instead}")
    if output.is_dir():
        raise CommandError(f"cannot write {str(output)!r}: it is a directory{instead}")
    if not output.parent.is_dir():
        raise CommandError(f"cannot write {str(output)!r}: there is no directory {str(output.parent)!r}{instead}")
    if not os.access(output if output.exists() else output.parent, os.W_OK):
        raise CommandError(f"cannot write {str(output)!r}: permission denied{instead}")
    if image is not None and output.exists() and output.samefile(image):
        raise CommandError(f"cannot write {str(output)!r}: it is the image itself{instead}")


def matplotlib_installed() -> bool:
    """Whether a PNG can be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def weights_text(taps: Array) -> str:
    """Write a filter's 3x3 weights in three lines."""
    whole = bool(np.all(taps == np.round(taps)))
    numbers = np.round(taps if whole else taps * 16).astype(int)
    lines = ["".join(f"{number:3d}" for number in row) for row in numbers]
    if not whole:
        lines[1] += " /16"
        lines[0], lines[2] = lines[0] + "    ", lines[2] + "    "
    return "\n".join(lines)


def draw_png(image: Array, maps: Array, names: tuple[str, ...], kernel: Array, title: str) -> bytes:
    """Draw an image and its eight feature maps.

    Parameters
    ----------
    image : ndarray, shape (H, W, 1)
    maps : ndarray, shape (H, W, 8)
    names : tuple of str
        The filters' names.
    kernel : ndarray, shape (3, 3, 1, 8)
        The filters, printed beneath their maps.
    title : str
        Of the whole picture.

    Returns
    -------
    bytes
        The content of a PNG file.
    """
    from matplotlib.figure import Figure

    step = max(1, max(image.shape[:2]) // 800)  # more pixels than are drawn only take memory
    figure = Figure(figsize=(14.5, 7.0), facecolor="white", layout="constrained")
    figure.suptitle(title, fontsize=15)
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.9))
    axes = [left.subplots(), *right.subplots(2, 4).ravel()]
    pictures = [image[::step, ::step, 0], *np.moveaxis(maps[::step, ::step], -1, 0)]
    size = f"{image.shape[0]}x{image.shape[1]}"
    for axis, picture, name in zip(axes, pictures, (f"the image, {size}x1", *names), strict=True):
        strongest = float(np.abs(picture).max()) or 1.0
        if picture.min() < 0:
            axis.imshow(picture, cmap="RdBu_r", vmin=-strongest, vmax=strongest)
        else:
            axis.imshow(picture, cmap="gray", vmin=0, vmax=strongest)
        axis.set_title(name, fontsize=12)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set(color="0.75", linewidth=0.8)
    for f, axis in enumerate(axes[1:]):
        axis.set_xlabel(weights_text(kernel[:, :, 0, f]), family="monospace", fontsize=10, labelpad=6)
    axes[0].set_xlabel(
        "grey maps: black is 0\ncoloured maps: red is above 0, white is 0, blue is below 0", fontsize=10, labelpad=6
    )
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return content.getvalue()


def terminal_picture(pictures: dict[str, Array], shades: str) -> str:
    """Draw pictures as characters, three beside each other.

    Parameters
    ----------
    pictures : dict of str to ndarray, shape (H, W)
        Their names and their values; the further from 0, the denser the character.
    shades : str
        Characters from empty to full.

    Returns
    -------
    str
        Lines of at most 78 characters.
    """
    blocks: list[list[str]] = []
    for name, values in pictures.items():
        height, width = values.shape
        pixels = max(height, width) / CELLS  # for each character; it is twice as high as wide
        rows, columns = max(1, round(height / pixels / 2)), max(1, round(width / pixels))
        cells = np.empty((rows, columns))
        for row, column in np.ndindex(rows, columns):
            cells[row, column] = np.abs(values[_cell(row, rows, height), _cell(column, columns, width)]).mean()
        levels = np.round(cells / (cells.max() or 1.0) * (len(shades) - 1)).astype(int)
        lines = [name, *("".join(shades[level] for level in line) for line in levels)]
        blocks.append([f"{line:<{CELLS}}" for line in lines])
    bands = [blocks[start : start + 3] for start in range(0, len(blocks), 3)]
    return "\n\n".join("\n".join("   ".join(line).rstrip() for line in zip(*band, strict=True)) for band in bands)


def _cell(index: int, cells: int, size: int) -> slice:
    """Return the pixels that fall into one of the cells."""
    start = index * size // cells
    return slice(start, max(start + 1, (index + 1) * size // cells))


# ------------------------------------------------------------------------------------------------- the demo


def run(image_path: pathlib.Path | None, output: pathlib.Path, picture: bool) -> int:
    """Run the demo and print what it finds.

    Parameters
    ----------
    image_path : pathlib.Path or None
        The user's own picture; None takes the digit.
    output : pathlib.Path
        Where the PNG goes.
    picture : bool
        Whether to draw the maps at all.

    Returns
    -------
    int
        0, or 1 where an implementation differs from the reference by more than rounding.

    Raises
    ------
    CommandError
        Where the image cannot be read or the picture cannot be written.
    """
    image = digit_image() if image_path is None else read_image(image_path)
    png = picture and matplotlib_installed()
    if png:
        check_output(output, image_path)
    names, kernel = filter_bank()
    _say(_question(image, image_path, names))
    maps, agree = _compare(image, kernel, exact=image_path is None)
    if png:
        title = f"numbaconv: {'x'.join(map(str, image.shape))} convolved with 3x3x1x8 gives {'x'.join(map(str, maps.shape))}"
        try:
            output.write_bytes(draw_png(image, maps, names, kernel, title))
        except OSError as error:
            raise CommandError(f"cannot write {str(output)!r}: {error.strerror or error}") from None
        _say(f"\nThe picture\n  The image and its eight feature maps: {output}")
    elif picture:
        encoding = getattr(sys.stdout, "encoding", None) or "ascii"
        blocks = " \u2591\u2592\u2593\u2588"
        shades = blocks if blocks.encode(encoding, "ignore").decode(encoding) == blocks else " .:-=+*#%@"
        drawn = {"the image": image[:, :, 0]} | {name: maps[:, :, f] for f, name in enumerate(names)}
        _say(f"\nThe picture, coarsely: the denser, the further from 0. {output} needs matplotlib: {INSTALL}\n")
        _say(terminal_picture(drawn, shades))
    return 0 if agree else 1


def _question(image: Array, path: pathlib.Path | None, names: tuple[str, ...]) -> str:
    """Restate the question, and calculate the shape in the answer."""
    height, width, _ = image.shape
    if path is None:
        size = len(PIXELS)
        about = [f"A handwritten {LABEL}. {CREDIT[0]}", f"{CREDIT[1]}.",
                 f"Its {size}x{size} pixels are enlarged 3 times to {3 * size}x{3 * size}; 4 zeros are added on each side:"]  # fmt: skip
    else:
        about = [f"{path}, as greyscale:"]
    return "\n".join(
        [
            f"numbaconv {nc.__version__}: question 1 of the course",
            "\nThe question",
            f"  An image of {height}x{width}x1 (height, width, channels) is convolved with a kernel of 3x3x1x8",
            '  (height, width, channels, filters). The stride is 1, the padding is "same". What shape is the result?',
            "\nThe image",
            *(f"  {line}" for line in about),
            f"  {height}x{width}x1, float32 from 0 (black) to 1 (white).",
            "\nThe eight filters",
            f"  {', '.join(names[:4])},",
            f"  {', '.join(names[4:])}.",
            "\nThe arithmetic",
            '  For stride 1, padding "same" adds what keeps the size: 1 row of zeros above and 1 below, 1 column left and 1 right.',
            "  size   = (image + padding before + padding after - kernel) / stride + 1",
            f"  height = ({height} + 1 + 1 - 3) / 1 + 1 = {height}",
            f"  width  = ({width} + 1 + 1 - 3) / 1 + 1 = {width}",
            "  The channels of the result are the filters: each filter makes one feature map, so there are 8.",
            f"\nThe answer: {(height, width, 8)}",
        ]
    )


def _compare(image: Array, kernel: Array, exact: bool) -> tuple[Array, bool]:
    """Print the table. Return the maps that numbaconv computed, and whether all implementations agree."""
    columns = "  {:<24} {:>13} {:>14} {:>14} {:>20}"
    _say("\nThe implementations")
    _say(columns.format("", "result", "first call", "later calls", "largest difference"))
    allowed = 32 * float(np.finfo(np.float32).eps * np.abs(image).max() * np.abs(kernel).sum((0, 1, 2)).max())
    maps, agree, cropped = image, True, False
    for name, function in implementations(kernel).items():
        if function is None:
            _say(columns.format(name, "not installed", "", "", "").rstrip())
            continue
        part = centre(image, LOOPS_SIZE) if name == "NumPy loops" else image
        cropped = cropped or part.shape != image.shape
        found = measure(function, part, kernel)
        agree = agree and found.result.shape == (*part.shape[:2], 8) and found.difference <= allowed
        times = [f"{1e3 * seconds:.3f} ms" for seconds in (found.first, found.later)]
        difference = f"{found.difference:.1e}" if found.difference else "0"
        _say(columns.format(name, "x".join(map(str, found.result.shape)), *times, difference))
        if name == "nc.conv2D_gemm":
            maps = found.result
    if cropped:
        _say(
            f"  NumPy loops: only the centre of the image, at most {LOOPS_SIZE}x{LOOPS_SIZE}; the whole would take too long."
        )
    _say(
        "  SciPy flips its kernel, as mathematics does, and deep learning does not: it gets the filters flipped beforehand."
    )
    _say(
        "  First call: with compiling, or loading what Numba has cached, where no call above did so. Imports are not counted."
    )
    _say(
        f"  Later calls: the median of {TIMED_CALLS[0]} to {TIMED_CALLS[1]}. Largest difference: from the same sums in float64."
    )
    if exact:
        _say(
            "  Plain sums have no error here: the digit's sixteenths times the filters' weights fit float32. Winograd's transforms round."
        )
    _say(
        "  All agree." if agree else f"  THEY DO NOT AGREE: rounding explains differences of up to {allowed:.1e} only."
    )
    return maps, agree


def _say(text: str) -> None:
    """Print at once; a character that the terminal lacks (in a file's name) is printed as its escape."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
