"""stub"""

from pathlib import PurePosixPath

from retrieval_store.readers import FileText, Section
from retrieval_store.readers.markup import file_text_of


def reader_name(path):
    e = PurePosixPath(path).suffix.lower().lstrip(".")
    return {"txt": "txt", "md": "md", "rst": "rst", "py": "py"}.get(e)


def read_bytes(data, name, readers=None, reader=None):
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        from retrieval_store.errors import DataLoaderError

        raise DataLoaderError(f"it isn't a text in UTF-8: {e}") from e
    if reader is not None:
        r = reader(data, name)
        if r is not None:
            return (
                r
                if isinstance(r, FileText)
                else FileText([Section(r)] if isinstance(r, str) else list(r))
            )
    return file_text_of(text)
