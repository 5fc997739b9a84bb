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
import scipy.signal

import numbaconv as nc

from .arrays import Array
from .digit import DIGIT_TEXT, INSTALL, CommandError, digit_image, filter_bank, read_image

#: The loops in Python take some 4 us for each output, so that of a larger image they get the centre.
LOOPS_SIZE: Final = 64
#: Later calls are timed until they took this long together, but at least and at most so many of them.
TIMED_SECONDS: Final = 0.25
TIMED_CALLS: Final = (3, 25)
#: Characters in the longer side of a picture in the terminal.
CELLS: Final = 24

NOTES: Final = f"""
  Later calls: the median of {TIMED_CALLS[0]} to {TIMED_CALLS[1]}. First call: it compiles, or loads what Numba has
  cached, unless a row above has done so. Imports are not counted.
  Difference: from the same sums in float64.
  SciPy flips its kernel, as mathematics does; deep learning does not. It gets the filters
  flipped beforehand, so that they are flipped back."""
EXACT_NOTE: Final = """\
  A difference of 0 is no accident: the digit's pixels are sixteenths, the weights whole
  numbers or sixteenths, and such sums are exact in float32. Winograd's transforms round."""


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
    """Convolve with ``scipy.signal.convolve2d``, filter by filter.

    What deep learning calls convolution does not flip the filter; mathematics, and SciPy with it, flips it in both
    directions. A filter flipped beforehand is flipped back.
    """
    maps = [
        scipy.signal.convolve2d(image[:, :, 0], kernel[::-1, ::-1, 0, f], mode="same", boundary="fill", fillvalue=0)
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
    """Return what the demo compares: functions from an image (H, W, 1) to maps (H, W, 8); None if not installed."""
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
    """Compare maps with the same sums in float64: some rows at a time, so that a large picture needs little memory."""
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
    lines = [f"    {row[0]:2d} {row[1]:2d} {row[2]:2d}    " for row in numbers]
    if not whole:
        lines[1] = lines[1].rstrip() + " /16"
    return "\n".join(lines)


def draw_png(image: Array, maps: Array, names: tuple[str, ...], kernel: Array) -> bytes:
    """Draw an image (H, W, 1) and its eight maps (H, W, 8) with their filters; return the content of a PNG file."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    height, width, _ = image.shape
    step = max(1, max(height, width) // 800)  # more pixels than are drawn only take memory
    tall = 2.4 + 4.5 * min(max(height / width, 0.3), 1.5)
    figure = Figure(figsize=(14.5, tall), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1, hspace=0.03))
    figure.suptitle(f"numbaconv: {_shape(image)} convolved with {_shape(kernel)} gives {_shape(maps)}", fontsize=15)
    mosaic = [["image", *"0123"], ["image", *"4567"]]
    first, *others = figure.subplot_mosaic(mosaic, width_ratios=(2.2, 1, 1, 1, 1)).values()
    first.imshow(image[::step, ::step, 0], cmap="gray", vmin=0, vmax=1)
    first.set_title(f"the image, {_shape(image)}", fontsize=12)
    legend = "grey: 0 or less is black, 1 or more is white\ncoloured: 0 is white, below it blue, above it red"
    first.set_xlabel(legend, fontsize=10, labelpad=6)
    for f, axis in enumerate(others):
        picture, taps = maps[::step, ::step, f], kernel[:, :, 0, f]
        if abs(taps.sum()) > 0.5:  # such a filter makes an image of an image
            axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
        else:  # weights that cancel make differences: of a photograph, most are small beside the largest few
            strong = float(np.percentile(np.abs(picture), 99.5)) or float(np.abs(picture).max()) or 1.0
            axis.imshow(picture, cmap="RdBu_r", vmin=-strong, vmax=strong)
        axis.set_title(names[f], fontsize=12)
        axis.set_xlabel(weights_text(taps), family="monospace", fontsize=10, labelpad=6)
    for axis in (first, *others):
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set(color="0.75", linewidth=0.8)
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
        try:
            output.write_bytes(draw_png(image, maps, names, kernel))
        except OSError as error:
            raise CommandError(f"cannot write {str(output)!r}: {error.strerror or error}") from None
        _say(f"\nThe picture\n  The image and its eight feature maps: {output}")
    elif picture:
        blocks = " \u2591\u2592\u2593\u2588"
        shades = blocks if _printable(blocks) == blocks else " .:-=+*#%@"
        drawn = {"the image": image[:, :, 0]} | {name: maps[:, :, f] for f, name in enumerate(names)}
        _say("\nThe picture, coarsely: the denser, the further from 0.")
        _say(f"For {output}, install matplotlib: {INSTALL}\n\n{terminal_picture(drawn, shades)}")
    return 0 if agree else 1


def _question(image: Array, path: pathlib.Path | None, names: tuple[str, ...]) -> str:
    """Restate the question, and calculate the shape in the answer."""
    height, width, _ = image.shape
    about = f"{path}, as greyscale:" if path is not None else DIGIT_TEXT
    return f"""numbaconv {nc.__version__}: question 1 of the course

The question
  An image of {height}x{width}x1 (height, width, channels) is convolved with a kernel of
  3x3x1x8 (height, width, channels, filters). The stride is 1, the padding is "same".
  What shape is the result?

The image
  {about}
  {height}x{width}x1, float32 from 0 (black) to 1 (white).

The eight filters
  {", ".join(names[:4])},
  {", ".join(names[4:])}.

The arithmetic
  For stride 1 and a 3x3 kernel, padding "same" adds 1 row of zeros above and 1 below,
  1 column of zeros left and 1 right: then every pixel has all its neighbours.
    size   = (image + padding before + padding after - kernel) / stride + 1
    height = ({height} + 1 + 1 - 3) / 1 + 1 = {height}
    width  = ({width} + 1 + 1 - 3) / 1 + 1 = {width}
  Each filter makes one feature map, so the result has 8 channels.

The answer: {(height, width, 8)}

The implementations (what is not yet compiled takes some seconds once)
"""


def _compare(image: Array, kernel: Array, exact: bool) -> tuple[Array, bool]:
    """Print the table. Return the maps that numbaconv computed, and whether all implementations agree."""
    columns = "  {:<23} {:>13}  {:>12}  {:>12}  {:>10}"
    _say(columns.format("", "", "first", "later", "largest"))
    _say(columns.format("", "result", "call", "calls", "difference"))
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
        _say(columns.format(name, _shape(found.result), *times, difference))
        if name == "nc.conv2D_gemm":
            maps = found.result
    if cropped:
        _say(f"  NumPy loops: of the centre only, {LOOPS_SIZE}x{LOOPS_SIZE} at most; all would take too long.")
    _say(NOTES)
    if exact:
        _say(EXACT_NOTE)
    verdict = "All agree" if agree else "THEY DO NOT AGREE"
    _say(f"\n  {verdict}: rounding to float32 explains differences of up to {allowed:.1e} here.")
    return maps, agree


def _shape(array: Array) -> str:
    """Write a shape as 32x32x8."""
    return "x".join(map(str, array.shape))


def _printable(text: str) -> str:
    """Replace what the terminal cannot show by escapes."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _say(text: str) -> None:
    """Print at once: the next line may take seconds."""
    print(_printable(text), flush=True)
