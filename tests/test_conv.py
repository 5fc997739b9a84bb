"""Every algorithm against the references, the algebra of convolution, and numbers that are not finite."""

import numba
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import numbaconv as nc
from accuracy import WINOGRAD, assert_accurate, winograd_bound
from naive import conv2d_loops, padding_pairs, per_dimension, scipy_reference
from strategies import ALGORITHMS, DTYPES, SUMMING, conv_problems, problems_for

every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)
summing_algorithms = pytest.mark.parametrize("algorithm", SUMMING)


@given(case=conv_problems(ndims=(2,), sizes=("small",)))
def test_references_agree(case):
    """The two references share no loop: on integers they agree exactly."""
    x, w, b = case.arrays(integers=True)
    arguments = {**case.arguments, "data_format": "NCHW", "activation": None}
    if case.arguments["data_format"] == "NHWC":
        x = np.moveaxis(x, -1, 1)
    assume(x.size * w.size < 20_000)
    loops = {name: value for name, value in arguments.items() if name not in ("data_format", "activation")}
    np.testing.assert_array_equal(scipy_reference(x, w, b, **arguments), conv2d_loops(x, w, b, **loops))
