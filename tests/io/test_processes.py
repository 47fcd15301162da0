"""Work that goes on in a process of its own."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.processes import in_background


def total(data, name, factor):
    return name, factor * data.sum(), os.getpid()


def fail(*_):
    raise InputError("no room")


def die(*_):
    os._exit(9)


def wait_and_write(_, path):
    time.sleep(600)
    path.write_text("late")


def test_calls_have_the_data_and_one_process():
    with in_background(np.arange(4), "sum") as submit:
        first, second = submit(total, 2), submit(total, 3)
        results = [first.result(), second.result()]

    assert [result[:2] for result in results] == [("sum", 12), ("sum", 18)]
    assert results[0][2] == results[1][2] != os.getpid()


def test_what_a_call_raises_is_not_lost():
    with pytest.raises(InputError, match="no room"), in_background() as submit:
        submit(fail)
    with pytest.raises(InputError, match="no room"), in_background() as submit:
        submit(fail).result()


def test_process_that_dies():
    with pytest.raises(InputError, match="died"), in_background() as submit:
        submit(die)


def test_process_is_ended_with_the_body(tmp_path):
    begin = time.monotonic()
    with pytest.raises(KeyError), in_background(1) as submit:
        submit(wait_and_write, tmp_path / "x")
        raise KeyError
    assert time.monotonic() - begin < 60
    assert not (tmp_path / "x").exists()
