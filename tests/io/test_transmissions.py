"""Where transmissions come from, and which source is believed."""

from __future__ import annotations

from types import SimpleNamespace

import h5py
import pytest

from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.transmissions import (
    BEAM,
    COMMAND_LINE,
    FILE,
    NAME,
    find_transmissions,
)


@pytest.fixture
def image(tmp_path):
    """An image file with a transmission in it and another in its name."""
    path = tmp_path / "x_0.503transmission.nxs"
    with h5py.File(path, "w") as file:
        file["/entry/instrument/attenuator/attenuator_transmission"] = 0.25
    return str(path)


def sweep(template="", transmission=1.0):
    return SimpleNamespace(template=template, transmission=transmission)


def test_sources_in_their_order(image):
    full = sweep(image, 0.1)
    cases = [
        (full, ["0.7"], 0.7, COMMAND_LINE),
        (full, None, 0.1, BEAM),
        (sweep(image), None, 0.25, FILE),
        (sweep("/nowhere/x_0.503transmission.nxs"), None, 0.503, NAME),
        (sweep("/nowhere/0.127transmission/image_####.cbf"), None, 0.127, NAME),
    ]
    for experiment, given, value, source in cases:
        (found,) = find_transmissions([experiment], given)
        assert (found.value, found.source) == (value, source)


def test_all_that_disagree_are_told(image):
    (found,) = find_transmissions([sweep(image, 0.1)], ["0.2515"])
    assert found.disagreements == {BEAM: 0.1, NAME: 0.503}


def test_beam_of_1_is_believed_beside_one_that_was_set():
    low, full = find_transmissions([sweep(transmission=0.1), sweep()])
    assert (full.value, full.source) == (1, BEAM)
    assert low.value == 0.1


def test_without_any_the_message_says_how_to_give_it():
    with pytest.raises(InputError) as e:
        find_transmissions([sweep(), sweep("/x/thaumatin_####.cbf")])
    assert "experiment 0" in str(e.value)
    assert "transmission=T,T" in str(e.value)
    assert "transmission=0:T" in str(e.value)


def test_one_by_number_and_the_rest_from_elsewhere(image):
    found = find_transmissions([sweep(image), sweep(image)], ["1:0.9"])
    assert [(t.value, t.source) for t in found] == [(0.25, FILE), (0.9, COMMAND_LINE)]


@pytest.mark.parametrize(
    "given, words",
    [
        (["0.1,0.2,0.3"], "3 values for 2"),
        (["0:0.1,0.2"], "not both"),
        (["5:0.1"], "no experiment 5"),
        (["0.1,1.5"], "1.5"),
        (["0.1,nan"], "nan"),
        (["0.1,x"], "'x'"),
        (["0:0.1,0:0.2"], "twice"),
    ],
)
def test_what_cannot_be_given(image, given, words):
    with pytest.raises(InputError, match=words):
        find_transmissions([sweep(image), sweep(image)], given)


@pytest.mark.parametrize("pattern, words", [("(", "pattern"), ("trans", "group")])
def test_wrong_patterns(pattern, words):
    with pytest.raises(InputError, match=words):
        find_transmissions([sweep("/x/0.1transmission.cbf")], None, pattern)


def test_a_pattern_of_the_user():
    (found,) = find_transmissions([sweep("/x/T0.2_##.cbf")], None, r"T(0\.\d)_")
    assert found.value == 0.2
