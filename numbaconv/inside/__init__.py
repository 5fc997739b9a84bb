"""What the public functions do inside ``@njit``: from their arguments to the kernels without Python.

Why without: the calling thread of a ``prange`` loop holds the GIL while it waits for the others, so that a worker which
asked for it, to plan a call in Python, would wait for ever.

One mechanism serves every function. A caller's compiled code (:mod:`.passing`, chosen by the types in
:mod:`.overloads`) writes the arguments down as records of integers (:mod:`.slots`), calls a *host function* that
validates them and works out the result's shape, allocates the result, and calls another host function that plans the
call and runs the kernels. Host functions take one address, serve every dtype, and are compiled once, as are the
kernels: the drivers' own cost models and blocking are compiled into them, so that the same algorithm is chosen and the
same bits come out as outside; Winograd's transforms are made ready for all tiles that a call may take. What
does the work are the functions that :mod:`numbaconv.execute` calls by their addresses. Callers find both by the names
of symbols (:mod:`.linking`), so that no address is baked into what Numba caches, and a call adds milliseconds to what a
caller takes to compile.

The host functions: :mod:`.layers` and :mod:`.gradients` (with :mod:`.arguments`, :mod:`.convolution`, :mod:`.tables`,
:mod:`.adjoints`, :mod:`.folding`, :mod:`.parts`), :mod:`.filters` (with :mod:`.windows`, :mod:`.choices`,
:mod:`.blocks`).
"""
