from __future__ import annotations

import pytest

from dials_jungfrau_qc.report.html import for_plotly, printable, typeset


@pytest.mark.parametrize(
    "plain, printed",
    [
        ("25.0 +- 0.1 photons", "25.0 ± 0.1 photons"),
        ("up to 6.13e+04 photons", "up to 6.13 × 10⁴ photons"),
        ("-2.6(14)e-06", "-2.6(14) × 10⁻⁶"),
        ("-2.6e-06 +- 1.4e-06", "-2.6 × 10⁻⁶ ± 1.4 × 10⁻⁶"),
        ("0.3 A^2 a sweep", "0.3 Å² a sweep"),
        ("Resolution\n(A)", "Resolution\n(Å)"),
        # Nothing else is touched
        ("data +- mine 1e5x 3e4.nxs", "data +- mine 1e5x 3e4.nxs"),
    ],
)
def test_numbers_and_units_are_typeset(plain, printed):
    assert typeset(plain) == printed


def test_characters_without_shape_are_written_out():
    assert printable("a\x1b[0m\x00b") == "a\\x1b[0m\\x00b"
    assert printable("\udcff.refl") == "\\udcff.refl"
    assert printable("two\nlines\tand Å") == "two\nlines\tand Å"
    assert printable(3) == 3


def test_markup_in_plots_is_text():
    plot = {
        "data": [
            {
                "name": "<b>a</b> &lt;\n",
                "x": [1, None],
                "text": ["<i>"],
                "hovertemplate": "%{y}<extra></extra>",
            }
        ]
    }

    (trace,) = for_plotly(plot)["data"]

    assert trace["name"] == "&lt;b&gt;a&lt;/b&gt; &amp;lt;\\n"
    assert trace["text"] == ["&lt;i&gt;"]
    assert trace["hovertemplate"] == "%{y}<extra></extra>"
    assert trace["x"] == [1, None]
