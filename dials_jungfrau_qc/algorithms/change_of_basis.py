"""How the setting of one lattice differs between sweeps that were indexed apart."""

from __future__ import annotations

import dataclasses

import numpy as np

# Elements that are further than this from whole numbers belong to another orientation
TOLERANCE = 0.1


@dataclasses.dataclass(frozen=True)
class ChangeOfBasis:
    """The change from one setting of a lattice to that of the reference.

    Attributes:
        matrix: h_ref = matrix h, whole numbers, shape (3, 3).
        deviation: Largest distance of an element from its whole number.
    """

    matrix: np.ndarray
    deviation: float

    @property
    def is_identity(self) -> bool:
        return bool(np.array_equal(self.matrix, np.eye(3, dtype=int)))

    def apply(self, miller_index: np.ndarray) -> np.ndarray:
        """Indices in the setting of the reference, shape (n, 3)."""
        return miller_index if self.is_identity else miller_index @ self.matrix.T

    def __str__(self) -> str:
        return ",".join(_row(row) for row in self.matrix)


def _row(row: np.ndarray) -> str:
    parts = []
    for factor, name in zip(row.tolist(), "hkl"):
        if factor:
            sign = "-" if factor < 0 else "+" if parts else ""
            size = "" if abs(factor) == 1 else str(abs(factor))
            parts.append(f"{sign}{size}{name}")
    return "".join(parts)


def change_of_basis(a_reference: np.ndarray, a_other: np.ndarray) -> ChangeOfBasis:
    """Find the change of basis from orientation matrices.

    Both lattices are one, so that A_ref h_ref = A h for every reflection and h_ref =
    (A_ref^-1 A) h, with a matrix of whole numbers and determinant 1.

    Args:
        a_reference: A = UB of the reference in the frame of the goniometer's axis, 1/A,
            shape (3, 3).
        a_other: The same of the other sweep.

    Raises:
        ValueError: The lattices do not coincide.
    """
    product = np.linalg.inv(a_reference) @ a_other
    matrix = np.rint(product).astype(int)
    deviation = float(np.abs(product - matrix).max())
    if deviation > TOLERANCE or round(np.linalg.det(matrix)) != 1:
        raise ValueError(
            "the lattices do not lie on each other: A_ref^-1 A is "
            + np.array2string(np.round(product, 2), separator=", ").replace("\n", "")
        )
    return ChangeOfBasis(matrix, deviation)
