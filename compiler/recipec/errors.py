"""Every failure a user can meet, with its exit code.

In: a message, a hint, and for recipes a place. Out: exceptions that the command line prints.
Nothing here prints, and nothing below the command line turns one of these into text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

OK, RECIPE, USAGE, ENVIRONMENT, MISMATCH, TRAINING, BUG, INTERRUPTED = 0, 1, 2, 3, 4, 5, 70, 130

SHOWN = 120
"""Characters of a source line that a diagnostic shows at most."""

# Control characters, surrogates, line separators and what turns the direction of writing: text
# from a file must not steer the reader's terminal.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def visible(text: str) -> str:
    """Text from a file on one line that is safe to print, cut if it is very long."""
    safe = _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text)
    return safe if len(safe) <= SHOWN else safe[: SHOWN - 3] + "..."


def _printable(text: str) -> str:
    """A message as it may be printed: new lines and tabs stay."""
    return _UNSAFE.sub(lambda m: m[0] if m[0] in "\n\t" else ascii(m[0])[1:-1], text)


def _indented(hint: str) -> str:
    """A hint below its message; its further lines begin where the first one does."""
    return "  hint: " + hint.replace("\n", "\n        ")


@dataclass(frozen=True, kw_only=True)
class Diagnostic:
    """One thing wrong at one place of a file.

    `line` and `column` count from 1; 0 means that the file as a whole is meant. `excerpt` is the
    text of that line, `width` how many characters the caret underlines.
    """

    file: str
    line: int
    column: int
    message: str
    hint: str = ""
    excerpt: str = ""
    width: int = 1

    def render(self) -> str:
        """The diagnostic as text: place, message, the line with a caret, the hint."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        lines = [_printable(f"{place}: error: {self.message}")]
        if self.line and self.excerpt:
            gutter = f"{self.line:>5} | "
            text, lead, caret = self._window()
            lines += [f"{gutter}{text}", f"{' ' * (len(gutter) - 2)}| {lead}{caret}"]
        if self.hint:
            lines.append(_printable(_indented(self.hint)))
        return "\n".join(lines)

    def _window(self) -> tuple[str, str, str]:
        """The part of the line around the caret, the blanks before the caret, and the caret."""
        before = self.column - 1
        first = max(0, before - SHOWN // 2) if len(self.excerpt) > SHOWN else 0
        shown = self.excerpt[first : first + SHOWN]
        text = _UNSAFE.sub(lambda m: "\t" if m[0] == "\t" else "?", shown)
        # A tab before the caret keeps its width, whatever the terminal's tab stops are.
        lead = "".join("\t" if c == "\t" else " " for c in text[: before - first])
        caret = "^" * max(1, min(self.width, len(text) - len(lead)))
        if first:
            text, lead = "..." + text, "   " + lead
        if first + SHOWN < len(self.excerpt):
            text += "..."
        return text, lead, caret

    def to_plain(self) -> dict[str, object]:
        """The diagnostic as `--json` prints it."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "hint": self.hint,
        }


class RecipecError(Exception):
    """Base of every error that a user can meet."""

    exit_code = ENVIRONMENT

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def render(self) -> str:
        """The error as text for stderr."""
        hint = f"\n{_indented(self.hint)}" if self.hint else ""
        return _printable(f"error: {self.message}{hint}")

    def to_plain(self) -> dict[str, object]:
        """The error as `--json` prints it."""
        return {"error": self.message, "hint": self.hint, "exit_code": self.exit_code}


class RecipeError(RecipecError):
    """The recipe, or a file that it names, is wrong; holds every diagnostic found."""

    exit_code = RECIPE

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(sorted(diagnostics, key=lambda d: (d.file, d.line, d.column)))
        super().__init__("; ".join(d.message for d in self.diagnostics))

    def render(self) -> str:
        """All diagnostics, a blank line between them, and their count."""
        count = len(self.diagnostics)
        noun = "error" if count == 1 else "errors"
        return "\n\n".join(d.render() for d in self.diagnostics) + f"\n\n{count} {noun}"

    def to_plain(self) -> dict[str, object]:
        """The diagnostics as `--json` prints them."""
        return {
            "error": "the recipe is wrong",
            "diagnostics": [d.to_plain() for d in self.diagnostics],
            "exit_code": self.exit_code,
        }


class StaleLock(RecipecError):
    """`--locked` was asked for and the lock does not fit the recipe or its inputs."""

    exit_code = RECIPE


class UsageError(RecipecError):
    """The command line itself is wrong."""

    exit_code = USAGE


class EnvironmentLacks(RecipecError):
    """This machine lacks something: a tool, an engine, the network, disk space."""

    exit_code = ENVIRONMENT


class TooLarge(RecipecError):
    """The run needs more memory than the recipe's device has."""

    exit_code = RECIPE


class NoSuchPackage(EnvironmentLacks):
    """No archive has a package of that name; `package` is what was asked for."""

    def __init__(self, package: str, *, hint: str) -> None:
        super().__init__(f"the configured Debian archives have no package {package}", hint=hint)
        self.package = package


class UnusableBase(RecipecError):
    """The image that a recipe names as its base cannot be one."""

    exit_code = RECIPE


class HashMismatch(RecipecError):
    """Some bytes are not the bytes that were promised."""

    exit_code = MISMATCH

    def __init__(self, what: str, *, expected: str, found: str, hint: str = "") -> None:
        super().__init__(f"{what}: expected {expected}, found {found}", hint=hint)
        self.what = what
        self.expected = expected
        self.found = found


class UnsafeInput(RecipecError):
    """A wheel, a package or an archive holds something that must never be unpacked."""

    exit_code = MISMATCH


class NotSigned(RecipecError):
    """No signature of the given key stands over these bytes."""

    exit_code = MISMATCH


class TrainingFailed(RecipecError):
    """The training script stopped with an error, or a gate did not hold."""

    exit_code = TRAINING


class Interrupted(RecipecError):
    """The user or the platform asked a run to stop; its checkpoint is kept."""

    exit_code = INTERRUPTED
