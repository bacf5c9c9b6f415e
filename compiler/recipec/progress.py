"""What long work says about itself while it runs.

Passes call a `Progress`; the command line draws it. A pass never prints.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the begin, the advance in bytes, and the end of named pieces of work."""

    def begin(self, what: str, total: int) -> int:
        """A piece of work of `total` bytes begins; a number that names it from now on."""
        ...

    def advance(self, task: int, amount: int) -> None:
        """`amount` more bytes of it are done."""
        ...

    def end(self, task: int) -> None:
        """It is done."""
        ...

    def note(self, text: str) -> None:
        """Something a user should know, on a line of its own."""
        ...


class Silent:
    """A `Progress` that says nothing."""

    def begin(self, what: str, total: int) -> int:  # noqa: ARG002 - the protocol's signature
        """Accept the piece of work."""
        return 0

    def advance(self, task: int, amount: int) -> None:
        """Accept the advance."""

    def end(self, task: int) -> None:
        """Accept the end."""

    def note(self, text: str) -> None:
        """Accept the note."""
