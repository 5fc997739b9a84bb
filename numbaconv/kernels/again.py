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
def word_at(typing_context, address):
    """The word at an address."""

    def generate(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        return builder.load(builder.inttoptr(arguments[0], INDEX.as_pointer()))

    return types.intp(types.intp), generate


@intrinsic
def number_at(typing_context, address):
    """The C int at an address."""

    def generate(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        number = builder.load(builder.inttoptr(arguments[0], ir.IntType(32).as_pointer()))
        return builder.sext(number, INDEX)

    return types.intp(types.intp), generate


@intrinsic
def put_word(typing_context, address, value):
    """Store a word at an address."""

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        builder.store(arguments[1], builder.inttoptr(arguments[0], INDEX.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate


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
        put_word(key, none)
        return key + _WORD
    dimensions = number_at(array + _NDIM)
    aligned = number_at(array + _FLAGS) & _ALIGNED
    put_word(key, word_at(array + _DTYPE) + ((aligned + dimensions) << _ADDRESS_BITS))
    sizes, strides = word_at(array + _SIZES), word_at(array + _STRIDES)
    key += _WORD
    for i in range(dimensions):
        put_word(key, word_at(sizes + i * _WORD))
        put_word(key + _WORD, word_at(strides + i * _WORD))
        key += 2 * _WORD
    return key


@kernel
def option_words(words, option):
    """How many words of a key tell what an option is."""
    if word_at(option + _TYPE) != word_at(words + _WORD * TUPLE):
        return 1
    return 2 + call_c(word_at(words + _WORD * TUPLE_SIZE), (option,))


@kernel
def put_option(words, key, option):
    """Write the words of :func:`option_words` and return the address behind them."""
    if word_at(option + _TYPE) != word_at(words + _WORD * TUPLE):
        put_word(key, option)
        return key + _WORD
    count = call_c(word_at(words + _WORD * TUPLE_SIZE), (option,))
    put_word(key, word_at(words + _WORD * TUPLE))
    put_word(key + _WORD, count)
    for i in range(count):
        put_word(key + (2 + i) * _WORD, call_c(word_at(words + _WORD * TUPLE_ITEM), (option, i)))
    return key + (2 + count) * _WORD


@kernel
def make_key(words, arguments):
    """A new bytes object that tells all that a call depends on but its arrays' elements.

    0, with an exception, where memory is short or there are not OPTION_COUNT options.
    """
    none, options = word_at(words + _WORD * NONE), word_at(arguments + _WORD * OPTIONS)
    item = word_at(words + _WORD * TUPLE_ITEM)
    count = 2
    for i in range(OPTION_COUNT):
        option = call_c(item, (options, i))
        if option == 0:
            return 0
        count += option_words(words, option)
    for i in range(INPUT, BIAS + 1):
        count += key_words(word_at(arguments + _WORD * i), none)
    key = call_c(word_at(words + _WORD * NEW_BYTES), (0, count * _WORD))
    if key == 0:
        return 0
    place = call_c(word_at(words + _WORD * BYTES_DATA), (key,))
    put_word(place, word_at(words + _WORD * FORGOTTEN))
    put_word(place + _WORD, word_at(arguments + _WORD * NDIM))
    place += 2 * _WORD
    for i in range(OPTION_COUNT):
        place = put_option(words, place, call_c(item, (options, i)))
    for i in range(INPUT, BIAS + 1):
        place = put_layout(place, word_at(arguments + _WORD * i), none)
    return key


@kernel
def pack_and_run(ticket, x, weight, bias, out, memory):
    """Lay out the weights, unless they are, and do all tasks, on this thread.

    ``memory`` begins on a cache line and holds PACKED_BYTES, whole lines, and SCRATCH_BYTES. The counters at the
    scratch's start may not lie in two cache lines: to add to such a one atomically took milliseconds (Emerald Rapids).
    """
    rows, geometry = word_at(ticket + _WORD * ROWS), word_at(ticket + _WORD * GEOMETRY)
    packed, scratch = word_at(ticket + _WORD * PACKED), memory + word_at(ticket + _WORD * PACKED_BYTES)
    if packed == 0:
        packed = memory
        pack = word_at(ticket + _WORD * PACK)
        call_c(pack, (0, 1, weight, bias, packed, rows, geometry, scratch))
    for i in range(UNDONE + 1):  # the scratch's size, which is among them, is asked for by plans without packed weights
        put_word(scratch + i * _WORD, 0)
    call_c(word_at(ticket + _WORD * TASKS), (0, 1, x, packed, out, rows, geometry, scratch))


@kernel
def run_known(words, known, x, weight, bias):
    """Make a call that is remembered as ``known``; ``bias`` is the address of its elements, or 0 for zeros."""
    item = word_at(words + _WORD * TUPLE_ITEM)
    ticket = call_c(word_at(words + _WORD * BYTES_DATA), (call_c(item, (known, 0)),))
    result = call_c(word_at(words + _WORD * CALL), (word_at(words + _WORD * EMPTY), call_c(item, (known, 1))))
    if result == 0:
        return result
    size = word_at(ticket + _WORD * PACKED_BYTES) + word_at(ticket + _WORD * SCRATCH_BYTES) + _LINE_BYTES
    memory = call_c(word_at(words + _WORD * ALLOCATE), (size,))
    if memory == 0:
        call_c(word_at(words + _WORD * GIVE), (result,))
        return call_c(word_at(words + _WORD * NO_MEMORY), ())
    lowest = word_at(x + _DATA) - word_at(ticket + _WORD * INPUT_BACK)
    weights = word_at(weight + _DATA) - word_at(ticket + _WORD * WEIGHT_BACK)
    thread = call_c(word_at(words + _WORD * LEAVE), ())
    pack_and_run(ticket, lowest, weights, bias, word_at(result + _DATA), (memory + _LINE_BYTES - 1) & -_LINE_BYTES)
    call_c(word_at(words + _WORD * ENTER), (thread,))
    call_c(word_at(words + _WORD * FREE), (memory,))
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
    words = word_at(state + _DATA)
    none, array = word_at(words + _WORD * NONE), word_at(words + _WORD * ARRAY)
    x, weight = word_at(arguments + _WORD * INPUT), word_at(arguments + _WORD * WEIGHT)
    bias = word_at(arguments + _WORD * BIAS)
    nothing = count != ARGUMENTS or word_at(x + _TYPE) != array or word_at(weight + _TYPE) != array
    if nothing or (bias != none and word_at(bias + _TYPE) != array):
        call_c(word_at(words + _WORD * TAKE), (none,))
        return none
    key = make_key(words, arguments)
    table = word_at(arguments + _WORD * TABLE)
    if key == 0 or table == none:
        return key
    known = call_c(word_at(words + _WORD * FIND), (table, key))
    call_c(word_at(words + _WORD * GIVE), (key,))
    if known == 0:
        if call_c(word_at(words + _WORD * ERROR), ()) != 0:
            return 0
        call_c(word_at(words + _WORD * TAKE), (none,))
        return none
    call_c(word_at(words + _WORD * TAKE), (known,))  # another thread may have it forgotten while the kernels run
    result = run_known(words, known, x, weight, 0 if bias == none else word_at(bias + _DATA))
    call_c(word_at(words + _WORD * GIVE), (known,))
    return result
