"""Arrays out of files of the safetensors format: a length, a table as JSON, and the numbers."""

import glob
import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval_store.errors import EmbeddingFunctionError

_KINDS = {"F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"}


def read_weights(path: Path) -> dict[str, NDArray[np.generic]]:
    """The arrays of a file by their names, mapped rather than read."""
    raw = np.memmap(path, np.uint8, "r")
    size = int(raw[:8].view("<u8")[0])
    table = json.loads(bytes(raw[8 : 8 + size]))
    found: dict[str, NDArray[np.generic]] = {}
    for name, told in table.items():
        if name == "__metadata__":
            continue
        if told["dtype"] not in _KINDS:
            raise EmbeddingFunctionError(f"{path} has {name!r} as {told['dtype']}")
        start, end = (8 + size + place for place in told["data_offsets"])
        found[name] = raw[start:end].view(_KINDS[told["dtype"]]).reshape(told["shape"])
    return found


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_graph(path: Path) -> str:
    """The SHA-256 of a graph: of its file, or of those of its files and those beside it that are
    called after it, in which large models have their weights."""
    files = sorted({path, *path.parent.glob(f"{glob.escape(path.name)}[_.]data")})
    digests = [digest_of(one) for one in files]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()
