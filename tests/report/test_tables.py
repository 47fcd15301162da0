from __future__ import annotations

from dials_jungfrau_qc.report.tables import Table, narrow_table

ROWS = [
    ["Group", "Zeros", "Below\n0", "Source", "Mean"],
    ["a", "0", "0", "file", "1.5"],
    ["b", "0", "0", "file", "2.5"],
]


def test_columns_that_are_the_same_go_into_the_caption():
    table = narrow_table(ROWS, "Values")

    assert table.rows == [["Group", "Mean"], ["a", "1.5"], ["b", "2.5"]]
    assert table.caption == (
        "Values. Zeros, below 0: 0 in every row. Source: file in every row."
    )


def test_one_row_keeps_what_it_has():
    table = narrow_table(ROWS[:2], "Values")

    assert table.rows == [["Group", "Source", "Mean"], ["a", "file", "1.5"]]
    assert table.caption == "Values. Zeros, below 0: 0."


def test_rows_that_are_all_the_same_keep_what_they_have():
    rows = [["Sweep", "Matched", "Alone"], ["0", "200", "0"], ["1", "200", "0"]]

    table = narrow_table(rows, "Reflections")

    assert table.rows == [["Sweep", "Matched"], ["0", "200"], ["1", "200"]]
    assert table.caption == "Reflections. Alone: 0 in every row."


def test_an_empty_cell_is_no_agreement():
    rows = [["Group", "Ceiling"], ["a", ""], ["b", "10024"]]

    assert narrow_table(rows, "Pile-up") == Table(rows, "Pile-up")


def test_columns_of_words_are_known():
    table = Table(
        [["Term", "Value", "Unit", "Supported"], ["gain", "-5.0(1)", "photons", "yes"]]
        + [["decay", "out of reach", "A^2", "no"], ["offset", "", "photons", "no"]]
    )

    assert table.text_columns == {0, 2, 3}
