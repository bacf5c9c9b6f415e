"""Every way in which a run can stop, with its exit code.

In: a message and a hint. Out: exceptions that `launch` prints to stderr. Nothing here prints.
"""

from __future__ import annotations

ENVIRONMENT, MISMATCH, TRAINING = 3, 4, 5


class RunError(Exception):
    """Base of every error that a run can end with."""

    exit_code = TRAINING
    again = False
    """Whether the platform should start the run again: the exit code is then its own for that."""

    def __init__(self, message: str, *, hint: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code

    def render(self) -> str:
        """The error as text for stderr."""
        return f"error: {self.message}" + (f"\n  hint: {self.hint}" if self.hint else "")


class EnvironmentLacks(RunError):
    """This machine or container lacks something: a CPU feature, memory, disk, a setting."""

    exit_code = ENVIRONMENT


class HashMismatch(RunError):
    """An input's bytes are not the ones that the recipe was compiled for."""

    exit_code = MISMATCH


class PeerLost(RunError):
    """Another process of the run is gone, so this one cannot go on; 143 as after SIGTERM."""

    exit_code = 143
    again = True


class TrainingFailed(RunError):
    """Training or evaluation stopped with an error."""


class GateFailed(RunError):
    """A metric did not reach what the recipe asks for."""


class Stopped(BaseException):
    """A signal asked the run to stop; not an Exception, so that no library swallows it."""

    def __init__(self, number: int, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.number, self.message, self.hint = number, message, hint
