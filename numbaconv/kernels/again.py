"""A call that was made before, in machine code from its arguments to its result: what Python calls is a C function.

It reads Python's objects where they lie and calls Python's C functions by their addresses. NumPy's arrays begin as
NumPy's C interface says, which all its versions share. All addresses and sizes are words of eight bytes.
"""

from __future__ import annotations

from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..runtime import kernel
from .blocking import LINE, UNDONE
from .numbers import integer_at, put_integer, smaller
from .vectors import INDEX

#: Words of the state: the number of times that plans have been forgotten; whether this process is a forked child;
#: Python objects; functions; memory that is kept for the next call, or 0; one that is free.
FORGOTTEN, FORKED, ARRAY, TUPLE, NONE, LIMIT = range(6)
TUPLE_SIZE, TUPLE_ITEM, NEW_BYTES, BYTES_DATA, FIND, ERROR, CALL, TAKE, GIVE = range(6, 15)
ALLOCATE, FREE, NO_MEMORY, LEAVE, ENTER, CONTEXT = range(15, 21)
COUNT_THREADS, ON_THREADS, RUN_SLOTS, KEPT, SPARE = range(21, 26)
STATE_LENGTH: Final = 26
#: Words of a ticket, which says how a call is made: the addresses of the functions that lay out the weights, or 0, and
#: that do the tasks; whether either is worth several threads; whether tasks may lack a function; the address of the
#: packed weights, or 0 where the call packs them; of the tables; bytes from element 0 of the input and of the weight
#: back to the lowest one; bytes of packed weights, of scratch, and of scratch of each thread.
PACK, TASKS, PARALLEL_PACK, PARALLEL, PACKED, ROWS, GEOMETRY, INPUT_BACK, WEIGHT_BACK = range(9)
PACKED_BYTES, SHARED_BYTES, THREAD_BYTES, LACKING = range(9, 13)
TICKET_LENGTH: Final = 13
#: Bytes of memory that are kept for the next call at most.
MOST_KEPT: Final = 2**24
#: What the function is called with, and the place of each.
TABLE, NDIM, INPUT, WEIGHT, BIAS, OPTIONS = range(6)
ARGUMENTS: Final = 6
#: Options, each of which is part of the key by its address, or by its items' where it is a tuple.
OPTION_COUNT: Final = 9

_WORD: Final = 8
_LINE_BYTES: Final = 4 * LINE
#: The words that threads are given: how many they are, the function and its arguments; behind them a range of slots.
_SLOTS, _FUNCTION, _GIVEN = 0, 1, 2
_START, _SIZE, _STEP = 9, 10, 11
_HEAD: Final = 2 * _LINE_BYTES
# Where an object's type is, and in an array its data, the number, sizes and strides of its dimensions, dtype and flags.
_TYPE, _DATA, _NDIM, _SIZES, _STRIDES, _DTYPE, _FLAGS = 8, 16, 24, 32, 40, 56, 64
#: The flag of arrays whose elements lie where their dtype wants them.
_ALIGNED: Final = 0x100
#: What of a word is a C int.
_INT: Final = 2**32 - 1
#: Bits of a key's first word of an array that hold the address of its dtype; the flag and the dimensions are above.
_ADDRESS_BITS: Final = 48


