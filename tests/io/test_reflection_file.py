from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refl_files import (
    dials_table,
    random_boxes,
    refl_bytes,
    shoebox_record,
    table_bytes,
    write_table,
)

from dials_jungfrau_qc.io import shoebox_blob
from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.reflection_file import open_reflection_file


def read_boxes(path: Path, rows=None, background=False) -> dict[int, tuple]:
    """Data and mask of each shoebox by row."""
    table = open_reflection_file(path)
    rows = np.arange(table.n_rows) if rows is None else np.asarray(rows)
    found = {}
    for block in table.iter_shoeboxes(rows, background):
        ends = np.cumsum(block.sizes)
        for row, begin, end in zip(block.rows, ends - block.sizes, ends):
            piece = slice(begin, end)
            found[int(row)] = (
                block.data[piece],
                block.mask[piece],
                block.background[piece] if background else None,
            )
    table.close()
    return found


def assert_same(found, boxes, rows=None):
    rows = range(len(boxes)) if rows is None else rows
    assert sorted(found) == sorted(rows)
    for row in rows:
        data, mask = boxes[row]
        np.testing.assert_array_equal(found[row][0], data.ravel())
        np.testing.assert_array_equal(found[row][1], mask.ravel())


def test_table_written_by_dials_is_read_as_dials_reads_it(tmp_path):
    reference = dials_table(n=200, n_experiments=3)
    path = tmp_path / "strong.refl"
    reference.as_file(str(path))
    table = open_reflection_file(path)
    assert table.n_rows == 200
    assert table.identifiers == {i: f"experiment-{i}" for i in range(3)}
    assert table.column_names == set(reference.keys())
    assert table.read("id").tolist() == list(reference["id"])
    assert table.read("flags").tolist() == list(reference["flags"])
    assert table.read("bbox").tolist() == [list(b) for b in reference["bbox"]]
    np.testing.assert_array_equal(
        table.read("xyzobs.px.value"), np.array(reference["xyzobs.px.value"])
    )
    whole = table.read("xyzobs.px.value")
    np.testing.assert_array_equal(table.read("xyzobs.px.value", 20, 70), whole[20:70])
    np.testing.assert_array_equal(table.read("flags", 190), table.read("flags")[190:])
    assert table.read("id", 70, 70).shape == (0,)
    found = read_boxes(path)
    for row, shoebox in enumerate(reference["shoebox"]):
        assert found[row][0].tolist() == list(shoebox.data)
        assert found[row][1].tolist() == list(shoebox.mask)


@settings(max_examples=60)
@given(
    n=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
    version=st.sampled_from([1, 2]),
    with_bbox=st.booleans(),
    block=st.sampled_from([1, 200, 1 << 23]),
    data=st.data(),
)
def test_random_shoeboxes_of_both_versions(
    tmp_path_factory, n, seed, version, with_bbox, block, data
):
    boxes = random_boxes(n, seed)
    path = tmp_path_factory.mktemp("refl") / "random.refl"
    path.write_bytes(table_bytes(boxes, version=version, with_bbox=with_bbox))
    rows = sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shoebox_blob, "BLOCK_BYTES", block)
        found = read_boxes(path, rows, background=True)
    assert_same(found, boxes, rows)
    assert all((b == 0.5).all() for _, _, b in found.values())


@pytest.mark.parametrize("version", [1, 2])
def test_flattened_shoeboxes_keep_their_z_range(tmp_path, version):
    boxes = random_boxes(30)
    path = tmp_path / "flat.refl"
    path.write_bytes(table_bytes(boxes, version=version, flatten=True))
    flat = [(data.sum(axis=0), mask.max(axis=0)) for data, mask in boxes]
    assert_same(read_boxes(path), flat)


def test_shoeboxes_of_which_only_some_have_pixels(tmp_path):
    boxes = random_boxes(3)
    bbox = [(0, d.shape[2], 0, d.shape[1], 0, d.shape[0]) for d, _ in boxes]
    blob = b"".join(
        shoebox_record(0, b, None if i == 1 else d, m, d, 1)
        for i, (b, (d, m)) in enumerate(zip(bbox, boxes))
    )
    columns = {
        "bbox": ("int6", np.array(bbox, "<i4")),
        "shoebox": ("Shoebox<>", blob),
    }
    path = tmp_path / "some.refl"
    path.write_bytes(refl_bytes(columns, 3))
    found = read_boxes(path)
    assert found[1][0].size == 0
    np.testing.assert_array_equal(found[2][0], boxes[2][0].ravel())


def test_gzip(tmp_path):
    boxes = random_boxes(20)
    path = tmp_path / "strong.refl.gz"
    path.write_bytes(gzip.compress(table_bytes(boxes)))
    assert_same(read_boxes(path), boxes)
    path.write_bytes(gzip.compress(table_bytes(boxes))[:-200])
    with pytest.raises(InputError, match="truncated"):
        open_reflection_file(path)


