"""Names of types that code written for Chroma imports."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

ID: TypeAlias = str
IDs: TypeAlias = list[ID]
Document: TypeAlias = str
Documents: TypeAlias = list[Document]
URI: TypeAlias = str
URIs: TypeAlias = list[URI]
Vector: TypeAlias = Sequence[float] | Sequence[int]
Embedding: TypeAlias = npt.NDArray[np.float32]
Embeddings: TypeAlias = list[Embedding]
Image: TypeAlias = npt.NDArray[Any]
Images: TypeAlias = list[Image]
Embeddable: TypeAlias = Documents | Images
Loadable: TypeAlias = list[Image | None]
Space: TypeAlias = Literal["cosine", "l2", "ip"]
Metadata: TypeAlias = Mapping[str, Any]
Metadatas: TypeAlias = list[Metadata]
UpdateMetadata: TypeAlias = Metadata
CollectionMetadata: TypeAlias = Metadata
UpdateCollectionMetadata: TypeAlias = Metadata
Where: TypeAlias = Mapping[str, Any]
WhereDocument: TypeAlias = Mapping[str, Any]
Include: TypeAlias = list[
    Literal["documents", "embeddings", "metadatas", "distances", "uris", "data"]
]
