"""Experiment lists as DIALS 3.12 and DIALS 3.30 wrote them for the same three images."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

# By dials.import of DIALS 3.30, of a simulated JUNGFRAU module. The template is not of
# images that are there.
LATER: dict[str, Any] = json.loads(
    """
{"__id__": "ExperimentList",
 "experiment": [{"__id__": "Experiment", "identifier": "66010529-8d3b-a45e-4ce7-9dfeb254ebf6",
   "beam": 0, "detector": 0, "goniometer": 0, "scan": 0, "imageset": 0}],
 "history": ["2026-11-22T18:16:57Z|dials.import|v3.30"],
 "imageset": [{"__id__": "ImageSequence", "template": "insulin_1.0transmission.nxs",
   "single_file_indices": [0, 1, 2], "mask": null, "gain": null, "pedestal": null,
   "dx": null, "dy": null,
   "params": {"dynamic_shadowing": "Auto", "multi_panel": false}}],
 "beam": [{"__id__": "monochromatic", "direction": [0.0, 0.0, 1.0],
   "wavelength": 0.9998725680096795, "divergence": 0.0, "sigma_divergence": 0.0,
   "polarization_normal": [0.0, 1.0, 0.0], "polarization_fraction": 0.999, "flux": 0.0,
   "transmission": 1.0, "probe": "x-ray", "sample_to_source_distance": 0.0}],
 "detector": [{
   "panels": [{"name": "/entry/instrument/detector/module", "type": "SENSOR_PAD",
     "fast_axis": [1.0, 0.0, 0.0], "slow_axis": [0.0, -1.0, 0.0],
     "origin": [-36.015, 15.802499999999998, -80.0], "raw_image_offset": [0, 0],
     "image_size": [1030, 514], "pixel_size": [0.075, 0.075],
     "trusted_range": [-2147483647.0, 2147483647.0], "thickness": 0.32,
     "material": "Si", "mu": 4.206416115578921, "identifier": "", "mask": [],
     "gain": 1.0, "pedestal": 0.0,
     "px_mm_strategy": {"type": "ParallaxCorrectedPxMmStrategy"}}],
   "hierarchy": {"name": "", "type": "", "fast_axis": [1.0, 0.0, 0.0],
     "slow_axis": [0.0, 1.0, 0.0], "origin": [0.0, 0.0, 0.0],
     "raw_image_offset": [0, 0], "image_size": [0, 0], "pixel_size": [0.0, 0.0],
     "trusted_range": [0.0, 0.0], "thickness": 0.0, "material": "", "mu": 0.0,
     "identifier": "", "mask": [], "gain": 1.0, "pedestal": 0.0,
     "px_mm_strategy": {"type": "SimplePxMmStrategy"}, "children": [{"panel": 0}]}}],
 "goniometer": [{"rotation_axis": [1.0, 0.0, 0.0],
   "fixed_rotation": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
   "setting_rotation": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]}],
 "scan": [{"image_range": [1, 3], "batch_offset": 0,
   "properties": {"epochs": [0.0, 0.01, 0.02], "exposure_time": [0.01, 0.01, 0.01],
     "oscillation": [0.0, 0.2, 0.4]},
   "valid_image_ranges": {}}],
 "crystal": [], "profile": [], "scaling_model": []}
"""
)

# What DIALS 3.12 wrote otherwise
EARLIER_SCAN = {
    "image_range": [1, 3],
    "batch_offset": 0,
    "oscillation": [0.0, 0.2],
    "exposure_time": [0.01, 0.01, 0.01],
    "epochs": [0.0, 0.01, 0.02],
    "valid_image_ranges": {},
}
EARLIER_TRUSTED_RANGE = [-2147483648.0, 2147483647.0]


def later_list() -> dict[str, Any]:
    """The list of DIALS 3.30, to be changed at will."""
    return copy.deepcopy(LATER)


def earlier_list() -> dict[str, Any]:
    """The list of DIALS 3.12, to be changed at will."""
    content = later_list()
    del content["history"]
    for name in ("__id__", "probe", "sample_to_source_distance"):
        del content["beam"][0][name]
    content["scan"] = [copy.deepcopy(EARLIER_SCAN)]
    content["detector"][0]["panels"][0]["trusted_range"] = list(EARLIER_TRUSTED_RANGE)
    return content


def write_list(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(json.dumps(content))
    return path
