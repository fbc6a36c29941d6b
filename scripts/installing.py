"""Making a folder beside its place, then by a rename: two runs at once do not disturb each other, and one that broke off leaves nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def beside(place: Path) -> Iterator[Path]:
    """Give an empty folder to fill, which becomes `place` when all went well, unless another run was quicker."""
    place.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{place.name}.", dir=place.parent))
    try:
        yield folder
        if not place.is_dir():
            folder.rename(place)
    except OSError:
        if not place.is_dir():
            raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