@intrinsic
def number_at(typing_context, address):
    """The C int at an address."""

    def generate(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        number = builder.load(builder.inttoptr(arguments[0], ir.IntType(32).as_pointer()))
        return builder.sext(number, INDEX)

    return types.intp(types.intp), generate


@intrinsic
def call_c(typing_context, function, arguments):
    """Call the C function at an address with a tuple of words; what it returns, where that is a word."""
    signature = types.intp(types.intp, arguments)

    def generate(_context: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> ir.Value:
        function, words = values
        inputs = [builder.extract_value(words, i) for i in range(len(arguments))]
        kind = ir.FunctionType(INDEX, [INDEX] * len(inputs))
        return builder.call(builder.inttoptr(function, kind.as_pointer()), inputs)

    return signature, generate


@kernel
def key_words(array, none):
    """How many words of a key tell how an array, or None, is laid out."""
    return 1 if array == none else 1 + 2 * number_at(array + _NDIM)


@kernel
def put_layout(key, array, none):
    """Write the words of :func:`key_words` and return the address behind them: dtype, sizes, strides, alignment.

    A dtype's address stands for it, and None's for no array.
    """
    if array == none:
        put_integer(key, 0, none)
        return key + _WORD
    dimensions = number_at(array + _NDIM)
    aligned = number_at(array + _FLAGS) & _ALIGNED
    put_integer(key, 0, integer_at(array + _DTYPE, 0) + ((aligned + dimensions) << _ADDRESS_BITS))
    sizes, strides = integer_at(array + _SIZES, 0), integer_at(array + _STRIDES, 0)
    key += _WORD
    for i in range(dimensions):
        put_integer(key, 0, integer_at(sizes, i))
        put_integer(key, 1, integer_at(strides, i))
        key += 2 * _WORD
    return key


@kernel
def option_words(words, option):
    """How many words of a key tell what an option is."""
    if integer_at(option + _TYPE, 0) != integer_at(words, TUPLE):
        return 1
    return 2 + call_c(integer_at(words, TUPLE_SIZE), (option,))


@kernel
def put_option(words, key, option):
    """Write the words of :func:`option_words` and return the address behind them."""
    if integer_at(option + _TYPE, 0) != integer_at(words, TUPLE):
        put_integer(key, 0, option)
        return key + _WORD
    count = call_c(integer_at(words, TUPLE_SIZE), (option,))
    put_integer(key, 0, integer_at(words, TUPLE))
    put_integer(key, 1, count)
    for i in range(count):
        put_integer(key, 2 + i, call_c(integer_at(words, TUPLE_ITEM), (option, i)))
    return key + (2 + count) * _WORD


@kernel
def make_key(words, arguments):
    """A new bytes object that tells all that a call depends on but its arrays' elements.

    0, with an exception, where memory is short or there are not OPTION_COUNT options.
    """
    none, options = integer_at(words, NONE), integer_at(arguments, OPTIONS)
    item = integer_at(words, TUPLE_ITEM)
    count = 2
    for i in range(OPTION_COUNT):
        option = call_c(item, (options, i))
        if option == 0:
            return 0
        count += option_words(words, option)
    for i in range(INPUT, BIAS + 1):
        count += key_words(integer_at(arguments, i), none)
    key = call_c(integer_at(words, NEW_BYTES), (0, count * _WORD))
    if key == 0:
        return 0
    place = call_c(integer_at(words, BYTES_DATA), (key,))
    put_integer(place, 0, integer_at(words, FORGOTTEN))
    put_integer(place, 1, integer_at(arguments, NDIM))
    place += 2 * _WORD
    for i in range(OPTION_COUNT):
        place = put_option(words, place, call_c(item, (options, i)))
    for i in range(INPUT, BIAS + 1):
        place = put_layout(place, integer_at(arguments, i), none)
    return key


@kernel
def run_slots(places, counts, steps, given):
    """Call a function as the threads of a part of a range: Numba's pool calls it as it does what a ``prange`` loop is.

    The range begins at address ``places[0]``, which is the first slot, and has ``counts[0]`` bytes. ``given`` are the
    words from _SLOTS on.
    """
    slots = integer_at(given, _SLOTS)
    first = integer_at(places, 0)
    for slot in range(first, smaller(slots, first + integer_at(counts, 0))):
        call_tasks(slot, slots, given)


@kernel
def call_tasks(slot, slots, given):
    """Call the function among the words ``given``, as thread ``slot`` of ``slots``."""
    call_c(
        integer_at(given, _FUNCTION),
        (
            slot, slots, integer_at(given, _GIVEN), integer_at(given, _GIVEN + 1), integer_at(given, _GIVEN + 2),
            integer_at(given, _GIVEN + 3), integer_at(given, _GIVEN + 4), integer_at(given, _GIVEN + 5),
        ),
    )  # fmt: skip


@kernel
def run_threads(words, head, threads, function, a, b, c, rows, geometry, scratch):
    """Call function(slot, threads, a, b, c, rows, geometry, scratch) on some threads; ``head`` has room for the words.

    The counters at the scratch's start may not lie in two cache lines: to add to such a one atomically took
    milliseconds (Emerald Rapids).
    """
    for i in range(UNDONE + 1):
        put_integer(scratch, i, 0)
    put_integer(head, _SLOTS, threads)
    put_integer(head, _FUNCTION, function)
    put_integer(head, _GIVEN, a)
    put_integer(head, _GIVEN + 1, b)
    put_integer(head, _GIVEN + 2, c)
    put_integer(head, _GIVEN + 3, rows)
    put_integer(head, _GIVEN + 4, geometry)
    put_integer(head, _GIVEN + 5, scratch)
    if threads == 1:
        call_tasks(0, 1, head)
        return
    put_integer(head, _START, 0)
    put_integer(head, _SIZE, threads)
    put_integer(head, _STEP, 1)
    start, size, step = head + _START * _WORD, head + _SIZE * _WORD, head + _STEP * _WORD
    call_c(integer_at(words, ON_THREADS), (integer_at(words, RUN_SLOTS), start, size, step, head, 0, 1, threads))


@kernel
def pack_and_run(words, ticket, threads, x, weight, bias, out, head):
    """Lay out the weights, unless they are, and do all tasks; return whether all are done.

    ``head`` is where _HEAD bytes begin, on a cache line, and behind them PACKED_BYTES, whole lines, and the scratch.
    """
    rows, geometry = integer_at(ticket, ROWS), integer_at(ticket, GEOMETRY)
    packed, scratch = integer_at(ticket, PACKED), head + _HEAD + integer_at(ticket, PACKED_BYTES)
    if packed == 0:
        packed = head + _HEAD
        several = threads if integer_at(ticket, PARALLEL_PACK) != 0 else 1
        run_threads(
            words, head, several, integer_at(ticket, PACK), weight, bias, packed, rows, geometry, scratch
        )  # fmt: skip
    several = threads if integer_at(ticket, PARALLEL) != 0 else 1
    run_threads(words, head, several, integer_at(ticket, TASKS), x, packed, out, rows, geometry, scratch)
    return integer_at(ticket, LACKING) == 0 or integer_at(scratch, UNDONE) == 0


@kernel
def count_threads(words, ticket):
    """How many threads a call may use; 0 where ``numbaconv.threads`` says it, which Python's code must be asked.

    -1, with an exception, where it cannot be known.
    """
    if integer_at(ticket, PARALLEL) == 0 == integer_at(ticket, PARALLEL_PACK) or integer_at(words, FORKED) != 0:
        return 1
    none = integer_at(words, NONE)
    place = words + SPARE * _WORD  # while the GIL is held
    if call_c(integer_at(words, CONTEXT), (integer_at(words, LIMIT), none, place)) & _INT != 0:
        return -1
    limit = integer_at(place, 0)
    call_c(integer_at(words, GIVE), (limit,))
    return call_c(integer_at(words, COUNT_THREADS), ()) & _INT if limit == none else 0


@kernel
def borrow(words, size):
    """Memory of at least ``size`` bytes: what is kept, if it has as many. 0 where there is none. The GIL is held.

    Its first word says how many it has.
    """
    memory = integer_at(words, KEPT)
    if memory != 0 and integer_at(memory, 0) >= size:
        put_integer(words, KEPT, 0)
        return memory
    memory = call_c(integer_at(words, ALLOCATE), (size,))
    if memory != 0:
        put_integer(memory, 0, size)
    return memory


@kernel
def give_back(words, memory):
    """Keep memory for the next call, if none that is larger is kept, and free the other."""
    kept, size = integer_at(words, KEPT), integer_at(memory, 0)
    if size > MOST_KEPT or (kept != 0 and integer_at(kept, 0) >= size):
        kept = memory
    else:
        put_integer(words, KEPT, memory)
    if kept != 0:
        call_c(integer_at(words, FREE), (kept,))


@kernel
def run_known(words, known, x, weight, bias):
    """Make a call that is remembered as ``known``; ``bias`` is the address of its elements, or 0 for zeros."""
    item, none = integer_at(words, TUPLE_ITEM), integer_at(words, NONE)
    ticket = call_c(integer_at(words, BYTES_DATA), (call_c(item, (known, 0)),))
    threads = count_threads(words, ticket)
    if threads <= 0:
        if threads == 0:
            call_c(integer_at(words, TAKE), (none,))
        return none if threads == 0 else 0
    result = call_c(integer_at(words, CALL), (call_c(item, (known, 1)), call_c(item, (known, 2))))
    if result == 0:
        return result
    size = integer_at(ticket, PACKED_BYTES) + integer_at(ticket, SHARED_BYTES)
    size += threads * integer_at(ticket, THREAD_BYTES) + _HEAD + 2 * _LINE_BYTES
    memory = borrow(words, size)
    if memory == 0:
        call_c(integer_at(words, GIVE), (result,))
        return call_c(integer_at(words, NO_MEMORY), ())
    lowest = integer_at(x + _DATA, 0) - integer_at(ticket, INPUT_BACK)
    weights = integer_at(weight + _DATA, 0) - integer_at(ticket, WEIGHT_BACK)
    out, head = integer_at(result + _DATA, 0), (memory + _WORD + _LINE_BYTES - 1) & -_LINE_BYTES
    thread = call_c(integer_at(words, LEAVE), ())
    done = pack_and_run(words, ticket, threads, lowest, weights, bias, out, head)
    call_c(integer_at(words, ENTER), (thread,))
    give_back(words, memory)
    if not done:  # a function is lacking, which Python's code will compile
        call_c(integer_at(words, GIVE), (result,))
        call_c(integer_at(words, TAKE), (none,))
        return none
    return result


@kernel
def call_again(state, arguments, count):
    """PyObject *call_again(PyObject *state, PyObject *const *arguments, Py_ssize_t count), as METH_FASTCALL has it.

    - state: an array of STATE_LENGTH words.
    - arguments: a dict of remembered calls, ndim, input, weight, bias, a tuple of OPTION_COUNT options.

    Returns a new reference to the result of a call that is in the dict, and else to None. Where the dict is None, to
    the key under which the call would be: its value is a tuple of a ticket's bytes, a function and its arguments that
    make the result, and what keeps alive whatever the ticket and the key name by address.

    Preconditions: the GIL is held (it is released while the kernels run). Where a ticket asks for several threads,
    ON_THREADS is the function of Numba's pool. Edges: whatever is not an array of exactly NumPy's own type is left to
    Python's code, and so are calls within ``numbaconv.threads``, and where tasks have lacked a function. NULL with an
    exception where memory is short.
    """
    words = integer_at(state + _DATA, 0)
    none, array = integer_at(words, NONE), integer_at(words, ARRAY)
    x, weight = integer_at(arguments, INPUT), integer_at(arguments, WEIGHT)
    bias = integer_at(arguments, BIAS)
    nothing = count != ARGUMENTS or integer_at(x + _TYPE, 0) != array or integer_at(weight + _TYPE, 0) != array
    if nothing or (bias != none and integer_at(bias + _TYPE, 0) != array):
        call_c(integer_at(words, TAKE), (none,))
        return none
    key = make_key(words, arguments)
    table = integer_at(arguments, TABLE)
    if key == 0 or table == none:
        return key
    known = call_c(integer_at(words, FIND), (table, key))
    call_c(integer_at(words, GIVE), (key,))
    if known == 0:
        if call_c(integer_at(words, ERROR), ()) != 0:
            return 0
        call_c(integer_at(words, TAKE), (none,))
        return none
    call_c(integer_at(words, TAKE), (known,))  # another thread may have it forgotten while the kernels run
    result = run_known(words, known, x, weight, 0 if bias == none else integer_at(bias + _DATA, 0))
    call_c(integer_at(words, GIVE), (known,))
    return result
