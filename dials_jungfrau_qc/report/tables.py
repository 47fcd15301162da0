"""Tables of a page."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

# Cells that say that there is nothing
NOTHING = ("", "0", "none")


@dataclasses.dataclass(frozen=True)
class Table:
    """A table whose first row is its heading."""

    rows: Sequence[Sequence[str]]
    caption: str = ""

    @property
    def text_columns(self) -> frozenset[int]:
        """The columns that hold words and not numbers."""
        columns = list(zip(*self.rows[1:]))
        return frozenset(
            index
            for index, cells in enumerate(columns)
            if index == 0 or all(cell[:1].isalpha() for cell in cells if cell)
        )


def narrow_table(rows: Sequence[Sequence[str]], caption: str) -> Table:
    """A table without the columns that hold the same in every row.

    What they hold goes into the caption. In a table of one row, and of rows that are all the
    same, only columns that say that there is nothing are left out.

    Args:
        rows: The heading, in which the first column is the name of the row, and the rows.
        caption: What the table shows.
    """
    heading, *body = rows
    kept, same = [0], {}
    alike = all(row[1:] == body[0][1:] for row in body)
    for index, name in enumerate(heading[1:], start=1):
        values = {row[index] for row in body}
        value = values.pop() if len(values) == 1 else None
        if value is None or (alike and value not in NOTHING):
            kept.append(index)
        elif value:
            same.setdefault(value, []).append(name.replace("\n", " ").lower())
    notes = []
    for value, names in same.items():
        words = ", ".join(names)
        everywhere = " in every row" if len(body) > 1 else ""
        notes.append(f"{words[0].upper()}{words[1:]}: {value}{everywhere}.")
    if notes:
        caption = " ".join([f"{caption}.", *notes])
    return Table([[row[i] for i in kept] for row in rows], caption)
