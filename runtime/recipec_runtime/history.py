"""The history: what training saw, a line every so many steps.

In: rows of plain numbers. Out: history.jsonl, written as it happens, and history.csv from it. A
resumed run cuts it back to its checkpoint, so it ends as if nothing had happened.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

from recipec_runtime import files

NAME = "history.jsonl"


class History:
    """history.jsonl in one output folder."""

    def __init__(self, output: Path) -> None:
        self._path = output / NAME
        self.rows: list[dict[str, Any]] = []

    def start(self, mark: dict[str, Any] | None = None) -> bool:
        """Begin, or go on at a checkpoint's mark; False where the file does not reach it."""
        self.rows = []
        with files.disk(self._path):
            if mark is None:
                self._path.write_bytes(b"")
                return True
            data = self._path.read_bytes()[: mark["bytes"]] if self._path.is_file() else b""
            if hashlib.sha256(data).hexdigest() != mark["sha256"]:
                return False
            os.truncate(self._path, mark["bytes"])
        self.rows = [json.loads(line) for line in data.splitlines()]
        return True

    def add(self, row: dict[str, Any]) -> None:
        """Append a row."""
        self.rows.append(row)
        with files.disk(self._path), self._path.open("ab") as stream:
            stream.write(_line(row))

    def mark(self) -> dict[str, Any]:
        """Where the history stands, for the checkpoint; the bytes are on disk when it returns."""
        data = b"".join(map(_line, self.rows))
        with files.disk(self._path):
            files.sync_file(self._path)
        return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

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
