"""`chromadb.api.models`: `Collection` and `AsyncCollection`, in modules of their names. It may use
all rooms below `cli`."""
