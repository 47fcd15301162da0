from __future__ import annotations

import pickle

import h5py
import numpy as np
import pytest

from scitbx.array_family import flex

from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.masks import mask_bytes, nexus_mask_bytes, read_mask


def masks_of(*shapes):
    rng = np.random.default_rng(0)
    return [rng.random(shape) < 0.5 for shape in shapes]


def test_round_trip(tmp_path):
    masks = masks_of((3, 5), (4, 2))
    path = tmp_path / "pixels.mask"
    path.write_bytes(mask_bytes(masks))

    with path.open("rb") as file:
        content = pickle.load(file)
    own = read_mask(path, [(3, 5), (4, 2)])

    assert isinstance(content, tuple)
    assert all(isinstance(panel, flex.bool) for panel in content)
    for a, b in zip(own, masks):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("form", [tuple, list, "bare"])
def test_all_forms_that_dials_writes(tmp_path, protocol, form):
    panel = flex.bool(flex.grid(2, 3), True)
    panel[4] = False
    content = panel if form == "bare" else form([panel])
    path = tmp_path / "pixels.mask"
    path.write_bytes(pickle.dumps(content, protocol))

    (mask,) = read_mask(path)

    assert mask.tolist() == [[True, True, True], [True, False, True]]


class Harmful:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was run",))


class Bytes:
    def __reduce__(self):
        import codecs

        return (codecs.encode, ("abc", "rot13"))


@pytest.mark.parametrize(
    "content,message",
    [
        (Harmful(), "no mask"),
        ((flex.bool(flex.grid(2, 2)), Harmful()), "no mask"),
        (Bytes(), "encoding rot13"),
        (flex.int(4), "no mask"),
        (flex.bool(4), "two dimensions"),
        ((), "neither"),
        ({"a": 1}, "neither"),
        ((1, 2), "not all"),
    ],
)
def test_anything_else_is_refused_and_not_run(tmp_path, content, message):
    path = tmp_path / "pixels.mask"
    path.write_bytes(pickle.dumps(content, 2))

    with pytest.raises(InputError, match=message):
        read_mask(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x05\x95"])
def test_no_pickle_at_all(tmp_path, content):
    path = tmp_path / "pixels.mask"
    path.write_bytes(content)

    with pytest.raises(InputError, match="not a mask"):
        read_mask(path)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_mask(tmp_path / "pixels.mask")


def test_another_shape(tmp_path):
    path = tmp_path / "pixels.mask"
    path.write_bytes(mask_bytes(masks_of((3, 5))))

    with pytest.raises(InputError, match="1 panel of 3 x 5.*2 panels of 4 x 4"):
        read_mask(path, [(4, 4), (4, 4)])


def test_nexus_mask(tmp_path):
    bits = np.zeros((4, 5), np.uint32)
    bits[1, 2] = 1 << 31 | 2
    path = tmp_path / "mask.h5"

    path.write_bytes(nexus_mask_bytes(bits))

    with h5py.File(path) as file:
        data = file["/entry/instrument/detector/pixel_mask"]
        assert data.dtype == np.uint32
        np.testing.assert_array_equal(data[()], bits)
        assert data.parent.attrs["NX_class"] == "NXdetector"
