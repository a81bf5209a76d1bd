"""What a server refuses, and how it says so."""

from typing import Any

UNREADABLE = ("failed to extract", "int too big", "out of range")


class RefusedError(Exception):
    """An answer that isn't the one that was asked for. body: JSON, or the text of what isn't."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status}: {body}")
        self.status, self.body = status, body


def refused(status: int, said: str) -> RefusedError:
    """With the words of the server, where it puts them."""
    return RefusedError(status, {"status": {"error": said}, "time": 0.0})


def bad(said: str) -> RefusedError:
    """A request that can't be done."""
    return refused(400, f"Wrong input: {said}")


def malformed(said: str) -> RefusedError:
    """A request that isn't one."""
    return refused(400, f"Format error in JSON body: {said}")


def invalid(said: str) -> RefusedError:
    """A request with a value that no such request may have."""
    return refused(422, f"Validation error in JSON body: [{said}]")


def no_collection(name: str) -> RefusedError:
    """There is none of this name."""
    return refused(404, f"Not found: Collection `{name}` doesn't exist!")


def by_engine(error: Exception) -> RefusedError | None:
    """What the engine refuses, in the words that a server puts around its; None for an error that
    isn't the engine's. It has one kind for most, and Python's for what it can't read."""
    text = str(error)
    if "No point with id" in text:
        return refused(404, f"Not found: {text}")
    if type(error) in (Exception, ValueError):
        return bad(text)
    if isinstance(error, UnicodeEncodeError) or text.startswith(UNREADABLE):
        return malformed(text)
    return None
