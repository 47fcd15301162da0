"""The brightest pixels of reflections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from refl_files import write_table

from dials.array_family import flex
from dials_jungfrau_qc.io.peak_pixels import read_peaks
from dials_jungfrau_qc.io.reflection_file import open_reflection_file


def test_peaks_are_those_of_foreground_pixels_in_any_order(in_tmp_path):
    path = Path("strong.refl")
    write_table(path, n=60)
    rows = np.random.default_rng(0).permutation(60)[:40]
    expected = []
    shoeboxes = flex.reflection_table.from_file(str(path))["shoebox"]
    for row in rows:
        foreground = (shoeboxes[int(row)].mask.as_numpy_array() & 4) > 0
        values = shoeboxes[int(row)].data.as_numpy_array()[foreground]
        expected.append(values.max() if values.size else np.nan)
    table = open_reflection_file(path, False)
    try:
        peaks = read_peaks(table, rows)
    finally:
        table.close()
    assert len(np.unique(expected)) > 5
    np.testing.assert_array_equal(peaks, expected)
