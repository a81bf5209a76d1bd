"""How one collection serves several frameworks: what each of them keeps in a point, and where.

The text is the document, the metadata are the metadata: every front and framework reads and filters
these. What else a framework needs to make its own objects again stands under keys of the metadata
that are named here, so that the others leave them out.
"""

from collections.abc import Mapping
from typing import Any

from retrieval_store.errors import InvalidArgumentError

NODE, REF_DOC = "_node", "_ref_doc_id"  # of LlamaIndex: the rest of a node, its document's id
RESERVED = frozenset({NODE, REF_DOC})


def without_reserved(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """The metadata that users gave."""
    return {key: value for key, value in (metadata or {}).items() if key not in RESERVED}


def refuse_reserved(metadata: Mapping[str, Any], of_what: str) -> None:
    """Raise InvalidArgumentError when users' own metadata have a key that means something here."""
    taken = RESERVED & set(metadata)
    if taken:
        raise InvalidArgumentError(
            f"{of_what} has the metadata key {min(taken)!r}, which is reserved"
        )