def test_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")
    boxes = random_boxes(25)
    path = tmp_path / "strong.refl"
    with h5py.File(path, "w") as f:
        group = f.create_group("dials/processing/group_0")
        group.attrs["identifiers"] = ["a"]
        group.attrs["experiment_ids"] = np.array([0])
        group["id"] = np.zeros(25, "i4")
        group["flags"] = np.full(25, 36, "u8")
        sb = group.create_group("shoebox")
        sb["shoebox_data"] = np.concatenate([d.ravel() for d, _ in boxes])
        sb["shoebox_mask"] = np.concatenate([m.ravel() for _, m in boxes]).astype("u1")
        sb["shoebox_background"] = np.zeros(sum(d.size for d, _ in boxes), "f4")
        sb["bbox"] = np.array(
            [(0, d.shape[2], 0, d.shape[1], 0, d.shape[0]) for d, _ in boxes], "i4"
        )
    rows = [0, 3, 4, 20]
    assert_same(read_boxes(path, rows), boxes, rows)
    table = open_reflection_file(path)
    assert table.identifiers == {0: "a"}
    assert table.read("flags").tolist() == [36] * 25
    assert table.read("flags", 3, 10).tolist() == [36] * 7
    table.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dials_jungfrau_qc.io.reflection_hdf5.BLOCK_BYTES", 400)
        assert_same(read_boxes(path, rows), boxes, rows)
    with h5py.File(path, "a") as f:
        del f["dials/processing/group_0/shoebox/shoebox_mask"]
        f["dials/processing/group_0/shoebox/shoebox_mask"] = np.zeros(3, "u1")
    with pytest.raises(InputError, match="do not agree"):
        read_boxes(path)


@pytest.fixture(scope="module")
def whole_file() -> bytes:
    return table_bytes(random_boxes(12), identifiers={0: "zero"})


@settings(max_examples=150)
@given(share=st.floats(0, 1, exclude_max=True))
def test_truncation_anywhere_is_an_error(tmp_path_factory, whole_file, share):
    path = tmp_path_factory.mktemp("refl") / "cut.refl"
    path.write_bytes(whole_file[: int(share * len(whole_file))])
    with pytest.raises(InputError):
        read_boxes(path)


def test_file_that_shrinks_while_it_is_read(tmp_path):
    path = tmp_path / "growing.refl"
    content = table_bytes(random_boxes(2000))
    path.write_bytes(content)
    table = open_reflection_file(path)
    path.write_bytes(content[:5000])
    with pytest.raises(InputError, match="ended .* early"):
        list(table.iter_shoeboxes(np.arange(2000)))


@settings(max_examples=150)
@given(position=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_a_wrong_byte_is_an_error_or_a_value(
    tmp_path_factory, whole_file, position, value
):
    damaged = bytearray(whole_file)
    damaged[int(position * len(damaged))] = value
    path = tmp_path_factory.mktemp("refl") / "damaged.refl"
    path.write_bytes(damaged)
    try:
        found = read_boxes(path)
    except InputError:
        return
    assert sum(data.size for data, _, _ in found.values()) == sum(
        data.size for data, _ in random_boxes(12)
    )


def test_wrong_column_length(tmp_path):
    content = refl_bytes({"id": ("int", np.zeros(7, "<i4"))}, 8)
    path = tmp_path / "short.refl"
    path.write_bytes(content)
    with pytest.raises(InputError, match="28 bytes where 8 rows of int need 32"):
        open_reflection_file(path)


def test_bounding_box_that_disagrees_with_the_record(tmp_path):
    boxes = [(np.ones((1, 2, 3), "f4"), np.full((1, 2, 3), 5))] * 2
    content = table_bytes(boxes)
    # The second record's own x1 grows: total and bbox column stay as they are
    first = content.index(b"Shoebox<>")
    at = content.index(np.array([5, 8, 7, 9, 2, 3], "<i4").tobytes(), first)
    at = content.index(np.array([5, 8, 7, 9, 2, 3], "<i4").tobytes(), at + 1)
    damaged = bytearray(content)
    damaged[at + 4] = 9
    path = tmp_path / "disagree.refl"
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="row 1 does not agree"):
        read_boxes(path)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "empty"),
        (b"hello", "not a DIALS reflection table"),
        (b"\x93\xbb\x64" + b"x" * 40, "not a reflection table"),
        (refl_bytes({}, 0, version=3), "version 3"),
    ],
)
def test_foreign_files(tmp_path, content, message):
    path = tmp_path / "foreign.refl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_reflection_file(path)


class Trap:
    """Unpickling this writes a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_never_opened_unasked(tmp_path, protocol):
    sprung = tmp_path / "sprung"
    path = tmp_path / "disguise.refl"
    path.write_bytes(pickle.dumps(Trap(sprung), protocol=protocol))
    with pytest.raises(InputError):
        open_reflection_file(path)
    assert not sprung.exists()


def test_a_pickled_table_is_read_where_that_is_allowed(tmp_path):
    path = tmp_path / "old.refl"
    table = dials_table(n=10)
    table.as_pickle(str(path))
    with pytest.raises(InputError, match="allow_pickle"):
        open_reflection_file(path)
    allowed = open_reflection_file(path, allow_pickle=True)
    assert allowed.read("id").tolist() == list(table["id"])


def test_reading_needs_little_more_than_a_block(tmp_path):
    import tracemalloc

    path = write_table(tmp_path / "some.refl", n=3000)
    table = open_reflection_file(path)
    rows = np.arange(3000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shoebox_blob, "BLOCK_BYTES", 1 << 16)
        tracemalloc.start()
        for _ in table.iter_shoeboxes(rows):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < path.stat().st_size
