"""Damaged files and parameters: a right answer or one clear line, within bounds.

FUZZ_MUTANTS and FUZZ_SEED set how many there are and which.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
REAL = TESTS.parents[1] / "shared" / "data"


@pytest.mark.skipif(sys.platform != "linux", reason="bounds are set as Linux does")
def test_programs_stand_damaged_input():
    mutants = os.environ.get("FUZZ_MUTANTS", "200")
    real = ["--real", str(REAL)] if REAL.is_dir() else []
    result = subprocess.run(
        [
            *(sys.executable, "-m", "fuzz.campaign", "--mutants", mutants),
            *("--seed", os.environ.get("FUZZ_SEED", "0"), *real),
        ],
        # One thread, as forks are taken of it
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(TESTS.parent), str(TESTS), *sys.path[1:]]
            ),
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(result.stdout.splitlines()[-1])
    problems = [
        f"{f['seed']}: {f['program']} {f['target']}: {f['problem']}\n{f['message']}"
        for f in found["findings"]
    ]
    assert not problems, "\n".join(problems)
    # The mutations must leave some files sound, and damage others
    assert found["outcomes"]["answer"] > int(mutants) // 20
    assert found["outcomes"]["message"] > int(mutants) // 20
