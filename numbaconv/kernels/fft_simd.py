"""Vector instructions of the transforms: butterflies whose lanes are neighbouring columns, and what goes with them.

All of it is in float64; addresses are integers, distances count elements.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .image_simd import counted
from .vectors import INDEX, Vectors, constant, emit_call, transposed

#: A complex vector: its real and its imaginary part.
Complex = tuple[ir.Value, ir.Value]
_ROOT_HALF = math.sqrt(0.5)


class Waves(Vectors):
    """Operations on complex vectors in float64."""

    def __init__(self, context: Any, builder: ir.IRBuilder) -> None:
        super().__init__(context, builder, types.float64)

    def at(self, address: ir.Value, elements: ir.Value) -> ir.Value:
        """A pointer some elements behind an address."""
        return self.builder.gep(self.builder.inttoptr(address, self.element.as_pointer()), [elements])

    def sum(self, a: Complex, b: Complex) -> Complex:
        """The sum a + b."""
        return self.builder.fadd(a[0], b[0]), self.builder.fadd(a[1], b[1])

    def difference(self, a: Complex, b: Complex) -> Complex:
        """The difference a - b."""
        return self.builder.fsub(a[0], b[0]), self.builder.fsub(a[1], b[1])

    def add_scaled(self, a: Complex, b: Complex, scale: float) -> Complex:
        """The sum a + scale * b."""
        factor = self.constant(scale)
        return self.multiply_add(factor, b[0], a[0]), self.multiply_add(factor, b[1], a[1])

    def scaled(self, a: Complex, scale: float) -> Complex:
        """The product scale * a."""
        factor = self.constant(scale)
        return self.builder.fmul(a[0], factor), self.builder.fmul(a[1], factor)

    def turned(self, a: Complex) -> Complex:
        """The product -i * a."""
        return a[1], self.builder.fneg(a[0])

    def product(self, a: Complex, b: Complex) -> Complex:
        """The product a * b."""
        real = self.multiply_add(a[0], b[0], self.builder.fneg(self.builder.fmul(a[1], b[1])))
        return real, self.multiply_add(a[0], b[1], self.builder.fmul(a[1], b[0]))

    def add_turned(self, a: Complex, b: Complex) -> tuple[Complex, Complex]:
        """Both a - i * b and a + i * b."""
        add, subtract = self.builder.fadd, self.builder.fsub
        return (add(a[0], b[1]), subtract(a[1], b[0])), (subtract(a[0], b[1]), add(a[1], b[0]))

    def dft(self, x: list[Complex]) -> list[Complex]:
        """y[k] = sum over j of exp(-2 pi i j k / n) * x[j], for n = 3, 4, 5, 8."""
        return {3: self._dft3, 4: self._dft4, 5: self._dft5, 8: self._dft8}[len(x)](x)

    def _dft3(self, x: list[Complex]) -> list[Complex]:
        both = self.sum(x[1], x[2])
        half = self.add_scaled(x[0], both, -0.5)
        side = self.scaled(self.difference(x[1], x[2]), math.sqrt(0.75))
        return [self.sum(x[0], both), *self.add_turned(half, side)]

    def _dft4(self, x: list[Complex]) -> list[Complex]:
        even, odd = self.sum(x[0], x[2]), self.sum(x[1], x[3])
        first, third = self.add_turned(self.difference(x[0], x[2]), self.difference(x[1], x[3]))
        return [self.sum(even, odd), first, self.difference(even, odd), third]

    def _dft5(self, x: list[Complex]) -> list[Complex]:
        cosines, sines = ([f(2 * math.pi * k / 5) for k in (1, 2)] for f in (math.cos, math.sin))
        outer, inner = self.sum(x[1], x[4]), self.sum(x[2], x[3])
        outer_side, inner_side = self.difference(x[1], x[4]), self.difference(x[2], x[3])
        one = self.add_scaled(self.add_scaled(x[0], outer, cosines[0]), inner, cosines[1])
        two = self.add_scaled(self.add_scaled(x[0], outer, cosines[1]), inner, cosines[0])
        one_side = self.add_scaled(self.scaled(outer_side, sines[0]), inner_side, sines[1])
        two_side = self.add_scaled(self.scaled(outer_side, sines[1]), inner_side, -sines[0])
        first, fourth = self.add_turned(one, one_side)
        second, third = self.add_turned(two, two_side)
        return [self.sum(x[0], self.sum(outer, inner)), first, second, third, fourth]

    def _dft8(self, x: list[Complex]) -> list[Complex]:
        even, odd = self._dft4(x[0::2]), self._dft4(x[1::2])
        odd[1] = self.scaled(self.sum(odd[1], self.turned(odd[1])), _ROOT_HALF)
        odd[3] = self.scaled(self.difference(self.turned(odd[3]), odd[3]), _ROOT_HALF)
        pairs = list(zip(even, odd, strict=True))
        sums = [self.sum(a, b) for a, b in pairs]
        differences = [self.difference(a, b) for a, b in pairs]
        sums[2], differences[2] = self.add_turned(even[2], odd[2])
        return sums + differences


def _butterfly(radix: int, first: bool, turned: bool) -> Any:
    """Make a butterfly of ``radix`` complex vectors, in place."""

    def butterfly(typing_context, re, im, leg, factors):
        """Transform the vectors x[q] at re + q * leg and im + q * leg, with factors f before or behind.

        The transform is ``first`` and x[q] times f[q] follows, or the products come first; without ``turned`` there
        are none. f[0] is 1 and not stored, f[1:] lies at ``factors``, real and imaginary parts in turns.
        """
        return types.void(*[types.intp] * 4), generate

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        re, im, leg, factors = arguments
        waves = Waves(context, builder)
        places = []
        for q in range(radix):
            offset = builder.mul(leg, constant(q))
            places.append((waves.at(re, offset), waves.at(im, offset)))
        x: list[Complex] = [(waves.load(a), waves.load(b)) for a, b in places]

        def times_factors(values: list[Complex]) -> list[Complex]:
            if not turned:
                return values
            splats = [waves.splat(builder.load(waves.at(factors, constant(k)))) for k in range(2 * radix - 2)]
            pairs = list(zip(splats[0::2], splats[1::2], strict=True))
            return [values[0], *(waves.product(a, b) for a, b in zip(values[1:], pairs, strict=True))]

        x = times_factors(waves.dft(x)) if first else waves.dft(times_factors(x))
        for (a, b), (real, imaginary) in zip(places, x, strict=True):
            waves.store(real, a)
            waves.store(imaginary, b)
        return context.get_dummy_value()

    butterfly.__name__ = f"butterfly_{radix}{'_forward' if first else '_back'}{'' if turned else '_plain'}"
    return intrinsic(butterfly)


forward_3, forward_4, forward_5, forward_8 = (_butterfly(radix, True, True) for radix in (3, 4, 5, 8))
back_3, back_4, back_5, back_8 = (_butterfly(radix, False, True) for radix in (3, 4, 5, 8))
plain_3, plain_4, plain_5, plain_8 = (_butterfly(radix, True, False) for radix in (3, 4, 5, 8))


@intrinsic
def transpose_square(typing_context, x, x_pitch, y, y_pitch):
    """y[j * y_pitch + n] = x[n * x_pitch + j] for all j and n below the lanes."""

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        x, x_pitch, y, y_pitch = arguments
        waves = Waves(context, builder)
        lines = [waves.load(waves.at(x, builder.mul(x_pitch, constant(n)))) for n in range(waves.lanes)]
        for j, line in enumerate(transposed(waves, lines)):
            waves.store(line, waves.at(y, builder.mul(y_pitch, constant(j))))
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), generate


@intrinsic
def copy_columns(typing_context, x, x_pitch, y, y_pitch, rows):
    """y[r * y_pitch + n] = x[r * x_pitch + n] for r < rows and n < lanes."""

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        x, x_pitch, y, y_pitch, rows = arguments
        waves = Waves(context, builder)

        def line(r: ir.Value, _values: list[ir.Value]) -> list[ir.Value]:
            waves.store(waves.load(waves.at(x, builder.mul(r, x_pitch))), waves.at(y, builder.mul(r, y_pitch)))
            return []

        counted(builder, constant(0), rows, [], line)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 5), generate


@intrinsic
def multiply_spectra(typing_context, re, im, other_re, other_im, vectors):
    """z[k] = z[k] * other[k], complex numbers whose parts lie apart, for k < vectors * lanes."""

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        re, im, other_re, other_im, count = arguments
        waves = Waves(context, builder)

        def vector(k: ir.Value, _values: list[ir.Value]) -> list[ir.Value]:
            start = builder.mul(k, constant(waves.lanes))
            places = [waves.at(address, start) for address in (re, im, other_re, other_im)]
            a, b, c, d = (waves.load(place) for place in places)
            real, imaginary = waves.product((a, b), (c, d))
            waves.store(real, places[0])
            waves.store(imaginary, places[1])
            return []

        counted(builder, constant(0), count, [], vector)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 5), generate


@intrinsic
def add_squares(typing_context, x, y, vectors):
    """y[k] += x[k] ** 2 for k < vectors * lanes."""

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        x, y, count = arguments
        waves = Waves(context, builder)

        def vector(k: ir.Value, _values: list[ir.Value]) -> list[ir.Value]:
            start = builder.mul(k, constant(waves.lanes))
            cells, place = waves.load(waves.at(x, start)), waves.at(y, start)
            waves.store(waves.multiply_add(cells, cells, waves.load(place)), place)
            return []

        counted(builder, constant(0), count, [], vector)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 3), generate


@intrinsic
def magnitudes_fit(typing_context, x, count, least):
    """1 where |x[k]| is finite and at least ``least`` for all k < count, else 0; NaN is neither."""

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        x, count, least = arguments
        waves = Waves(context, builder)
        bit = ir.IntType(1)

        def fit(value: ir.Value, bound: ir.Value, largest: ir.Value) -> ir.Value:
            name = f"llvm.fabs.{waves.suffix if isinstance(value.type, ir.VectorType) else 'f64'}"
            size = builder.call(waves.function(name, value.type, [value.type]), [value])
            return builder.and_(builder.fcmp_ordered(">=", size, bound), builder.fcmp_ordered("<", size, largest))

        infinite = ir.Constant(waves.element, float("inf"))
        splat = waves.splat(least)
        every = ir.Constant(waves.mask, [ir.Constant(bit, 1)] * waves.lanes)
        whole = builder.sdiv(count, constant(waves.lanes))

        def vector(k: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
            cells = waves.load(waves.at(x, builder.mul(k, constant(waves.lanes))))
            return [builder.and_(values[0], fit(cells, splat, waves.constant(float("inf"))))]

        def single(k: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
            return [builder.and_(values[0], fit(builder.load(waves.at(x, k)), least, infinite))]

        def some(condition: ir.Value, start: ir.Value, body: Any) -> ir.Value:
            skipped = builder.block
            with builder.if_then(condition):
                [changed] = body()
                taken = builder.block
            phi = builder.phi(start.type)
            phi.add_incoming(start, skipped)
            phi.add_incoming(changed, taken)
            return phi

        lanes = some(
            builder.icmp_signed(">", whole, constant(0)), every,
            lambda: counted(builder, constant(0), whole, [every], vector),
        )  # fmt: skip
        bits = ir.IntType(waves.lanes)
        vectors_fit = builder.icmp_unsigned("==", builder.bitcast(lanes, bits), ir.Constant(bits, -1))
        done = builder.mul(whole, constant(waves.lanes))
        rest = some(
            builder.icmp_signed("<", done, count), ir.Constant(bit, 1),
            lambda: counted(builder, done, count, [ir.Constant(bit, 1)], single),
        )  # fmt: skip
        return builder.zext(builder.and_(vectors_fit, rest), INDEX)

    return types.intp(types.intp, types.intp, types.float64), generate


@intrinsic
def round_run(typing_context, x, vectors):
    """x[k] = x[k] rounded to the nearest integer, for k < vectors * lanes."""

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        x, count = arguments
        waves = Waves(context, builder)

        def vector(k: ir.Value, _values: list[ir.Value]) -> list[ir.Value]:
            place = waves.at(x, builder.mul(k, constant(waves.lanes)))
            rint = waves.function(f"llvm.rint.{waves.suffix}", waves.type, [waves.type])
            waves.store(builder.call(rint, [waves.load(place)]), place)
            return []

        counted(builder, constant(0), count, [], vector)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate


@intrinsic
def call_lines(typing_context, lines, re, im, pitch, length, radices, table, backwards):
    """Call ``fft_lines``, compiled on its own, by its address."""

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        return emit_call(context, builder, arguments[0], list(arguments[1:]))

    return types.void(*[types.intp] * 8), generate
