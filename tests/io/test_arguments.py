from __future__ import annotations

import logging

from refl_files import random_boxes, table_bytes

from dials_jungfrau_qc.command_line.pixel_histogram import run


def test_second_run_in_a_process_has_a_log_of_its_own(in_tmp_path, capsys):
    """And leaves alone the handlers that the process itself has set."""
    (in_tmp_path / "x.refl").write_bytes(table_bytes(random_boxes(20)))
    own = logging.StreamHandler()
    logging.getLogger("dials").addHandler(own)
    fast = ["x.refl", "find_features=False", "output.html=None"]

    run([*fast, "output.directory=one", "histogram.n_bins=100"])
    first = (in_tmp_path / "one" / "dials.pixel_histogram.log").read_text()
    capsys.readouterr()
    run([*fast, "output.directory=two", "histogram.n_bins=200"])

    assert own in logging.getLogger("dials").handlers
    assert (in_tmp_path / "one" / "dials.pixel_histogram.log").read_text() == first
    second = (in_tmp_path / "two" / "dials.pixel_histogram.log").read_text()
    assert "n_bins = 200" in second and "n_bins = 100" not in second
    assert capsys.readouterr().out.count("n_bins = 200") == 1
