"""States in files compared with what the database says of the same points; see `index_check`."""

import numpy as np

from retrieval_store.base.arrays import Ints
from retrieval_store.engine.database.failures import CONTRADICTIONS
from retrieval_store.engine.state import state_files
from retrieval_store.engine.state.saved import OutdatedError
from retrieval_store.engine.state.state import NONE, SpaceState, State, caught_up
from retrieval_store.engine.state.view import AnyView
from retrieval_store.engine.storage.derived import DerivedFile, deceit, path_of
from retrieval_store.engine.storage.vectors import OpenVectors


def refuse_false_state(view: AnyView, open_vectors: OpenVectors, made: DerivedFile) -> None:
    """Raise DamagedError unless what the file, whose checksum is right, and the change log say
    together is what the state of the view says, which is the database's own."""
    connection, true = view.connection, view.state
    assert view.directory is not None
    path = path_of(view.directory, made)
    try:
        told = state_files.read(path, made, connection, true.head, open_vectors)
        told = caught_up(told, connection, true.head, open_vectors).state
        if not np.array_equal(told.pks[told.alive], true.pks):
            raise ValueError("it knows other points")
        for name, space in true.spaces.items():
            if name not in told.spaces or not _are_same(told, told.spaces[name], true, space):
                raise ValueError(f"in vector space {name!r} it says what isn't so")
    except OutdatedError:
        return  # so it isn't used
    except CONTRADICTIONS as error:
        raise deceit(path, error) from error


def _are_same(told: State, found: SpaceState, true: State, space: SpaceState) -> bool:
    """Whether two states say the same of a vector space, though they may number rows otherwise."""
    return (
        np.array_equal(_owners(told, found), _owners(true, space))
        and np.array_equal(found.slot_of_row.whole()[told.alive], space.slot_of_row.whole())
        and np.array_equal(found.checksums, space.checksums)
    )


def _owners(state: State, space: SpaceState) -> Ints:
    """The pk that owns each slot, -1 for dead ones."""
    rows = space.row_of_slot.whole()
    owners = np.full(len(rows), NONE, np.int64)
    owners[rows >= 0] = state.pks[rows[rows >= 0]]
    return owners
