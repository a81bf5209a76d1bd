"""A server's refusals and their messages."""

from typing import Any

UNREADABLE = ("failed to extract", "int too big", "out of range")


class RefusedError(Exception):
    """A refusal. body: JSON, or a text otherwise."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status}: {body}")
        self.status, self.body = status, body


def refused(status: int, said: str) -> RefusedError:
    """A refusal with this message in the usual place."""
    return RefusedError(status, {"status": {"error": said}, "time": 0.0})


def bad(said: str) -> RefusedError:
    """The refusal of a request that can't be executed."""
    return refused(400, f"Wrong input: {said}")


def malformed(said: str) -> RefusedError:
    """The refusal of a malformed request."""
    return refused(400, f"Format error in JSON body: {said}")


def invalid(said: str) -> RefusedError:
    """The refusal of an invalid value."""
    return refused(422, f"Validation error in JSON body: [{said}]")


def no_collection(name: str) -> RefusedError:
    """The refusal of an unknown collection."""
    return refused(404, f"Not found: Collection `{name}` doesn't exist!")


def by_engine(error: Exception) -> RefusedError | None:
    """The engine's refusal in a server's form; None for an error that isn't the engine's. The
    engine has one class for most errors, and Python's for unreadable arguments."""
    text = str(error)
    if "No point with id" in text:
        return refused(404, f"Not found: {text}")
    if type(error) in (Exception, ValueError):
        return bad(text)
    if isinstance(error, UnicodeEncodeError) or text.startswith(UNREADABLE):
        return malformed(text)
    return None
