"""Gives the reference the parameters that users see.

`@asks(_question)` makes `Collection.query` of a method with one parameter, the question; whoever calls
it passes those of `_question`. What reads the source for the site doesn't run it, so it is told here.
"""

from typing import Any

import griffe


class AskedParameters(griffe.Extension):
    """Methods below `@asks(x)` have the parameters of x, which is above them in the class."""

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Replace the parameters of such methods."""
        for member in cls.members.values():
            if not isinstance(member, griffe.Function):
                continue
            for decorator in member.decorators:
                name, _, argument = str(decorator.value).partition("(")
                if name == "asks":
                    member.parameters = cls.members[argument.rstrip(")")].parameters
