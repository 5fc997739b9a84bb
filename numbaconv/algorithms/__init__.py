"""One host driver for each algorithm, two for direct summation. Each of them has the same six functions.

``unsupported(problem)``
    None, or why the algorithm cannot serve the problem.
``cost(geometry, itemsize)``
    What the planner expects one core to spend, in vector multiply-adds.
``pack_cost(geometry, itemsize)``
    The same for laying out the weights.
``block(geometry, itemsize)``
    Fill the blocking slots of ``geometry``. No slot depends on the number of threads, so results do not either.
``rows(geometry, itemsize)``
    The table of row starts that the microkernel reads its packed block by.
``kernels(geometry)``
    The functions that lay out the weights (None where tasks do it) and that do the tasks, for ``runtime.begin``;
    imported only now. They serve every layout where the slots of strides are 0, and else that of ``geometry``.

Where tasks call functions by their addresses, ``prepare(geometry, itemsize)`` begins to compile those that ``rows``
holds, and ``complete(rows, itemsize)`` compiles one that few programs need; see ``executable.Executable``.

``cost`` and ``block`` index ``geometry`` by the names of :mod:`numbaconv.kernels.geometry` and stay within Numba's
nopython subset, so that they also compile inside a caller's ``@njit`` function.
"""
