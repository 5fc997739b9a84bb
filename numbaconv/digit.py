"""What the demo convolves: a real handwritten digit or the user's own picture, and eight named filters.

The digit is small enough to be source text. It is image 32, counted from 0, of the test set ``optdigits.tes`` of
E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998,
https://doi.org/10.24432/C50P49, licensed CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/). scikit-learn's
``load_digits`` gives it under the same number. Its integers are unchanged; :func:`digit_image` scales, enlarges and
pads them.
"""

from __future__ import annotations

import pathlib
import warnings
from typing import Final

import numpy as np

from .arrays import Array

#: The digit that was written.
LABEL: Final = 5

#: How many of the 4x4 pixels of each cell of the scanned 32x32 bitmap are ink: 0 to 16.
PIXELS: Final = (
    (0, 2, 13, 16, 16, 16, 11, 0),
    (0, 5, 16, 10, 5, 4, 1, 0),
    (0, 6, 16, 7, 3, 0, 0, 0),
    (0, 9, 16, 16, 16, 6, 0, 0),
    (0, 3, 8, 4, 11, 15, 0, 0),
    (0, 0, 0, 1, 12, 15, 0, 0),
    (0, 0, 4, 13, 16, 6, 0, 0),
    (0, 2, 16, 15, 8, 0, 0, 0),
)

#: What it is and where it comes from, for the demo's output.
DIGIT_TEXT: Final = f"""A handwritten {LABEL}: image 32 of the test set of "Optical Recognition of Handwritten
  Digits" by E. Alpaydin and C. Kaynak, 1998, UCI, CC BY 4.0,
  https://doi.org/10.24432/C50P49.
  Its 8x8 pixels are enlarged 3 times to 24x24, and 4 zeros are added on each side:"""

#: How to get what only pictures need.
INSTALL: Final = "pip install 'numbaconv[demo]'"


class CommandError(Exception):
    """What the user has to know and can change; the command line prints it in one line and exits with 2."""


def digit_image() -> Array:
    """Return the digit as the course's question has its image.

    Returns
    -------
    ndarray of float32, shape (32, 32, 1)
        0 (paper) to 1 (ink). Each of the 8x8 pixels is enlarged to 3x3, and 4 zeros are added on each
        side: 4 + 8 * 3 + 4 = 32.
    """
    pixels = np.array(PIXELS, np.float32) / 16
    enlarged = np.kron(pixels, np.ones((3, 3), np.float32))
    return np.pad(enlarged, 4)[:, :, None]


def read_image(path: pathlib.Path) -> Array:
    """Read a picture as greyscale.

    Parameters
    ----------
    path : pathlib.Path
        Any format that Pillow reads. Transparent parts are taken as white; pixels of more than 8 bits are stretched
        from the darkest to the brightest.

    Returns
    -------
    ndarray of float32, shape (H, W, 1)
        0 (black) to 1 (white).

    Raises
    ------
    CommandError
        Where there is no such file, it is not a picture, or Pillow is not installed.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise CommandError(f"cannot read the image {str(path)!r}: {error.strerror}") from None
    with file:
        try:
            from PIL import Image, ImageOps
        except ImportError:
            raise CommandError(f"--image needs Pillow, which is not installed: {INSTALL}") from None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd metadata, or that the user's own picture is large
                picture = ImageOps.exif_transpose(Image.open(file))
                if picture.mode == "F" or picture.mode.startswith("I"):
                    values = np.nan_to_num(np.asarray(picture, np.float64), posinf=0, neginf=0)
                    span = float(np.ptp(values)) or 1.0
                    grey = (values - values.min()) / span
                else:
                    if "A" in picture.getbands() or "transparency" in picture.info:
                        white = Image.new("RGBA", picture.size, "white")
                        picture = Image.alpha_composite(white, picture.convert("RGBA"))
                    grey = np.asarray(picture.convert("L"), np.float32) / 255
        except Exception as error:  # Pillow's readers raise nearly anything on a damaged file
            reason = "it is not a picture that Pillow knows" if "identify" in str(error) else error
            raise CommandError(f"cannot read the image {str(path)!r}: {reason}") from None
    return np.ascontiguousarray(grey, np.float32)[:, :, None]


def filter_bank() -> tuple[tuple[str, ...], Array]:
    """Return eight filters that image editors have, as one kernel.

    Returns
    -------
    names : tuple of str
        What each filter shows.
    kernel : ndarray of float32, shape (3, 3, 1, 8)
        Height, width, input channels, filters.
    """
    filters = {
        "vertical edges": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],  # Sobel: right neighbours minus left neighbours
        "horizontal edges": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],  # lower minus upper
        "diagonal edges /": [[-2, -1, 0], [-1, 0, 1], [0, 1, 2]],  # lower right minus upper left
        "diagonal edges \\": [[0, 1, 2], [-1, 0, 1], [-2, -1, 0]],  # upper right minus lower left
        "outline": [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],  # Laplace: a pixel minus its neighbours
        "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],  # the image plus its outline
        "blur": [[1 / 16, 2 / 16, 1 / 16], [2 / 16, 4 / 16, 2 / 16], [1 / 16, 2 / 16, 1 / 16]],  # Gauss: an average
        "emboss": [[-2, -1, 0], [-1, 1, 1], [0, 1, 2]],  # the image as a relief, lit from the upper left
    }
    return tuple(filters), np.stack([np.array(taps, np.float32) for taps in filters.values()], axis=-1)[:, :, None]
