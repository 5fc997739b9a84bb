"""The benchmarks: scripts that find each other beside them, which asv imports as a package."""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
# Ratios are of one thread (see ratios.py), and NumPy's and SciPy's BLAS reads this once, when it is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
