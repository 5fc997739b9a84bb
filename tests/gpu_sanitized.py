"""Every kernel on small problems with tails everywhere, for NVIDIA's compute-sanitizer; needs a GPU and nothing else.

    compute-sanitizer --tool memcheck --error-exitcode 1 python tests/gpu_sanitized.py     # and racecheck, initcheck

Numba's arrays are allocations of their own, at whose ends memcheck stops; torch's and CuPy's share large ones.
"""

import sys

import numpy as np
import test_cuda_device as device

import numbaconv as nc
from numbaconv.cuda.shim import cuda


def main():
    names = sys.argv[1:] or [name for name, (shape, *_) in device.CASES.items() if 0 not in shape]
    for dtype in ("float32", "float16"):
        for name in names:
            if dtype != "float32" and ("winograd" in name or "gemm" in name):
                continue
            x, w, b, convolve, expected = device.case(name, np.dtype(dtype))
            result = convolve(*map(cuda.to_device, (x, w, b))).copy_to_host()
            device.assert_right(result, expected.astype(dtype), name)
            if dtype == "float32" and x.ndim == 4:
                arguments = device.CASES[name][2]
                if "padding_mode" in arguments:
                    continue
                said = {k: v for k, v in arguments.items() if k != "algorithm"}
                g = device.numbers(*expected.shape, seed=1)
                given = [cuda.to_device(array) for array in (x, w, g)]
                nc.grad.conv2d_input(x.shape, given[1], given[2], **said).copy_to_host()
                nc.grad.conv2d_weight(given[0], w.shape, given[2], **said).copy_to_host()
            print(dtype, name, flush=True)


if __name__ == "__main__":
    main()
