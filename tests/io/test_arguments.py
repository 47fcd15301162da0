from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from integrated_files import simulate, write_series
from nxmx_files import geometry_of, write_nxmx
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


# Given to a program in its last argument, to be written to or read
NOT_UTF8 = os.fsdecode(b"caf\xe9")


@pytest.mark.parametrize(
    "program",
    [
        "pixel_histogram",
        "simulate_jungfrau",
        "find_bad_pixels",
        "transmission_linearity",
    ],
)
def test_names_that_are_not_valid_utf8(in_tmp_path, program):
    """They are printed with backslashes, in the log as well, and nothing else happens."""
    arguments = []
    if program == "pixel_histogram":
        name = f"{NOT_UTF8}.refl"
        Path(name).write_bytes(table_bytes(random_boxes(20)))
        arguments = [name, "find_features=False"]
    elif program == "find_bad_pixels":
        write_nxmx(in_tmp_path / "x.nxs", np.ones((2, *geometry_of().shape)))
        arguments = ["x.nxs", f"output.mask={NOT_UTF8}.mask"]
    elif program == "transmission_linearity":
        write_series(in_tmp_path, simulate(n=100))
        arguments = ["integrated.expt", "integrated.refl"]
    else:
        arguments = ["detector=module", "n_images=1", "transmission=1"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", f"dials_jungfrau_qc.command_line.{program}"),
            *(*arguments, f"output.directory={NOT_UTF8}"),
        ],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8:strict"},
    )

    assert done.returncode == 0, done.stderr
    assert "Logging error" not in done.stderr and "Traceback" not in done.stderr
    assert "caf\\udce9" in done.stdout
    (log,) = Path(NOT_UTF8).glob("*.log")
    assert "caf\\udce9" in log.read_text(encoding="utf-8")
