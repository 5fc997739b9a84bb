"""Names for the slots of the tuple of integers that the convolution kernels take: sizes, options, starts and strides.

A tuple reaches a kernel as constant memory, each slot by a constant address. Every array is seen in six dimensions
(:mod:`.views`), a dimension that a problem lacks having size 1; strides and starts are counted in elements.
"""

from __future__ import annotations

from typing import Final

BATCH: Final = 0
GROUPS: Final = 1
CHANNELS: Final = 2  # of one group
FILTERS: Final = 3  # of one group
IN_D: Final = 4
IN_H: Final = 5
IN_W: Final = 6
KERNEL_D: Final = 7
KERNEL_H: Final = 8
KERNEL_W: Final = 9
OUT_D: Final = 10
OUT_H: Final = 11
OUT_W: Final = 12
STRIDE_D: Final = 13
STRIDE_H: Final = 14
STRIDE_W: Final = 15
DILATION_D: Final = 16
DILATION_H: Final = 17
DILATION_W: Final = 18
PAD_D: Final = 19  # cells before the first one
PAD_H: Final = 20
PAD_W: Final = 21
EXTENSION: Final = 22  # what lies outside: one of the codes below
RELU: Final = 23  # 1 where negative results become 0
HAS_BIAS: Final = 24
FILTER_LANES: Final = 25  # 1 where the filters of a pixel are neighbours in the output's memory
CONJUGATE_X: Final = 26
CONJUGATE_W: Final = 27
FILLED: Final = 28  # 1 where what lies outside is a value other than 0

X_START: Final = 29
X_BATCH: Final = 30
X_GROUP: Final = 31
X_CHANNEL: Final = 32
X_D: Final = 33
X_H: Final = 34
X_W: Final = 35
W_START: Final = 36
W_GROUP: Final = 37
W_FILTER: Final = 38
W_CHANNEL: Final = 39
W_D: Final = 40
W_H: Final = 41
W_W: Final = 42
OUT_START: Final = 43
OUT_BATCH: Final = 44
OUT_GROUP: Final = 45
OUT_FILTER: Final = 46
OUT_STRIDE_D: Final = 47
OUT_STRIDE_H: Final = 48
OUT_STRIDE_W: Final = 49
BIAS_START: Final = 50
BIAS_STRIDE: Final = 51
LENGTH: Final = 52

# What lies outside the input.
FILL: Final = 0
NEAREST: Final = 1
SYMMETRIC: Final = 2
MIRROR: Final = 3
WRAP: Final = 4
EXTENSIONS: Final = {"zeros": FILL, "replicate": NEAREST, "symmetric": SYMMETRIC, "reflect": MIRROR, "circular": WRAP}
