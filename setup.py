from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = {}
exec((here / "dials_jungfrau_qc" / "_version.py").read_text(), version)

# DIALS itself is not listed: no wheel of it exists, and its metadata is hidden in
# bootstrap builds. dials_jungfrau_qc/__init__.py looks for it and says how to get it.
setup(
    name="dials_jungfrau_qc",
    version=version["__version__"],
    description="DIALS programs that look at the pixels of JUNGFRAU detectors",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="BSD-3-Clause",
    python_requires=">=3.11",
    # The repository folder and the package share a name: without this an editable
    # install can pick up the folder above as an empty namespace package.
    package_dir={"": "."},
    packages=find_packages(include=["dials_jungfrau_qc", "dials_jungfrau_qc.*"]),
    package_data={"dials_jungfrau_qc": ["report/templates/*", "schemas/*.json"]},
    install_requires=[
        "h5py",
        "hdf5plugin",
        "isal",
        "jinja2",
        "numpy>=1.24",
        "plotly>=6",
        "tabulate",
        "tqdm",
    ],
    extras_require={"test": ["hypothesis", "jsonschema", "pytest"]},
    entry_points={
        "console_scripts": [
            "dials.find_bad_pixels=dials_jungfrau_qc.command_line.find_bad_pixels:run",
            "dials.jungfrau_bad_pixels=dials_jungfrau_qc.command_line.find_bad_pixels:run",
            "dials.pixel_histogram=dials_jungfrau_qc.command_line.pixel_histogram:run",
            "dials.transmission_linearity=dials_jungfrau_qc.command_line.transmission_linearity:run",
            "dials.simulate_jungfrau=dials_jungfrau_qc.command_line.simulate_jungfrau:run",
        ],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "License :: OSI Approved :: BSD License",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering",
    ],
)
