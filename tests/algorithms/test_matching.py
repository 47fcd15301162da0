from __future__ import annotations

import numpy as np
import pytest

from dials_jungfrau_qc.algorithms.change_of_basis import change_of_basis
from dials_jungfrau_qc.algorithms.matching import Predictions, match_predictions
from dials_jungfrau_qc.algorithms.symmetry_matching import unique_keys


def predictions(n=200, seed=0, turns=1):
    rng = np.random.default_rng(seed)
    hkl = rng.integers(-20, 21, size=(4 * n, 3))
    hkl = np.unique(hkl, axis=0)
    hkl = hkl[rng.permutation(len(hkl))[:n]]
    angle = rng.uniform(0, 360, n)
    entering = rng.random(n) < 0.5
    xy = rng.uniform(0, 500, size=(n, 2))
    return Predictions(
        np.tile(hkl, (turns, 1)),
        np.tile(entering, turns),
        np.concatenate([angle + 360 * t for t in range(turns)]),
        np.zeros(n * turns, int),
        np.tile(xy, (turns, 1)),
    )


def taken(sweep, rows):
    return Predictions(
        sweep.miller_index[rows],
        sweep.entering[rows],
        sweep.angle[rows],
        sweep.panel[rows],
        sweep.xy[rows],
    )


def test_turns_are_kept_apart_and_order_does_not_matter():
    one = predictions(turns=2)
    order = np.random.default_rng(1).permutation(len(one))
    matches = match_predictions([one, taken(one, order)], 0, 0.4)

    assert matches.rows.shape == (2, 400)
    assert np.array_equal(order[matches.rows[1]], matches.rows[0])
    assert not matches.n_duplicates.any() and not matches.n_alone.any()


def test_missing_and_displaced_reflections():
    one = predictions()
    other = taken(one, np.arange(150))
    other.xy[:10] += 2.5
    other.panel[10:15] = 1

    matches = match_predictions([one, other], 0, 0.4)

    assert matches.n_alone.tolist() == [50, 0]
    assert matches.n_displaced.tolist() == [0, 15]
    assert matches.rows.shape == (2, 135)


def test_duplicates_are_not_taken():
    one = predictions()
    twice = taken(one, np.r_[np.arange(200), [3, 3]])

    matches = match_predictions([one, twice], 0, 0.4)

    assert matches.n_duplicates.tolist() == [0, 3]
    assert matches.rows.shape == (2, 199)
    assert 3 not in matches.rows[0]


def test_three_sweeps_match_without_the_reference():
    one = predictions()
    matches = match_predictions([taken(one, np.arange(100)), one, one], 0, 0.4)

    assert matches.rows.shape == (3, 200)
    assert (matches.rows[0] >= 0).sum() == 100


def test_hundreds_of_sweeps():
    one = predictions(n=50)
    matches = match_predictions([one] * 300, 0, 0.4)
    assert np.array_equal(matches.rows, np.tile(matches.rows[0], (300, 1)))
    assert matches.rows.shape == (300, 50)


def test_change_of_basis():
    a = np.array([[0.01, 0.002, 0], [0, 0.012, 0.001], [0.003, 0, 0.02]])
    change = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    hkl = np.array([[1, 2, 3], [-4, 0, 5]])

    found = change_of_basis(a, a @ change)

    assert np.array_equal(found.matrix, change)
    assert str(found) == "k,-h,l"
    # The same vectors in both settings
    assert np.allclose(found.apply(hkl) @ a.T, hkl @ (a @ change).T)


@pytest.mark.parametrize("wrong", [np.diag([1.0, 1.0, 1.4]), -np.eye(3)])
def test_lattices_that_do_not_coincide(wrong):
    with pytest.raises(ValueError, match="do not lie on each other"):
        change_of_basis(np.eye(3), wrong)


def test_symmetry_mates_share_a_key_and_others_do_not():
    # 4/m about l
    turn = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    group = [np.linalg.matrix_power(turn, i) for i in range(4)]
    operators = np.array([*group, *(-g for g in group)])
    hkl = np.array(
        [(h, k, l) for h in range(-4, 5) for k in range(-4, 5) for l in (-2, 0, 3)]
    )

    keys = unique_keys(hkl, operators, 4)

    mates = {frozenset(tuple(h @ g) for g in operators) for h in hkl}
    assert len(np.unique(keys)) == len(mates)
    for operator in operators:
        assert np.array_equal(unique_keys(hkl @ operator, operators, 4), keys)
