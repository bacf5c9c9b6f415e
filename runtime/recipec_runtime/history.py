"""The history: what training saw, a line every so many steps.

In: rows of plain numbers. Out: history.jsonl, written as it happens, and history.csv from it. A
resumed run begins with its checkpoint's copy, so it ends as if nothing had happened.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from recipec_runtime import files

NAME = "history.jsonl"


class History:
    """history.jsonl in one output folder."""

    def __init__(self, output: Path) -> None:
        self._path = output / NAME
        self.rows: list[dict[str, Any]] = []

    def start(self, text: str = "") -> None:
        """Begin, or go on with the history that a checkpoint holds.

        The file itself is not asked: DVC and users remove outputs before they run a stage again.
        """
        self.rows = [json.loads(line) for line in text.splitlines()]
        with files.disk(self._path):
            self._path.write_text(text, encoding="ascii")

    def add(self, row: dict[str, Any]) -> None:
        """Append a row."""
        self.rows.append(row)
        with files.disk(self._path), self._path.open("ab") as stream:
            stream.write(_line(row))

    @property
    def text(self) -> str:
        """The whole history so far, for the checkpoint: some hundred lines at most."""
        return b"".join(map(_line, self.rows)).decode("ascii")

    def to_csv(self) -> bytes:
        """The history as a table for plots: one row a step, empty where nothing was measured."""
        table: dict[int, dict[str, Any]] = {}
        for row in self.rows:
            cells = table.setdefault(row["step"], {})
            for key, value in row.items():
                if isinstance(value, dict):
                    cells |= {f"{key}_{name}": number for name, number in value.items()}
                else:
                    cells[key] = value
        columns = list(dict.fromkeys(["step", "loss", "learning_rate", "grad_norm"]))
        columns += sorted({name for cells in table.values() for name in cells} - set(columns))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(table.values())
        return text.getvalue().encode("ascii")


def _line(row: dict[str, Any]) -> bytes:
    return (json.dumps(row, separators=(", ", ": "), allow_nan=False) + "\n").encode("ascii")
