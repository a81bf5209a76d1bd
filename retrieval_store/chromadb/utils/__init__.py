"""`chromadb.utils`: `batch_utils`, `data_loaders` and `embedding_functions`. It may import every
package except `cli`.
"""

from retrieval_store.chromadb.utils import batch_utils, data_loaders, embedding_functions

__all__ = ["batch_utils", "data_loaders", "embedding_functions"]
