"""Tiny problems for the GPU path: drawn so that a simulated kernel takes a second, and every tail is met."""

import numpy as np
from hypothesis import strategies as st
from strategies import DATA_FORMATS, REACH, Case, TransposedCase

few, several, counts = st.integers(1, 3), st.integers(1, 5), st.sampled_from((1, 1, 2, 3))


@st.composite
def tiny_problems(
    draw, ndims=(1, 2, 2, 3), kernels=few, steps=few, filters=few, channels=few, groups=counts, outputs=several,
    batches=(1, 2, 0), modes=tuple(REACH), dtypes=(np.float32, np.float64), formats=(0, 1),
):  # fmt: skip
    """Cases of every rank, format and option."""
    ndim = draw(st.sampled_from(ndims))
    kernel = [draw(kernels) for _ in range(ndim)]
    stride, dilation = ([draw(steps) for _ in range(ndim)] for _ in range(2))
    count, group_filters, group_channels = draw(groups), draw(filters), draw(channels)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    dense = [(draw(outputs) - 1) * s for s in stride]
    pairs = [(draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(ndim)]
    size = [max(1, d + r - sum(pair)) for d, r, pair in zip(dense, reach, pairs, strict=True)]
    beyond = max(max(pair) - n for pair, n in zip(pairs, size, strict=True))
    usable = [mode for mode in modes if beyond <= REACH[mode]]
    data_format = DATA_FORMATS[ndim][draw(st.sampled_from(formats))]
    batch = draw(st.sampled_from(batches))
    total = count * group_channels
    return Case(
        input_shape=(batch, *size, total) if data_format.endswith("C") else (batch, total, *size),
        weight_shape=(count * group_filters, group_channels, *kernel),
        bias=draw(st.booleans()),
        dtype=draw(st.sampled_from(dtypes)),
        arguments={
            "stride": tuple(stride), "padding": tuple(pairs), "dilation": tuple(dilation), "groups": count,
            "padding_mode": draw(st.sampled_from(usable)), "data_format": data_format,
            "activation": draw(st.sampled_from((None, "relu"))),
        },
        seed=draw(st.integers(0, 2**32 - 1)),
    )  # fmt: skip


@st.composite
def tiny_transposed(draw):
    """Transposed cases of every rank, stride, padding, output padding and format."""
    ndim = draw(st.sampled_from((1, 2, 2, 3)))
    each = range(ndim)
    kernel = [draw(st.integers(1, 3)) for _ in each]
    stride, dilation = ([draw(st.integers(1, 3)) for _ in each] for _ in range(2))
    extra = [draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)]
    size = [draw(st.integers(1, 3)) for _ in each]
    reach = [
        (n - 1) * s + d * (k - 1) + 1 + more
        for n, s, d, k, more in zip(size, stride, dilation, kernel, extra, strict=True)
    ]
    pairs = []
    for n in reach:  # at least one output stays
        before = draw(st.integers(0, min(2, n - 1)))
        pairs.append((before, draw(st.integers(0, min(2, n - 1 - before)))))
    groups, data_format = draw(st.sampled_from((1, 2))), draw(st.sampled_from(DATA_FORMATS[ndim]))
    channels = groups * draw(st.integers(1, 3))
    batch = draw(st.sampled_from((1, 2, 0)))
    return TransposedCase(
        input_shape=(batch, *size, channels) if data_format.endswith("C") else (batch, channels, *size),
        weight_shape=(channels, draw(st.integers(1, 3)), *kernel),
        bias=draw(st.booleans()),
        dtype=np.float32,
        arguments={
            "stride": tuple(stride), "padding": tuple(pairs), "output_padding": tuple(extra), "groups": groups,
            "dilation": tuple(dilation), "data_format": data_format,
            "activation": draw(st.sampled_from((None, "relu"))),
        },
        seed=draw(st.integers(0, 2**32 - 1)),
    )  # fmt: skip
