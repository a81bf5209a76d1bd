"""`chromadb.execution.expression`: parts of searches in `operator`, searches in `plan`. It may
import every package except `cli`.
"""

from retrieval_store.chromadb.execution.expression.operator import *
from retrieval_store.chromadb.execution.expression.plan import *
