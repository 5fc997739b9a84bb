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
from .numbers import integer_at, put_integer
from .vectors import INDEX

#: Words of the state: the number of times that plans have been forgotten; Python objects; functions.
FORGOTTEN, ARRAY, TUPLE, NONE, EMPTY = range(5)
TUPLE_SIZE, TUPLE_ITEM, NEW_BYTES, BYTES_DATA, FIND, ERROR, CALL, TAKE, GIVE = range(5, 14)
ALLOCATE, FREE, NO_MEMORY, LEAVE, ENTER = range(14, 19)
STATE_LENGTH: Final = 19
#: Words of a ticket, which says how a call is made: the addresses of the functions that lay out the weights, or 0, and
#: that do the tasks; of the packed weights, or 0 where the call packs them; of the tables; bytes from element 0 of the
#: input and of the weight back to the lowest one; bytes of packed weights and of scratch.
PACK, TASKS, PACKED, ROWS, GEOMETRY, INPUT_BACK, WEIGHT_BACK, PACKED_BYTES, SCRATCH_BYTES = range(9)
TICKET_LENGTH: Final = 9
#: What the function is called with, and the place of each.
TABLE, NDIM, INPUT, WEIGHT, BIAS, OPTIONS = range(6)
ARGUMENTS: Final = 6
#: Options, each of which is part of the key by its address, or by its items' where it is a tuple.
OPTION_COUNT: Final = 9

_WORD: Final = 8
_LINE_BYTES: Final = 4 * LINE
# Where an object's type is, and in an array its data, the number, sizes and strides of its dimensions, dtype and flags.
_TYPE, _DATA, _NDIM, _SIZES, _STRIDES, _DTYPE, _FLAGS = 8, 16, 24, 32, 40, 56, 64
#: The flag of arrays whose elements lie where their dtype wants them.
_ALIGNED: Final = 0x100
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
def pack_and_run(ticket, x, weight, bias, out, memory):
    """Lay out the weights, unless they are, and do all tasks, on this thread.

    ``memory`` begins on a cache line and holds PACKED_BYTES, whole lines, and SCRATCH_BYTES. The counters at the
    scratch's start may not lie in two cache lines: to add to such a one atomically took milliseconds (Emerald Rapids).
    """
    rows, geometry = integer_at(ticket, ROWS), integer_at(ticket, GEOMETRY)
    packed, scratch = integer_at(ticket, PACKED), memory + integer_at(ticket, PACKED_BYTES)
    if packed == 0:
        packed = memory
        pack = integer_at(ticket, PACK)
        call_c(pack, (0, 1, weight, bias, packed, rows, geometry, scratch))
    for i in range(UNDONE + 1):  # the scratch's size, which is among them, is asked for by plans without packed weights
        put_integer(scratch, i, 0)
    call_c(integer_at(ticket, TASKS), (0, 1, x, packed, out, rows, geometry, scratch))


@kernel
def run_known(words, known, x, weight, bias):
    """Make a call that is remembered as ``known``; ``bias`` is the address of its elements, or 0 for zeros."""
    item = integer_at(words, TUPLE_ITEM)
    ticket = call_c(integer_at(words, BYTES_DATA), (call_c(item, (known, 0)),))
    result = call_c(integer_at(words, CALL), (integer_at(words, EMPTY), call_c(item, (known, 1))))
    if result == 0:
        return result
    size = integer_at(ticket, PACKED_BYTES) + integer_at(ticket, SCRATCH_BYTES) + _LINE_BYTES
    memory = call_c(integer_at(words, ALLOCATE), (size,))
    if memory == 0:
        call_c(integer_at(words, GIVE), (result,))
        return call_c(integer_at(words, NO_MEMORY), ())
    lowest = integer_at(x + _DATA, 0) - integer_at(ticket, INPUT_BACK)
    weights = integer_at(weight + _DATA, 0) - integer_at(ticket, WEIGHT_BACK)
    thread = call_c(integer_at(words, LEAVE), ())
    pack_and_run(
        ticket, lowest, weights, bias, integer_at(result + _DATA, 0), (memory + _LINE_BYTES - 1) & -_LINE_BYTES
    )
    call_c(integer_at(words, ENTER), (thread,))
    call_c(integer_at(words, FREE), (memory,))
    return result


@kernel
def call_again(state, arguments, count):
    """PyObject *call_again(PyObject *state, PyObject *const *arguments, Py_ssize_t count), as METH_FASTCALL has it.

    - state: an array of STATE_LENGTH words.
    - arguments: a dict of remembered calls, ndim, input, weight, bias, a tuple of OPTION_COUNT options.

    Returns a new reference to the result of a call that is in the dict, and else to None. Where the dict is None, to
    the key under which the call would be: its value is a tuple of a ticket's bytes and the arguments of ``numpy.empty``
    that make the result, and keeps alive whatever the ticket and the key name by address.

    Preconditions: the GIL is held (it is released while the kernels run). Remembered calls run on one thread, and their
    tasks lack no function. Edges: whatever is not an array of exactly NumPy's own type is left to Python's code. NULL
    with an exception where memory is short.
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
