"""The matrices of Winograd's minimal filtering F(m, r), from interpolation points, in exact fractions.

y = A^T [(G g) * (B^T d)] gives the m outputs of correlating n = m + r - 1 inputs d with r weights g in n
multiplications. It is the transpose of Toom and Cook's multiplication of polynomials by values at n - 1 points and at
infinity (Winograd, "Arithmetic complexity of computations", 1980; Blahut, "Fast algorithms for signal processing",
2010, chapter 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

Matrix = list[list[Fraction]]


def _product(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients, lowest first, of the product of (x - root)."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        coefficients = [a - root * b for a, b in zip(shifted, [*coefficients, Fraction(0)], strict=True)]
    return coefficients


def matrices(m: int, r: int, points: Sequence[Fraction | float | int]) -> tuple[Matrix, Matrix, Matrix]:
    """A^T (m x n), G (n x r) and B^T (n x n) of F(m, r), n = m + r - 1.

    Parameters
    ----------
    m : int
        Outputs of one tile.
    r : int
        Weights.
    points : sequence
        n - 1 different finite interpolation points; the last one is infinity.

    Raises
    ------
    ValueError
        Where the points are not n - 1 different ones.

    Examples
    --------
    >>> output, weight, input = matrices(2, 3, [0, 1, -1])
    >>> [[str(x) for x in row] for row in weight]
    [['-1', '0', '0'], ['1/2', '1/2', '1/2'], ['1/2', '-1/2', '1/2'], ['0', '0', '1']]
    """
    n = m + r - 1
    finite = [Fraction(point) for point in points]
    if len(set(finite)) != n - 1 or len(finite) != n - 1:
        raise ValueError(f"F({m}, {r}) takes {n - 1} different points (= {m} + {r} - 2); got {list(points)}")
    output = [[point**i for point in finite] + [Fraction(int(i == m - 1))] for i in range(m)]
    weight, data = [], []
    for i, point in enumerate(finite):
        others = finite[:i] + finite[i + 1 :]
        scale = Fraction(1)
        for other in others:
            scale *= point - other
        weight.append([point**j / scale for j in range(r)])
        data.append([*_product(others), Fraction(0)])
    weight.append([Fraction(int(j == r - 1)) for j in range(r)])
    data.append(_product(finite))
    return output, weight, data
