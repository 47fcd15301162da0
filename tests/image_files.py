"""Small images of formats that only dxtbx reads."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

# From 1: the number that a template has its digits for
CBF_HEADER = """###CBF: VERSION 1.5
data_{number:05d}

_array_data.header_convention "PILATUS_1.2"
_array_data.header_contents
;
# Detector: PILATUS 100K, S/N 1-0001
# 2024-01-01T00:00:00.000
# Pixel_size 172e-6 m x 172e-6 m
# Silicon sensor, thickness 0.000320 m
# Exposure_time 0.0970000 s
# Exposure_period 0.1000000 s
# Count_cutoff 100000 counts
# Wavelength 1.00000 A
# Detector_distance 0.10000 m
# Beam_xy ({beam_fast:.2f}, {beam_slow:.2f}) pixels
# Start_angle {start:.4f} deg.
# Angle_increment {width:.4f} deg.
;

_array_data.data
;
--CIF-BINARY-FORMAT-SECTION--
Content-Type: application/octet-stream;
     conversions="x-CBF_BYTE_OFFSET"
Content-Transfer-Encoding: BINARY
X-Binary-Size: {size}
X-Binary-ID: 1
X-Binary-Element-Type: "signed 32-bit integer"
X-Binary-Element-Byte-Order: LITTLE_ENDIAN
X-Binary-Number-of-Elements: {elements}
X-Binary-Size-Fastest-Dimension: {fast}
X-Binary-Size-Second-Dimension: {slow}
X-Binary-Size-Padding: 0

"""
TIFF_HEADER_BYTES = 4096
SMV_HEADER = """{{
HEADER_BYTES=  512;
DIM=2;
BYTE_ORDER=little_endian;
TYPE=unsigned_short;
SIZE1={fast};
SIZE2={slow};
PIXEL_SIZE=0.1;
DISTANCE=100;
WAVELENGTH=1.0;
BEAM_CENTER_X=5;
BEAM_CENTER_Y=5;
OSC_START={start};
OSC_RANGE={width};
PHI={start};
TIME=1;
DATE=Mon Jan 01 00:00:00 2024;
}}
"""


def cbf_bytes(frame: np.ndarray, number: int = 1, width: float = 0.1) -> bytes:
    """A frame [slow, fast] as a Pilatus writes it; no rotation makes it a still."""
    from dxtbx import flumpy
    from dxtbx.ext import compress

    packed = compress(flumpy.from_numpy(np.array(frame, np.int32)))
    slow, fast = frame.shape
    header = CBF_HEADER.format(
        number=number,
        beam_fast=fast / 2,
        beam_slow=slow / 2,
        start=(number - 1) * width,
        width=width,
        size=len(packed),
        elements=frame.size,
        slow=slow,
        fast=fast,
    )
    return (
        header.replace("\n", "\r\n").encode()
        + b"\x0c\x1a\x04\xd5"
        + packed
        + b"\r\n--CIF-BINARY-FORMAT-SECTION----\r\n;\r\n"
    )


def smv_bytes(frame: np.ndarray, number: int = 1, width: float = 0.1) -> bytes:
    """A frame [slow, fast] as an ADSC detector writes it."""
    slow, fast = frame.shape
    header = SMV_HEADER.format(
        slow=slow, fast=fast, start=(number - 1) * width, width=width
    )
    return header.encode().ljust(512) + frame.astype("<u2").tobytes()


def tiff_bytes(frame: np.ndarray, number: int = 1, width: float = 0.1) -> bytes:
    """A square frame [slow, fast] as a Rayonix detector writes it."""
    n = len(frame)
    header = bytearray(TIFF_HEADER_BYTES)
    struct.pack_into("<2sHIH", header, 0, b"II", 42, 8, 4)
    tags = [(256, 4, n), (257, 4, n), (258, 3, 16), (273, 4, TIFF_HEADER_BYTES)]
    for i, (tag, kind, value) in enumerate(tags):
        struct.pack_into("<HHII", header, 10 + 12 * i, tag, kind, 1, value)
    start, end = round(1000 * (number - 1) * width), round(1000 * number * width)
    # Lengths in um, angles in 0.001 degrees, pixels in 0.001, pixel sizes in nm
    for place, values in {
        1104: (n, n, 2),
        1128: (65535,),
        1136: (1, 0, 0, 0),
        1664: (100_000, 500 * n, 500 * n, 1000, 1000),
        1692: (0, 0, 0, 0, start, 0, 0),
        1724: (0, 0, 0, 0, end, 0, 0),
        1756: (4, round(1000 * width)),
        1796: (100_000, 100_000),
        1932: (100_000,),
    }.items():
        struct.pack_into(f"<{len(values)}i", header, place, *values)
    struct.pack_into("32s", header, 2368, b"010100002024.00")
    return bytes(header) + frame.astype("<u2").tobytes()


def write_series(
    folder: Path, frames: np.ndarray, suffix: str = "cbf", width: float = 0.1
) -> list[Path]:
    """Write frames [frame][slow, fast] as x_00001.cbf and so on, .img for SMV or .tif."""
    pack = {"cbf": cbf_bytes, "img": smv_bytes, "tif": tiff_bytes}[suffix]
    paths = []
    for number, frame in enumerate(frames, 1):
        paths.append(folder / f"x_{number:05d}.{suffix}")
        paths[-1].write_bytes(pack(frame, number, width))
    return paths
