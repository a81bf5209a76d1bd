"""`chromadb.api.models`: `Collection` and `AsyncCollection`, in modules of the same names. It may
import every package except `cli`.
"""
