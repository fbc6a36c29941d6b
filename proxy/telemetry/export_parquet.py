"""One Parquet file, written beside its place and renamed, so that readers see a whole file or none.

Decides the types. It fails with StoreError: the file cannot be written (no such folder, a full disk); what was begun is removed.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from proxy.engine.ports import StoreError

BATCH = 5_000
_TYPES: dict[str, Any] = {"str": pa.string(), "int": pa.int64(), "int | None": pa.int64(), "bool": pa.bool_()}
_TYPES |= {"float": pa.float64(), "float | None": pa.float64()}


def write(path: Path, kinds: Mapping[str, str], rows: Iterable[list[Any]]) -> int:
    """Write `rows`, whose columns have the names and kinds of `kinds`, to `path`; return how many. Raises StoreError."""
    schema = pa.schema([(name, _TYPES[kind]) for name, kind in kinds.items()])
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    count, remaining = 0, iter(rows)
    try:
        with pq.ParquetWriter(beside, schema, compression="zstd") as writer:
            while batch := list(itertools.islice(remaining, BATCH)):
                columns = [pa.array(list(column), type=field.type) for column, field in zip(zip(*batch, strict=True), schema, strict=True)]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))
                count += len(batch)
        beside.replace(path)
    except (OSError, pa.ArrowException) as e:
        raise StoreError(f"{path}: cannot be written: {getattr(e, 'strerror', None) or e}") from None
    finally:
        beside.unlink(missing_ok=True)
    return count
