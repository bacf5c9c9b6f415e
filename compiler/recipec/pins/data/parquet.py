"""Rows of Parquet files, a batch at a time.

In: a file. Out: for each row its number and its values. pyarrow is asked for no more than the
columns that are read; it is an extra, and imported only here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recipec.errors import EnvironmentLacks
from recipec.pins.data.faults import Fault
from recipec.pins.data.jsonrows import Rows
from recipec.pins.data.source import Source, stop
from recipec.pins.data.wanted import Wanted

BATCH = 1024
"""Rows in memory at a time."""
_BUFFER = 1 << 20


def read_parquet(source: Source, wanted: Wanted) -> Rows:
    """The rows of a Parquet file. Raises EnvironmentLacks without pyarrow."""
    arrow, parquet = _pyarrow(source.path)
    number = 0
    try:
        # A buffer keeps pyarrow from reading whole column chunks at once.
        with parquet.ParquetFile(source.file, buffer_size=_BUFFER, pre_buffer=False) as file:
            _columns(source.path, file.schema_arrow.names, wanted)
            for batch in file.iter_batches(
                batch_size=BATCH, columns=list(wanted.names), use_threads=False
            ):
                for found in _rows(batch):
                    number += 1
                    yield number, found, b""
    except (arrow.ArrowException, OSError) as error:
        words = str(error).partition("\n")[0].rstrip(".")
        where = f" after row {number:,}" if number else ""
        hint = "copy the file again, or name it by what it is"
        raise stop(source.path, f"not Parquet, or damaged{where}: {words}", hint) from error


def _rows(batch: Any) -> Iterator[Any]:
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for at in range(batch.num_rows):
            try:
                yield batch.slice(at, 1).to_pylist()[0]
            except UnicodeDecodeError:
                yield Fault(message="a text is not UTF-8", hint="write the column anew as UTF-8")


def _columns(path: str, names: list[str], wanted: Wanted) -> None:
    for name in wanted.names:
        if names.count(name) > 1:
            raise stop(path, f"the file has `{name}` twice", "rename one of the columns")
        if name not in names:
            import difflib  # only for what is wrong

            near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
            listed = ", ".join(f"`{column}`" for column in names[:8])
            hint = f"did you mean `{near[0]}`?" if near else f"it has {listed}"
            raise stop(path, f"the file has no column `{name}`", hint)


def _pyarrow(path: str) -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise EnvironmentLacks(
            f"{path}: reading Parquet needs pyarrow", hint="pip install 'recipec[parquet]'"
        ) from error
    return pyarrow, pyarrow.parquet
