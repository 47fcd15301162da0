"""Files of one DIALS under another."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from expt_files import (
    EARLIER_SCAN,
    EARLIER_TRUSTED_RANGE,
    earlier_list,
    later_list,
    write_list,
)
from refl_files import random_boxes, table_bytes

from dials_jungfrau_qc.command_line import pixel_histogram
from dials_jungfrau_qc.io.compat import (
    experiments_without_properties,
    readable_experiments,
    scans_have_properties,
    trusted_range_is_inclusive,
)
from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.experiments import load_experiments

IDENTIFIER = "66010529-8d3b-a45e-4ce7-9dfeb254ebf6"


def with_properties(image_range, **properties):
    content = later_list()
    content["scan"][0].update(image_range=image_range, properties=properties)
    return content


def trusted(panel, values: list[int]) -> list[bool]:
    """Which values the panel trusts, by the DIALS that runs."""
    from scitbx.array_family import flex

    panel.set_image_size((len(values), 1))
    image = flex.int(values)
    image.reshape(flex.grid(1, len(values)))
    return list(panel.get_trusted_range_mask(image))


@pytest.mark.parametrize("make", [earlier_list, later_list])
def test_scans_of_either_are_read(tmp_path, make):
    (experiment,) = load_experiments(write_list(tmp_path / "a.expt", make()))

    scan = experiment.scan
    assert scan.get_image_range() == (1, 3)
    assert scan.get_oscillation() == pytest.approx((0.0, 0.2))
    assert list(scan.get_exposure_times()) == [0.01, 0.01, 0.01]
    assert list(scan.get_epochs()) == [0.0, 0.01, 0.02]
    assert experiment.identifier == IDENTIFIER
    assert experiment.beam.get_transmission() == 1
    assert experiment.imageset.get_template().endswith("insulin_1.0transmission.nxs")


def test_a_later_list_is_translated_to_what_the_earlier_dials_writes():
    translated = experiments_without_properties(later_list(), inclusive=False)

    assert translated["scan"] == [EARLIER_SCAN]
    (panel,) = translated["detector"][0]["panels"]
    assert panel["trusted_range"] == EARLIER_TRUSTED_RANGE
    for name in ("experiment", "imageset", "goniometer", "crystal"):
        assert translated[name] == earlier_list()[name]


def test_the_original_is_not_changed():
    content = later_list()
    experiments_without_properties(content, inclusive=False)
    assert content == later_list()


@pytest.mark.parametrize("make", [earlier_list, later_list])
def test_a_dials_reads_its_own_lists_as_they_are(make):
    content = make()
    if scans_have_properties() or make is earlier_list:
        assert readable_experiments(content) is content
    else:
        assert readable_experiments(content) != content


@pytest.mark.parametrize("stills", [False, True])
def test_the_lowest_trusted_value_of_a_later_list_stays_trusted(tmp_path, stills):
    content = later_list()
    content["detector"][0]["panels"][0]["trusted_range"] = [0.0, 100.0]
    if stills:
        del content["scan"], content["history"], content["goniometer"]
        del content["experiment"][0]["scan"], content["experiment"][0]["goniometer"]
        content["imageset"][0] = {"__id__": "ImageSet", "images": ["a.cbf"]}
    (experiment,) = load_experiments(write_list(tmp_path / "a.expt", content))

    values = [-2, -1, 0, 1, 99, 101]
    expected = [False, False, True, True, True, False]
    assert trusted(experiment.detector[0], values) == expected


def test_an_earlier_list_is_taken_by_the_rule_of_the_dials_that_runs(tmp_path):
    content = earlier_list()
    content["detector"][0]["panels"][0]["trusted_range"] = [-1.0, 100.0]
    (experiment,) = load_experiments(write_list(tmp_path / "a.expt", content))

    at_limits = trusted_range_is_inclusive()
    values = [-2, -1, 0, 100]
    expected = [False, at_limits, True, at_limits]
    assert trusted(experiment.detector[0], values) == expected


def test_the_width_of_a_single_image_is_kept(tmp_path):
    content = with_properties([7, 7], oscillation=[30.0], oscillation_width=[0.5])
    content["imageset"][0]["single_file_indices"] = [6]
    (experiment,) = load_experiments(write_list(tmp_path / "a.expt", content))

    assert experiment.scan.get_image_range() == (7, 7)
    assert experiment.scan.get_oscillation() == pytest.approx((30.0, 0.5))


def test_the_width_of_long_scans_does_not_lose_digits():
    starts = [1000.0 + 0.1 * i for i in range(3600)]
    content = with_properties([1, 3600], oscillation=starts)

    (scan,) = experiments_without_properties(content, inclusive=True)["scan"]

    assert scan["oscillation"] == pytest.approx([1000.0, 0.1], rel=1e-14)
    assert len(scan["exposure_time"]) == len(scan["epochs"]) == 3600


def test_stills_with_a_scan_have_no_oscillation():
    (scan,) = experiments_without_properties(with_properties([5, 5]), inclusive=True)[
        "scan"
    ]

    assert scan["oscillation"] == [0.0, 0.0]
    assert scan["image_range"] == [5, 5]


def test_images_that_are_not_to_be_translated_are_refused():
    content = with_properties([1, 2], time_of_flight=[0.1, 0.2])
    with pytest.raises(ValueError, match="time-of-flight"):
        experiments_without_properties(content, inclusive=True)


@pytest.mark.parametrize("content", [[], 3, None, {"scan": 4}, {"scan": ["a.json"]}])
def test_what_is_no_experiment_list_is_refused(tmp_path, content):
    path = tmp_path / "a.expt"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="a.expt"):
        load_experiments(path)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("make", [earlier_list, later_list])
def test_histograms_of_files_of_either(in_tmp_path, make, version):
    boxes = random_boxes(50)
    Path("strong.refl").write_bytes(
        table_bytes(boxes, version=version, identifiers={0: IDENTIFIER})
    )
    content = make()
    low, high = content["detector"][0]["panels"][0]["trusted_range"]
    content["detector"][0]["panels"][0]["trusted_range"] = [low, 50.0]
    write_list(Path("strong.expt"), content)

    pixel_histogram.run(["strong.refl", "strong.expt"])

    values = np.concatenate([data[mask & 4 != 0] for data, mask in boxes])
    written = json.loads(Path("dials.pixel_histogram.json").read_text())
    (group,) = written["groups"]
    assert group["n_pixels"] == len(values)
    assert group["maximum"] == values.max()
    assert group["transmission"] == 1
    above = values > 50 if trusted_range_is_inclusive() else values >= 50
    assert group["trusted_range"]["n_pixels_untrusted"] == np.count_nonzero(above)
    assert group["trusted_range"]["n_pixels_at_maximum"] == np.count_nonzero(
        values == 50
    )
