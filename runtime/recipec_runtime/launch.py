"""Starts a stage and turns whatever ends it into words and an exit code.

In: the stage's name. Out: an exit code, and a failure's message where the platform looks for it.
What a stage does is in `stage`.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence

from recipec_runtime import platforms, sagemaker, stage
from recipec_runtime.errors import EnvironmentLacks, RunError, Stopped, TrainingFailed

STAGES = ("train", "evaluate")
DEBUG = "RECIPEC_TRACEBACK"
EXPLAINERS = ("recipec_runtime.cuda", "recipec_runtime.together")
"""Modules that know what errors of theirs mean; asked if they are loaded."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage; its exit code. Errors are one message and a hint on stderr."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if len(words) != 1 or words[0] not in STAGES:
        print(
            f"usage: python -m recipec_runtime {'|'.join(STAGES)}\n"
            "  hint: the recipe's settings are in the image; arguments do not change them",
            file=sys.stderr,
        )
        return 2
    try:
        return stage.run_stage(words[0])
    except (Exception, Stopped, KeyboardInterrupt) as error:
        if os.environ.get(DEBUG):
            traceback.print_exc()
        wrong = explain(error)
        print(f"\n{wrong.render()}" if sys.stderr.isatty() else wrong.render(), file=sys.stderr)
        return _leave(error, wrong)


def _leave(error: BaseException, wrong: RunError) -> int:
    """The exit code; a failure's message is left where the platform looks for it."""
    try:
        platform = platforms.recognise(os.environ, stage.MACHINE)
    except RunError:
        return wrong.exit_code
    if isinstance(error, Stopped):
        return platform.stop_code if error.number == signal.SIGTERM else wrong.exit_code
    if wrong.again:
        return platform.stop_code
    if platform.failure:
        sagemaker.write_failure(stage.MACHINE, wrong.render())
    return wrong.exit_code


def explain(error: BaseException) -> RunError:
    """Any exception as an error with an exit code and a hint."""
    if isinstance(error, RunError):
        return error
    if isinstance(error, Stopped):
        # 128 plus the signal's number is what a shell says of a process that a signal ended
        return RunError(error.message, hint=error.hint, exit_code=128 + error.number)
    if isinstance(error, KeyboardInterrupt):
        return RunError("stopped by SIGINT", exit_code=130)
    for name in EXPLAINERS:
        if name in sys.modules and (found := sys.modules[name].explain(error)) is not None:
            return found  # type: ignore[no-any-return]
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return EnvironmentLacks(
            "there is not enough memory",
            hint="lower training.micro_batch_size or the lengths, or give the run more memory",
        )
    if isinstance(error, ImportError):
        return EnvironmentLacks(
            f"a package is missing: {error}", hint="run in the recipe's image, which has them all"
        )
    text = " ".join(str(error).split()) or "no message"
    return TrainingFailed(
        f"the script stopped with {type(error).__name__}: {text}",
        hint=f"set {DEBUG}=1 to see where",
    )
