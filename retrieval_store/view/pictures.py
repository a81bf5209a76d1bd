"""Small pictures of what uris point at.

A store's uris are a stranger's: a file is shown only from below the folder that the user has given,
and no host is ever asked. What is found is decoded within the loader's limits, and what is sent is
encoded anew, so that nothing of a file reaches the browser but its pixels.
"""

import io

import numpy as np

from retrieval_store.errors import DataLoaderError, NotFoundError
from retrieval_store.loaders.images import ImageLoader
from retrieval_store.query.types import Fields, PointId
from retrieval_store.view.reading import one_of
from retrieval_store.view.views import Views

USUAL_SIZE, LARGEST_SIZE = 96, 256  # pixels
DATA = "data:"


def thumbnail(views: Views, collection: str, key: PointId, size: int = USUAL_SIZE) -> bytes:
    """A PNG of at most so many pixels each way; NotFoundError where there is none, or it may not be
    shown."""
    (uri,) = one_of(views.collection(collection), key, Fields(uri=True)).uris or [None]
    if uri is None:
        raise NotFoundError("the record has no uri")
    if views.image_root is None and uri[: len(DATA)].lower() != DATA:
        raise NotFoundError("files are shown only from below a folder that is given: --image-root")
    try:
        (pixels,) = ImageLoader(root=views.image_root)([uri])
    except DataLoaderError:  # whose message names the folder, which isn't for others to know
        raise NotFoundError("what the uri points at can't be shown as a picture") from None
    from PIL import Image

    picture = Image.fromarray(np.asarray(pixels))
    picture.thumbnail((size, size))
    written = io.BytesIO()
    picture.save(written, "PNG")
    return written.getvalue()
