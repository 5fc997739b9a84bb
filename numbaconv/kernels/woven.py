"""Stores of a product whose filters are the taps of a transposed convolution: neighbouring filters, woven into rows.

Where windows lie side by side, 2 wide, a transposed convolution is a pointwise one with a filter for each tap. Its
results are transposed to be stored anyway; two shuffles more, and they lie as the transposed convolution has them.
Apart, and woven together afterwards, a 128 -> 64 channels' 112x112 took 3.1 instead of 2.1 ms (Zen 5).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..runtime import kernel
from . import geometry as at
from .numbers import lanes_of, smaller
from .simd_channels import biased
from .vectors import Vectors, constant, element, transposed


@intrinsic
def store_woven(
    typing_context, sums, start, stride, count, bias, bias_start, relu, out, out_start, rows, row, steps, valid
):
    """out[y[n // 2] + 2 * j + n % 2] = sums[start + j * stride + n] + bias[bias_start + n], then ReLU where asked.

    For j < count <= lanes and n < min(valid, lanes). y[0] is ``out_start``; each further y is steps[0] elements on or,
    after every ``rows`` of them, of which ``row`` come before the first, steps[1]. ``lanes`` rows of sums are read.
    """
    index = types.intp
    signature = types.void(
        sums, index, index, index, bias, index, index, out, index, index, index, types.UniTuple(index, 2), index
    )  # fmt: skip

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        sums, start, stride, count, bias, bias_start, relu, out, out_start, rows, row, steps, valid = arguments
        vectors = Vectors(context, builder, signature.args[0].dtype)
        lanes = vectors.lanes
        first = element(context, builder, signature.args[0], sums, start)
        lines = [vectors.load(builder.gep(first, [builder.mul(stride, constant(j))])) for j in range(lanes)]
        biases = vectors.load(element(context, builder, signature.args[4], bias, bias_start))
        planes = transposed(vectors, biased(vectors, lines, biases, relu))
        target = element(context, builder, signature.args[7], out, out_start)
        near, far = (builder.extract_value(steps, i) for i in range(2))
        written = builder.mul(count, constant(2))
        masks = [vectors.first_lanes(builder.sub(written, constant(half * lanes))) for half in range(2)]
        for pair in range(lanes // 2):
            even, odd = planes[2 * pair : 2 * pair + 2]
            with builder.if_then(builder.icmp_signed("<", constant(2 * pair), valid)):
                for half in range(2):
                    woven = [lane for j in range(half * lanes // 2, (half + 1) * lanes // 2) for lane in (j, lanes + j)]
                    address = builder.gep(target, [constant(half * lanes)])
                    vectors.store_masked(vectors.shuffle(even, odd, woven), address, masks[half])
            row = builder.add(row, constant(1))
            last = builder.icmp_signed("==", row, rows)
            target = builder.gep(target, [builder.select(last, far, near)])
            row = builder.select(last, constant(0), row)
        return context.get_dummy_value()

    return signature, generate


@kernel
def store_woven_pixels(scratch, sums, weight, bias, out, geometry, image, panel, column, columns, first, last):
    """As ``direct_channels.store_pixels`` of a pointwise convolution whose filters are taps (c, kh, kw), 2 a row.

    Pixel p lies in row p // WEAVE_WIDTH of the input; out[OUT_START + image * OUT_BATCH + c * OUT_CHANNEL + row *
    OUT_STRIDE_H + kh * WEAVE_STEP + 2 * (p % WEAVE_WIDTH) + kw] becomes the sum of filter (c * WEAVE_ROWS + kh) * 2 +
    kw. There are no groups.
    """
    mr = geometry[at.MR]
    lanes = lanes_of(out)
    width, rows = geometry[at.WEAVE_WIDTH], geometry[at.WEAVE_ROWS]
    near, channel_step = geometry[at.WEAVE_STEP], geometry[at.OUT_CHANNEL]
    steps = (near, channel_step - (rows - 1) * near)
    valid = smaller(mr, geometry[at.FILTERS] - panel * mr)
    start = geometry[at.OUT_START] + image * geometry[at.OUT_BATCH]
    relu = 1 if geometry[at.FINISH] == at.FINISH_BIAS_RELU else 0
    last = smaller(last, columns)
    while first < last:
        line, place = divmod(column + first, width)
        count = smaller(last - first, width - place)
        y = start + line * geometry[at.OUT_STRIDE_H] + 2 * place
        for n in range(0, valid, lanes):
            c, row = divmod((panel * mr + n) // 2, rows)
            target = y + c * channel_step + row * near
            for j in range(0, count, lanes):
                store_woven(
                    scratch, sums + j * mr + n, mr, smaller(lanes, count - j), weight, bias + n, relu, out,
                    target + 2 * j, rows, row, steps, valid - n,
                )  # fmt: skip
        first += count
        sums += count * mr
