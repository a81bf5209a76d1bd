"""What the compiled functions are handed: structures of fields of eight bytes, as in `kernel.h`.

Addresses are integers: who makes a structure keeps the arrays that it points to.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval_store.base.arrays import Bytes

BLOCK = 32  # rows
CHUNK = 8  # numbers of a row
OF_ROW = 4  # floats of a row
WORD = 8  # bytes
DATATYPES = {"f": 0, "e": 1, "B": 2}  # float32, float16, uint8, as numpy marks them
METRIC_NUMBERS = {"cosine": 0, "ip": 1, "l2": 2, "l1": 3}

PIECE = Struct("=8q")  # high low rows finer slots first count frame
TURNED = Struct("=2q7d")  # digits sum scale offset side by_residual by_reach by_side constant
SOUGHT = Struct("=d9q")  # floor best k held slots uppers found capacity most hard
SCAN = Struct("=10q")  # pieces piece_count turned sought queries chunks allowed piece block work
# rows slots query room sought row_count count dimension datatype metric row work length
FLOAT_SCAN = Struct("=12qd")
FRAME = Struct("=4q")  # centre signs dimension metric
ENCODING = Struct("=11q")  # frame vectors count datatype at high low rows finer wide room
GATHERING = Struct("=9q")  # pieces piece_of row_of count chunks high low rows finer
# rows slots query room distances row_count count dimension datatype metric length
DISTANCES = Struct("=10qd")


def address(array: npt.NDArray[Any] | None) -> int:
    """Where an array, which lies in one piece, begins; 0 for none."""
    if array is None:
        return 0
    assert array.flags.c_contiguous
    return int(array.__array_interface__["data"][0])


def record(kind: Struct, *values: float) -> Bytes:
    """One structure with these values, in the order of its fields."""
    return np.frombuffer(bytearray(kind.pack(*values)), np.uint8)


def records(kind: Struct, several: Sequence[tuple[float, ...]]) -> Bytes:
    """Several, one behind the other."""
    return np.frombuffer(bytearray().join(kind.pack(*values) for values in several), np.uint8)


def chunks_of(dimension: int) -> int:
    """How many chunks a row has."""
    return -(-dimension // CHUNK)
