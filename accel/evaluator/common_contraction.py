"""The contraction that nearly all models have (l up to 3, correlation 3, into 0e or 0e + 1o), written out.

Its terms are known when kernels are compiled, so that components are named registers and coefficients
operands of the instructions that use them: no index is read and no loop has to guess its end. `contraction`
holds what any polynomial needs.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from llvmlite import ir

from accel.evaluator.compilation import generated
from accel.evaluator.lanes import fused, lanes_type, load_at, place_in, store_at, types

_ONES = 16
_TERMS = (
    "00000g0110220330440550660770880990aa0bb0cc0dd0ee0ff0gg11611811g12513414d14f15c15e16b17a18918b226"
    "22g23724a25b26c27d28e33633833g34934b35a36d37c37e38d38f44644g45749d4ac4bd4bf55655855g59e5ad5af5bc"
    "5be66666g6776886996bb6cc6dd6ff77877g79a7ab7cd7de7ef88g89b8bb8ce8dd8df99gaagbbgccgddgeegffg",
    "00101601801g02503404d04f05c05e06b07a08908b11111911b12212c12e13313d13f14415516616816g17718818g199"
    "19b1aa1bb1cc1ce1dd1df1ee1ff1gg22b23a24725625825g29e2ad2af2bc2be33933b34634g35739d3ac3bd3bf44944b"
    "45a46d46f47c47e48f4dg4fg55955b56c56e57d57f58c58e5cg5eg66b67a68968b6bg77977b78a7ag88988b89g8bg99b"
    "9aa9bb9ce9dd9eeaabacdacfaefbbbbccbcebddbdfbeebff",
    "00201502602g03704a05b06c07d08e11211c11e12b13a14715615815g19e1ad1af1bc1be22222c23323d24425526626g"
    "2772882992aa2bb2cc2dd2ee2ff2gg33c33e34536737837g39a3ab3cd3de3ef44c45d45f46a47947b4ag55c55e56b57a"
    "58958b5bg66c67d68e6cg77c77e78d78f7dg88c8eg99c9ad9beaacabdabfbbcbbeccccddceecffddedef",
    "00301402703603803g04904b05a06d07c07e08d08f11311d11f12a13913b14614g15719d1ac1bd1bf22322d23c23e245"
    "26727827g29a2ab2cd2de2ef33333d33f34435536636836g37738838g39939b3aa3bb3cc3ce3dd3df3ee3ff3gg44d44f"
    "45c45e46946b47a48949g4bg55d55f56a57957b58a5ag66d67c67e68d68f6dg77d77f78c78e7cg7eg88d88f8dg8fg99d"
    "9ac9ae9bdaadaafabcbbdbbfccdcdecefdddddfdeedffeef",
)
"""By output: the factors of each term as digits to base 17 of their components; 16 is the constant 1."""


def terms_of(out: int) -> list[tuple[int, int, int]]:
    """Factors of the terms of an output, in the order of `PackedLayer.coefficients`."""
    digits = [int(digit, 17) for digit in _TERMS[out]]
    return list(zip(digits[::3], digits[1::3], digits[2::3], strict=True))


def outputs_with(terms: list[list[int]]) -> int:
    """Of how many outputs these (output, and three factors, sorted) are all terms; 0 if it is another sum."""
    for n_out in (1, 4):
        if terms == [[m, *factors] for m in range(n_out) for factors in terms_of(m)]:
            return n_out
    return 0


class _Atom:
    """Writes the instructions of one atom and half a `Lanes` of channels."""

    def __init__(self, context: Any, builder: Any, dtype: Any, coefficients: Any, stride: Any) -> None:
        self.context, self.builder, self.dtype, self.stride = context, builder, dtype, stride
        self.coefficients = coefficients
        self.lanes = lanes_type(dtype).count
        self.vector = ir.VectorType(context.get_value_type(dtype), self.lanes // 2)

    def coefficient(self, term: int) -> Any:
        step = self.context.get_constant(types.intp, term * self.lanes)
        return load_at(self.builder, self.builder.gep(self.coefficients, [step]), self.vector, self.dtype)

    def places(self, array_type: Any, array: Any, offsets: Any, n_l: int) -> list[Any]:
        """Of every component; `offsets` say where those of each l begin."""
        out = []
        for ell in range(n_l):
            offset = self.builder.extract_value(offsets, ell)
            place = place_in(self.context, self.builder, array_type, array, offset)
            for _ in range(2 * ell + 1):
                out.append(place)
                place = self.builder.gep(place, [self.stride])
        return out

    def load(self, place: Any) -> Any:
        return load_at(self.builder, place, self.vector, self.dtype)

    def times(self, a: Any, b: Any, c: Any = None) -> Any:
        """`a * b + c`; where a factor is None it is 1."""
        if a is None or b is None:
            product = a if b is None else b
            return product if c is None else self.builder.fadd(product, c)
        return self.builder.fmul(a, b) if c is None else fused(self.builder, a, b, c)


def _nested(out: int) -> Any:
    """Terms of an output by their first factor, then by their second: (a, [(b, [(number, d)])])."""
    numbered = list(enumerate(terms_of(out)))
    for a, of_a in groupby(numbered, key=lambda item: item[1][0]):
        pairs = groupby(of_a, key=lambda item: item[1][1])
        yield a, [(b, [(t, factors[2]) for t, factors in of_b]) for b, of_b in pairs]


def _contraction(n_out: int) -> Any:
    n_l = 1 if n_out == 1 else 2

    @generated
    def contract(
        _: Any, coefficients: Any, of: Any, x: Any, x_places: Any, out: Any, out_places: Any, stride: Any
    ) -> Any:
        """Write the outputs of an atom for half a `Lanes` of channels.

        Args:
            coefficients: From `of` on, a `Lanes` for every term.
            of: See there.
            x: Messages.
            x_places: Four offsets: where the components of each l begin.
            out: Written.
            out_places: Two offsets, the same.
            stride: From one component to the next, in both.
        """

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            atom = _Atom(
                context, builder, x.dtype, place_in(context, builder, coefficients, *args[:2]), args[6]
            )
            components = [atom.load(p) for p in atom.places(x, args[2], args[3], 4)] + [None]
            first = 0
            for m, place in enumerate(atom.places(out, args[4], args[5], n_l)):
                total = None
                for a, pairs in _nested(m):
                    by_a = None
                    for b, terms in pairs:
                        inner = None
                        for t, d in terms:
                            inner = atom.times(atom.coefficient(first + t), components[d], inner)
                        by_a = atom.times(inner, components[b], by_a)
                    total = atom.times(by_a, components[a], total)
                store_at(builder, place, total, out.dtype)
                first += len(terms_of(m))
            return context.get_dummy_value()

        arguments = (coefficients, types.intp, x, x_places, out, out_places, types.intp)
        return types.void(*arguments), generate

    return contract


def _contraction_reverse(n_out: int) -> Any:
    n_l = 1 if n_out == 1 else 2

    @generated
    def reverse(
        _: Any, coefficients: Any, of: Any, x: Any, x_places: Any, g_out: Any, out_places: Any, g_x: Any,
        stride: Any,
    ) -> Any:  # fmt: skip
        """Write the gradient by an atom's messages into `g_x`, which holds them as `x` does; as above."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            atom = _Atom(
                context, builder, x.dtype, place_in(context, builder, coefficients, *args[:2]), args[7]
            )
            components = [atom.load(p) for p in atom.places(x, args[2], args[3], 4)] + [None]
            gradient: list[Any] = [None] * _ONES

            def add(component: int, a: Any, b: Any) -> None:
                if component < _ONES:
                    gradient[component] = atom.times(a, b, gradient[component])

            first = 0
            for m, place in enumerate(atom.places(g_out, args[4], args[5], n_l)):
                g = atom.load(place)
                for a, pairs in _nested(m):
                    g_a = atom.times(g, components[a])
                    by_a = None
                    for b, terms in pairs:
                        g_pair = atom.times(g_a, components[b])
                        inner = None
                        for t, d in terms:
                            factor = atom.coefficient(first + t)
                            inner = atom.times(factor, components[d], inner)
                            add(d, factor, g_pair)
                        add(b, g_a, inner)
                        by_a = atom.times(inner, components[b], by_a)
                    add(a, g, by_a)
                first += len(terms_of(m))
            for place, value in zip(atom.places(g_x, args[6], args[3], 4), gradient, strict=True):
                store_at(builder, place, value, g_x.dtype)
            return context.get_dummy_value()

        arguments = (coefficients, types.intp, x, x_places, g_out, out_places, g_x, types.intp)
        return types.void(*arguments), generate

    return reverse


contract_scalars, contract_vectors = _contraction(1), _contraction(4)
reverse_scalars, reverse_vectors = _contraction_reverse(1), _contraction_reverse(4)
