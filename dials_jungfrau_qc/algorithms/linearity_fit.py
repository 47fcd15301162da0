"""Least squares for the joint model on the sums of groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dials_jungfrau_qc.algorithms.linearity_groups import Groups
from dials_jungfrau_qc.algorithms.linearity_terms import DECAYS

_MAX_STEPS = 30
_LOWEST_RESPONSE = 0.05


@dataclasses.dataclass(frozen=True)
class Fit:
    """The joint model fitted with some of its parameters.

    Attributes:
        log_beam: Logarithm of the beam of each sweep over the nominal one, shape (K,).
        values: Parameter of each term, 0 for those that were left out.
        free: Columns of the parameters that were fitted: sweeps first, then terms.
        covariance: Of the fitted parameters, robust against errors of the variances.
        chi_squared: Weighted sum of squares.
        n_observations: Sums beyond the unknown intensities.
        response: Factor of detector and integration on each sum, shape (K, G).
        expected: Fitted sums, shape (K, G).
    """

    log_beam: np.ndarray
    values: dict[str, float]
    free: tuple[int, ...]
    covariance: np.ndarray
    chi_squared: float
    n_observations: int
    response: np.ndarray
    expected: np.ndarray

    @property
    def degrees_of_freedom(self) -> int:
        return self.n_observations - len(self.free)

    def column_error(self, column: int) -> float:
        """Standard deviation of a parameter; 0 if it was held."""
        if column not in self.free:
            return 0.0
        index = self.free.index(column)
        return float(np.sqrt(self.covariance[index, index]))

    def full_covariance(self, n_columns: int) -> np.ndarray:
        """Covariance of all parameters, zero for those that were held."""
        full = np.zeros((n_columns, n_columns))
        full[np.ix_(self.free, self.free)] = self.covariance
        return full


class JointModel:
    """The joint model on one set of groups, with its terms evaluated.

    Columns of parameters are the logarithms of the beams of the K sweeps, then the
    terms in the order of names.
    """

    def __init__(
        self,
        groups: Groups,
        terms: dict[str, np.ndarray],
        names: Sequence[str],
        nominal: np.ndarray,
        uncertainty: np.ndarray | None = None,
    ):
        """Prepare the model.

        Args:
            groups: The sums.
            terms: Effect of each term, shape (K, G).
            names: Terms to be parameters.
            nominal: Recorded transmission of each sweep, shape (K,).
            uncertainty: Changes of the response by one standard deviation each of what
                is not known of the spots, shape (q, K, G). They are errors that all
                sums share.
        """
        self.groups = groups
        self._uncertainty = uncertainty
        self.names = tuple(names)
        self.n_sweeps = len(nominal)
        self._log_nominal = np.log(nominal)[:, None]
        self._inside = [name for name in self.names if name not in DECAYS]
        self._effects = {name: terms[name] for name in self.names}
        self._inverse = np.where(groups.used, 1 / groups.variance, 0)

    @property
    def n_columns(self) -> int:
        return self.n_sweeps + len(self.names)

    def column(self, name: str) -> int:
        """Column of a term."""
        return self.n_sweeps + self.names.index(name)

    def response(self, parameters: np.ndarray) -> np.ndarray:
        """Factor of detector and integration on each sum, shape (K, G)."""
        factor = np.ones(self.groups.total.shape)
        for name in self._inside:
            factor += parameters[self.column(name)] * self._effects[name]
        return np.maximum(factor, _LOWEST_RESPONSE)

    def expected(self, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Expected sums with the best true intensities, and the response."""
        response = self.response(parameters)
        exponent = self._log_nominal + parameters[: self.n_sweeps, None]
        for name in DECAYS:
            if name in self.names:
                exponent = (
                    exponent - parameters[self.column(name)] * self._effects[name]
                )
        shape = response * np.exp(exponent)
        weighted = self._inverse * shape
        true = (weighted * self.groups.total).sum(axis=0) / (weighted * shape).sum(
            axis=0
        )
        # A group whose sum came out negative has no logarithm and no weight
        return np.maximum(true, 1e-12) * shape, response

    def linearise(
        self, parameters: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Residuals and their derivatives, true intensities eliminated.

        Returns:
            Residuals in standard deviations (K, G), derivatives (columns, K, G), and
            the expected sums.
        """
        expected, response = self.expected(parameters)
        weight = np.sqrt(self._inverse)
        scaled = expected * weight
        square = (scaled**2).sum(axis=0)
        derivatives = np.zeros((self.n_columns, *expected.shape))
        for k in range(self.n_sweeps):
            derivatives[k, k] = 1
        for name in self.names:
            effect = self._effects[name]
            derivatives[self.column(name)] = (
                -effect if name in DECAYS else effect / response
            )
        derivatives *= scaled
        along = (derivatives * scaled).sum(axis=1) / square
        derivatives -= along[:, None] * scaled
        residual = (self.groups.total - expected) * weight
        if self._uncertainty is not None:
            shared = self._uncertainty / response * scaled
            shared -= (shared * scaled).sum(axis=1)[:, None] / square * scaled
            residual, derivatives = _whiten(shared, residual, derivatives)
        return residual, derivatives, expected

    def quadratic(self, parameters: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Chi-squared as a quadratic form c - 2 g p + p H p of all parameters."""
        residual, derivatives, _ = self.linearise(parameters)
        flat = derivatives.reshape(self.n_columns, -1)
        hessian = flat @ flat.T
        gradient = flat @ residual.ravel()
        at_zero = gradient + hessian @ parameters
        constant = (
            float((residual**2).sum())
            + 2 * gradient @ parameters
            + parameters @ hessian @ parameters
        )
        return float(constant), at_zero, hessian

    def own_errors(self, parameters: np.ndarray) -> dict[str, float]:
        """Error that each term would have, alone beside free beams.

        Infinite where it does the same to all sweeps.
        """
        _, _, hessian = self.quadratic(parameters)
        beams = np.arange(1, self.n_sweeps)
        errors = {}
        for name in self.names:
            column = self.column(name)
            among = hessian[np.ix_(beams, beams)]
            along = hessian[beams, column]
            information = hessian[column, column]
            left = information - along @ np.linalg.pinv(among, hermitian=True) @ along
            known = left > 1e-8 * max(information, 1e-300)
            errors[name] = float(1 / np.sqrt(left)) if known else float("inf")
        return errors

    def fit(
        self,
        free: Sequence[int],
        start: np.ndarray | None = None,
        held: np.ndarray | None = None,
    ) -> Fit:
        """Fit some parameters and hold the others.

        Args:
            free: Columns to fit.
            start: Parameters to begin with, shape (columns,).
            held: Where the others are held, shape (columns,); 0 if None.
        """
        free = tuple(sorted(free))
        index = np.array(free, dtype=int)
        parameters = np.zeros(self.n_columns) if held is None else held.copy()
        if start is not None:
            parameters[index] = start[index]
        chi_squared = self._chi_squared(parameters)
        for _ in range(_MAX_STEPS if free else 0):
            residual, derivatives, _ = self.linearise(parameters)
            flat = derivatives[index].reshape(len(index), -1)
            step = _solve(flat @ flat.T, flat @ residual.ravel())
            for _ in range(8):
                trial = parameters.copy()
                trial[index] += step
                new = self._chi_squared(trial)
                if new <= chi_squared * (1 + 1e-12):
                    break
                step = step / 2
            else:
                break
            gain = chi_squared - new
            parameters, chi_squared = trial, new
            if gain < 1e-6:
                break
        residual, derivatives, expected = self.linearise(parameters)
        return Fit(
            log_beam=parameters[: self.n_sweeps],
            values={name: float(parameters[self.column(name)]) for name in self.names},
            free=free,
            covariance=_robust_covariance(derivatives[index], residual),
            chi_squared=chi_squared,
            n_observations=self.groups.n_observations,
            response=self.response(parameters),
            expected=expected,
        )

    def parameters(self, fit: Fit) -> np.ndarray:
        """The parameters of a fit as columns of this model."""
        return np.concatenate(
            [fit.log_beam, [fit.values.get(name, 0.0) for name in self.names]]
        )

    def departures(self, fit: Fit) -> np.ndarray:
        """What each group adds to chi-squared, errors that all share aside, shape (G,)."""
        residual = self.groups.total - fit.expected
        return (residual**2 * self._inverse).sum(axis=0)

    def _chi_squared(self, parameters: np.ndarray) -> float:
        if self._uncertainty is not None:
            return float((self.linearise(parameters)[0] ** 2).sum())
        expected, _ = self.expected(parameters)
        return float(((self.groups.total - expected) ** 2 * self._inverse).sum())


def _whiten(
    shared: np.ndarray, residual: np.ndarray, derivatives: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Divide by the root of a covariance of 1 and of errors shared by all sums.

    Args:
        shared: One standard deviation of each such error, shape (q, K, G).
        residual: Shape (K, G).
        derivatives: Shape (p, K, G).
    """
    flat = shared.reshape(len(shared), -1)
    # Directions in which the covariance is more than 1, and by how much
    size, mixing = np.linalg.eigh(flat @ flat.T)
    real = size > 1e-12
    direction = (mixing[:, real] / np.sqrt(size[real])).T @ flat
    shrink = 1 - 1 / np.sqrt(1 + size[real])

    def divided(values: np.ndarray) -> np.ndarray:
        rows = values.reshape(-1, flat.shape[1])
        rows = rows - (rows @ direction.T * shrink) @ direction
        return rows.reshape(values.shape)

    return divided(residual), divided(derivatives)


def _solve(hessian: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Solve normal equations whose parameters have unlike units."""
    scale = 1 / np.sqrt(np.maximum(np.diag(hessian), 1e-300))
    scaled = hessian * scale[:, None] * scale
    return scale * (
        np.linalg.pinv(scaled, rcond=1e-10, hermitian=True) @ (scale * gradient)
    )


def _robust_covariance(derivatives: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Covariance from the scatter of the groups themselves.

    White, Econometrica 48, 817 (1980), with groups as clusters; the larger of it and
    the usual one for each parameter.
    """
    n_columns = len(derivatives)
    if not n_columns:
        return np.zeros((0, 0))
    flat = derivatives.reshape(n_columns, -1)
    hessian = flat @ flat.T
    scale = 1 / np.sqrt(np.maximum(np.diag(hessian), 1e-300))
    bread = np.linalg.pinv(
        hessian * scale[:, None] * scale, rcond=1e-10, hermitian=True
    )
    bread *= scale[:, None] * scale
    scores = (derivatives * residual).sum(axis=1)
    n_groups = scores.shape[1]
    correction = n_groups / max(n_groups - n_columns, 1)
    robust = bread @ (scores @ scores.T) @ bread * correction
    grow = np.sqrt(
        np.maximum(np.diag(bread) / np.maximum(np.diag(robust), 1e-300), 1.0)
    )
    return robust * grow[:, None] * grow


# --- which parameters the data support ---------------------------------------------

# What one more parameter must at least take off chi-squared
MINIMUM_PENALTY = 10.0


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One choice of parameters.

    Attributes:
        terms: Names of the terms.
        sweeps: Sweeps whose beam may differ from the nominal one.
        score: Chi-squared plus the penalty of the parameters.
        chi_squared: As the quadratic form has it.
    """

    terms: tuple[str, ...]
    sweeps: tuple[int, ...]
    score: float
    chi_squared: float


def penalty(n_observations: int) -> float:
    """What each parameter costs: the Bayesian information criterion, or 10 if more.

    10 is a probability of 0.0016 for one parameter by chance, so that half a dozen of
    them stay well below 5 % together.
    """
    return max(float(np.log(n_observations)), MINIMUM_PENALTY)


def rank_candidates(
    model: JointModel,
    parameters: np.ndarray,
    positive: Sequence[str],
    exclusive: Sequence[str] = (),
) -> list[Candidate]:
    """Score every subset of the terms with every way in which beams can be off.

    Args:
        model: The model.
        parameters: Where it is linearised, shape (columns,).
        positive: Terms that only make sense with a positive parameter.
        exclusive: Terms of which one subset has one at most.

    Returns:
        The candidates, best first.
    """
    constant, gradient, hessian = model.quadratic(parameters)
    scale = 1 / np.sqrt(np.maximum(np.diag(hessian), 1e-300))
    gradient, hessian = gradient * scale, hessian * scale[:, None] * scale
    cost = penalty(model.groups.n_observations)
    n_sweeps = model.n_sweeps
    ways = [(), tuple(range(1, n_sweeps))]
    if n_sweeps > 2:
        ways[1:1] = [(k,) for k in range(n_sweeps)]
    choices: dict[int, list[tuple[tuple[str, ...], tuple[int, ...]]]] = {}
    for bits in range(1 << len(model.names)):
        terms = tuple(name for i, name in enumerate(model.names) if bits >> i & 1)
        if sum(name in exclusive for name in terms) <= 1:
            for sweeps in ways:
                choices.setdefault(len(sweeps) + len(terms), []).append((terms, sweeps))
    candidates = []
    # All choices of as many columns are solved at once
    for n_columns, alike in choices.items():
        columns = np.array(
            [[*sweeps, *map(model.column, terms)] for terms, sweeps in alike], dtype=int
        ).reshape(len(alike), n_columns)
        part = hessian[columns[:, :, None], columns[:, None, :]]
        part = part + 1e-9 * np.eye(n_columns)
        own = gradient[columns]
        solutions = np.linalg.solve(part, own[:, :, None])[:, :, 0]
        gains = (own * solutions).sum(axis=1)
        for (terms, sweeps), solution, gain in zip(alike, solutions, gains):
            values = solution[len(sweeps) :]
            if any(
                name in positive and value <= 0 for name, value in zip(terms, values)
            ):
                continue
            # One sweep out of several is a choice, which costs as well
            choice = 2 * np.log(n_sweeps) if len(sweeps) == 1 and n_sweeps > 2 else 0.0
            chi_squared = constant - float(gain)
            score = chi_squared + cost * n_columns + choice
            candidates.append(Candidate(terms, sweeps, score, chi_squared))
    return sorted(candidates, key=lambda candidate: candidate.score)
