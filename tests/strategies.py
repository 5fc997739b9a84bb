"""What to try: Hypothesis draws calls, which make their own arrays, and layouts of arrays in memory."""

import dataclasses

import numpy as np
from hypothesis import strategies as st
from naive import padding_pairs

import numbaconv as nc
from numbaconv.algorithms.direct_pixels import COLUMN_TILES
from numbaconv.kernels.blocking import DEPTH_BLOCK, TILE_ROWS, tile_for

ALGORITHMS = ("direct_channels", "direct_pixels", "im2col", "winograd")
#: The algorithms that only multiply and add: their sums of small integers are exact.
SUMMING = ALGORITHMS[:3]
DTYPES = (np.float32, np.float64)
CONVOLUTIONS = {1: nc.conv1d, 2: nc.conv2d, 3: nc.conv3d}
DATA_FORMATS = {1: ("NCW", "NWC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}
PADDING_FORMS = ("int", "per dimension", "pairs", "valid", "same", "same_upper", "same_lower")
#: How far each mode can reach, in cells beyond the size of the input.
REACH = {"zeros": np.inf, "replicate": np.inf, "symmetric": 0, "circular": 0, "reflect": -1}


@dataclasses.dataclass(frozen=True)
class Case:
    """One call of ``conv{ndim}d``, whose arrays follow from a seed."""

    input_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    bias: bool
    dtype: type
    arguments: dict
    seed: int

    def arrays(self, integers=False):
        """(input, weight, bias) of normal numbers, or of integers so small that sums of their products are exact."""
        random = np.random.default_rng(self.seed)
        shapes = (self.input_shape, self.weight_shape, self.weight_shape[:1])
        draws = (random.integers(-8, 9, shape) if integers else random.normal(size=shape) for shape in shapes)
        x, w, b = (draw.astype(self.dtype) for draw in draws)
        return x, w, b if self.bias else None

    def plan(self, **changes):
        """The plan of the call."""
        return nc.explain(*self.arrays(), **{**self.arguments, **changes})

    def without(self, *names):
        """The same call without a bias, or with some arguments at their defaults."""
        defaults = {"activation": None, "padding_mode": "zeros"}
        kept = {**self.arguments, **{name: defaults[name] for name in names if name in defaults}}
        return dataclasses.replace(self, bias=self.bias and "bias" not in names, arguments=kept)

    @property
    def gradient_arguments(self):
        """The arguments that the gradients of the call take."""
        return {name: value for name, value in self.arguments.items() if name not in ("activation", "padding_mode")}

    def convolve(self, x, w, b=None, **changes):
        """The call, with these arrays and some arguments changed."""
        return CONVOLUTIONS[w.ndim - 2](x, w, b, **{**self.arguments, **changes})


#: Small ones have tiles cut off at every edge. Deep ones have more channels x taps than one block and now and then more
#: columns than one task, broad ones many rows; both have more columns and mostly more filters than a register tile.
SIZES = ("small", "deep", "broad")


@st.composite
def conv_problems(draw, ndims=(2, 2, 2, 1, 3), winograd=False, sizes=("small", "small", *SIZES), dtypes=DTYPES):
    """Cases of every rank, padding, format and option; with ``winograd``, those that Winograd's algorithm serves."""
    ndim = draw(st.sampled_from((2, 2, 1, 3) if winograd else ndims))
    size_class = draw(st.sampled_from(sizes))
    small, deep = size_class == "small", size_class == "deep"
    dtype = draw(st.sampled_from(dtypes))
    kernel = [draw(st.integers(1, 5 if small and ndim < 3 else 3)) for _ in range(ndim)]
    steps = st.integers(1, 3 if small else 4 - ndim)
    stride, dilation = ([draw(steps) for _ in range(ndim)] for _ in range(2))
    if winograd:
        plane = [draw(st.sampled_from((3, 3, 3, 1, 2, 4, 5, 7))) for _ in range(min(ndim, 2))]
        plane[-1] = max(plane[-1], 4 - max(plane))  # more than one tap
        steps_of_plane = [draw(st.sampled_from((1, 1, 1, 2, 3, 4))) for _ in plane]
        if all(k <= s for k, s in zip(plane, steps_of_plane, strict=True)):
            steps_of_plane = [1] * len(plane)
        # Along the depth, anything goes.
        kernel, stride = [*kernel[: ndim - 2], *plane], [*stride[: ndim - 2], *steps_of_plane]
        strided = [False] * (ndim - len(plane)) + [s > 1 for s in steps_of_plane]
        dilation = [1 if taken else d for d, taken in zip(dilation, strided, strict=True)]
    if small:
        groups = draw(st.sampled_from((1, 1, 1, 2, 3, 7)))
        group_filters, group_channels = draw(st.integers(1, 10)), draw(st.integers(1, 4))
        outputs = [draw(st.integers(1, 12 if ndim < 3 else 5)) for _ in range(ndim)]
    else:
        groups = draw(st.sampled_from((1, 1, 1, 2)))
        group_filters = draw(st.integers(TILE_ROWS + 1, TILE_ROWS + 5) | st.integers(1, 4))
        group_channels = draw(st.integers(1, 5)) + (DEPTH_BLOCK // int(np.prod(kernel)) if deep else 5)
        _, columns = tile_for(group_filters, np.dtype(dtype).itemsize)
        wide = st.integers(columns + 1, 2 * columns + 9)
        widest = st.integers(COLUMN_TILES * columns + 1, COLUMN_TILES * columns + 9)
        most = 2 if deep else (1, 15, 3)[ndim - 1]
        outputs = [draw(st.integers(1, most)) for _ in range(ndim - 1)]
        outputs.append(draw(st.one_of(wide, wide, widest) if deep and ndim < 3 else wide))

    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    dense = [(n - 1) * s for n, s in zip(outputs, stride, strict=True)]
    cells = st.integers(0, 4 if small or ndim < 3 else 1)
    form = draw(st.sampled_from(PADDING_FORMS))
    padding = form
    if form == "int":
        padding = draw(cells)
    elif form == "per dimension":
        padding = tuple(draw(cells) for _ in range(ndim))
    elif form == "pairs":
        padding = tuple((draw(cells), draw(cells)) for _ in range(ndim))
    if form.startswith("same"):
        size = [d + draw(st.integers(1, s)) for d, s in zip(dense, stride, strict=True)]
    else:
        sides = padding_pairs(padding, reach, reach, stride, dilation)
        size = [max(1, d + r - sum(side)) for d, r, side in zip(dense, reach, sides, strict=True)]
    sides = padding_pairs(padding, size, kernel, stride, dilation)
    beyond = max(max(pair) - n for pair, n in zip(sides, size, strict=True))
    modes = [mode for mode, limit in REACH.items() if beyond <= limit]

    batch = draw(st.sampled_from((1, 1, 1, 2, 2, 3, 0) if small else (1, 1, 1, 2)))
    data_format = draw(st.sampled_from(DATA_FORMATS[ndim]))
    channels = groups * group_channels
    return Case(
        input_shape=(batch, *size, channels) if data_format.endswith("C") else (batch, channels, *size),
        weight_shape=(groups * group_filters, group_channels, *kernel),
        bias=draw(st.booleans()),
        dtype=dtype,
        arguments={
            "stride": stride[0] if len(set(stride)) == 1 else tuple(stride),
            "padding": padding,
            "dilation": dilation[0] if len(set(dilation)) == 1 else tuple(dilation),
            "groups": groups,
            "padding_mode": draw(st.sampled_from(["zeros"] * len(modes) + modes)),
            "data_format": data_format,
            "activation": draw(st.sampled_from((None, "relu"))),
        },
        seed=draw(st.integers(0, 2**32 - 1)),
    )


def problems_for(algorithm, **options):
    """Cases that ``algorithm`` serves."""
    return conv_problems(winograd=algorithm == "winograd", **options)


def lying(array, order, flip):
    """The array's values in memory of another order of axes, one of which runs backwards; more axes may be named."""
    order = [axis for axis in order if axis < array.ndim]
    moved = np.ascontiguousarray(np.flip(array.transpose(order), flip % array.ndim))
    return np.flip(moved, flip % array.ndim).transpose(np.argsort(order))


def _between(array, step):
    """A view into larger memory, NaN around it, whose neighbours lie ``step`` apart; a negative one: backwards."""
    around = np.nan if array.dtype.kind in "fc" else 1
    memory = np.full([*np.add(array.shape[:-1], 2), (array.shape[-1] + 1) * abs(step) + 1], around, array.dtype)
    inside = memory[(slice(1, -1),) * (array.ndim - 1)][..., abs(step) : -1 : abs(step)]
    view = np.flip(inside) if step < 0 else inside
    view[...] = array
    return view


def _moved(array):
    """The axes in another order in memory: with four of them, channels last."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, min(1, array.ndim - 1), -1)), -1, min(1, array.ndim - 1))


def _read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def _misaligned(array):
    memory = np.full(array.nbytes + 1, 255, np.uint8)
    view = np.ndarray(array.shape, array.dtype, memory, offset=1)
    view[...] = array
    return view


def _record_field(array):
    """Misaligned, with strides that are no multiples of an element."""
    memory = np.full(array.shape, 255, [("before", np.uint8), ("value", array.dtype)])
    memory["value"] = array
    return memory["value"]


def _overlapping(array):
    """Every stride is one element, so that most elements are shared."""
    memory = np.resize(array, 1 + sum(size - 1 for size in array.shape))
    return np.lib.stride_tricks.as_strided(memory, array.shape, [array.itemsize] * array.ndim)


#: Ways to lay an array out in memory. All keep its values, but the last two, whose elements share memory.
LAYOUTS = {
    "contiguous": np.array,
    "Fortran order": np.asfortranarray,
    "moved axes": _moved,
    "sliced": lambda array: _between(array, 2),
    "backwards": lambda array: _between(array, -1),
    "backwards, sliced": lambda array: _between(array, -3),
    "misaligned": _misaligned,
    "record field": _record_field,
    "read-only": _read_only,
    "byte-swapped": lambda array: array.astype(array.dtype.newbyteorder()),
    "broadcast": lambda array: np.broadcast_to(array[..., :1], array.shape),
    "overlapping": _overlapping,
}
#: The layouts that a result can be written to.
OUT_LAYOUTS = tuple(LAYOUTS)[:8]
layouts = st.sampled_from(tuple(LAYOUTS))
out_layouts = st.sampled_from(OUT_LAYOUTS)


def owner(array):
    """The array that owns this one's memory."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


TRANSPOSED = {1: nc.conv_transpose1d, 2: nc.conv_transpose2d, 3: nc.conv_transpose3d}


@dataclasses.dataclass(frozen=True)
class TransposedCase(Case):
    """One call of ``conv_transpose{ndim}d``."""

    def arrays(self, integers=False):
        """(input, weight, bias), as :meth:`Case.arrays`."""
        random = np.random.default_rng(self.seed)
        filters = self.weight_shape[1] * self.arguments["groups"]
        shapes = (self.input_shape, self.weight_shape, (filters,))
        draws = (random.integers(-8, 9, shape) if integers else random.normal(size=shape) for shape in shapes)
        x, w, b = (draw.astype(self.dtype) for draw in draws)
        return x, w, b if self.bias else None

    def convolve(self, x, w, b=None, **changes):
        """The call, with these arrays and some arguments changed."""
        return TRANSPOSED[w.ndim - 2](x, w, b, **{**self.arguments, **changes})


@st.composite
def transposed_problems(draw, ndims=(2, 2, 1, 3), dtypes=DTYPES):
    """Cases of every rank, stride, padding, output padding, format and option; some larger than a register tile."""
    ndim = draw(st.sampled_from(ndims))
    large = draw(st.sampled_from((False, False, True)))
    dtype = draw(st.sampled_from(dtypes))
    each = range(ndim)
    kernel = [draw(st.integers(1, 5 if ndim < 3 else 3)) for _ in each]
    stride, dilation = ([draw(st.integers(1, 4 if ndim < 3 else 2)) for _ in each] for _ in range(2))
    extra = [draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)]
    size = [draw(st.integers(1, 9 if ndim < 3 else 4)) for _ in each]
    if large:
        size[-1] = draw(st.integers(30, 70))
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    group_channels = draw(st.integers(1, 40 if large else 4))
    group_filters = draw(st.integers(1, TILE_ROWS + 5 if large else 5))
    reach = [
        (n - 1) * s + d * (k - 1) + 1 + more
        for n, s, d, k, more in zip(size, stride, dilation, kernel, extra, strict=True)
    ]
    pairs = []
    for n in reach:  # at least one output stays
        before = draw(st.integers(0, min(4, n - 1)))
        pairs.append((before, draw(st.integers(0, min(4, n - 1 - before)))))
    form = draw(st.sampled_from(("int", "per dimension", "pairs")))
    padding = tuple(pairs)
    if form != "pairs":
        padding = tuple(min(before, after) for before, after in pairs)
        padding = min(padding) if form == "int" else padding
    batch = draw(st.sampled_from((1, 1, 2, 3, 0)))
    data_format = draw(st.sampled_from(DATA_FORMATS[ndim]))
    channels = groups * group_channels
    return TransposedCase(
        input_shape=(batch, *size, channels) if data_format.endswith("C") else (batch, channels, *size),
        weight_shape=(channels, group_filters, *kernel),
        bias=draw(st.booleans()),
        dtype=dtype,
        arguments={
            "stride": stride[0] if len(set(stride)) == 1 else tuple(stride),
            "padding": padding,
            "output_padding": extra[0] if len(set(extra)) == 1 else tuple(extra),
            "groups": groups,
            "dilation": dilation[0] if len(set(dilation)) == 1 else tuple(dilation),
            "data_format": data_format,
            "activation": draw(st.sampled_from((None, "relu"))),
        },
        seed=draw(st.integers(0, 2**32 - 1)),
    )
