"""Collections that have their names when an import has ended well, and are gone when it hasn't."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from retrieval_store.base.validation import listed, shown
from retrieval_store.direct.arguments import collection_name
from retrieval_store.direct.client import Client
from retrieval_store.direct.collection import Collection
from retrieval_store.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError

Names = Sequence[str] | Mapping[str, str] | None


def chosen_names(names: Any, there: Sequence[str], what: str) -> dict[str, str]:
    """Which collections are imported, and what each is called here: all, those that are listed, or
    those of a dict under the names that it says."""
    if names is None:
        return {name: name for name in there}
    if isinstance(names, str) or not isinstance(names, Mapping | Sequence):
        raise InvalidArgumentError(
            f"names is {shown(names)}, expected a list of names, or a dict of them and the new ones"
        )
    chosen = dict(names) if isinstance(names, Mapping) else {name: name for name in names}
    unknown = [name for name in chosen if name not in there]
    if unknown:
        raise InvalidArgumentError(
            f"there is no {what} {unknown[0]!r}; there are {listed(list(there)) or 'none'}"
        )
    new = list(chosen.values())
    twice = [name for name in new if new.count(name) > 1]
    if twice:
        raise InvalidArgumentError(f"names calls more than one {what} {twice[0]!r}")
    return chosen


def refuse_taken(client: Client, names: Sequence[str]) -> None:
    """Raise AlreadyExistsError for a name that is taken, and InvalidArgumentError for what is no
    name, before anything is made."""
    for name in names:
        collection_name(name)
        try:
            client.get_collection(name, embedding_function=None)
        except NotFoundError:
            continue
        except InvalidArgumentError:  # one of QdrantClient's
            pass
        raise AlreadyExistsError(
            f"collection {name!r} exists already; an import replaces nothing: give what is "
            "imported another name"
        )


class Making:
    """Makes the collections of one import."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._apart = f"import-{uuid.uuid4().hex}-"
        self._made: dict[str, Collection] = {}

    def collection(self, name: str, **settings: Any) -> Collection:
        """A new collection, which is called otherwise until all is done."""
        made = self._client.create_collection(f"{self._apart}{len(self._made)}", **settings)
        self._made[name] = made
        return made

    def finish(self) -> None:
        """Give all of them their names."""
        for name, made in self._made.items():
            made.modify(name=name)

    def undo(self) -> None:
        """Delete all of them."""
        for one in self._made.values():
            with suppress(NotFoundError):
                self._client.delete_collection(one.name)
        # One that was made, but isn't known, since an interrupt came in between.
        with suppress(NotFoundError):
            self._client.delete_collection(f"{self._apart}{len(self._made)}")


@contextmanager
def making(client: Client) -> Iterator[Making]:
    """Collections are made in the block, and are there under their names when it has ended well."""
    made = Making(client)
    try:
        yield made
        made.finish()
    except BaseException:
        made.undo()
        raise
