"""Rules of `training`: knobs that contradict each other, and knobs that would do nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from recipec.catalog import support
from recipec.recipe.document import KeyPath
from recipec.recipe.processes import world_size
from recipec.recipe.promise import promise_of
from recipec.recipe.rules.broken import Broken
from recipec.recipe.rules.evaluation import LOSS
from recipec.recipe.schema import Recipe

_BETAS = {
    "adamw": ("beta1", "beta2", "epsilon"),
    "adamw-8bit": ("beta1", "beta2", "epsilon"),
    "adafactor": (),
    "sgd": ("beta1",),
    "lion": ("beta1", "beta2"),
}
"""The knobs of each optimizer beside its learning rate and weight decay."""

_OF_SCHEDULE = {"decay_ratio": "warmup-stable-decay", "power": "polynomial"}

OBJECTIVES = ("masked-lm", "span-corruption")
"""Tasks that read all texts as one, in blocks."""


def _steps(recipe: Recipe) -> Iterator[Broken]:
    for name, other in (("steps", "epochs"), ("warmup_steps", "warmup_ratio")):
        both = getattr(recipe.training, name), getattr(recipe.training, other)
        if None not in both:
            yield Broken(
                path=("training", name),
                message=f"`training.{name}` and `training.{other}` are both given",
                hint="keep one of them",
                at_key=True,
            )


def _batches(recipe: Recipe) -> Iterator[Broken]:
    batch, micro = recipe.training.batch_size, recipe.training.micro_batch_size
    corpus, many = recipe.domain.corpus, world_size(recipe)
    if corpus is not None and corpus.batch_size is not None:
        yield from _unshared(("domain", "corpus", "batch_size"), corpus.batch_size, many)
    if batch is None:
        return
    unshared = [*_unshared(("training", "batch_size"), batch, many)]
    share = batch // many
    if unshared:
        yield from unshared
    elif micro is not None and share % micro:
        near = max(d for d in range(1, min(micro, share) + 1) if share % d == 0)
        rows = "1 row" if share == 1 else f"{share} rows"
        what = f"batch_size {batch}" if many == 1 else f"the {rows} of each process"
        yield Broken(
            path=("training", "micro_batch_size"),
            message=f"micro_batch_size {micro} does not divide {what}",
            hint=f"the nearest smaller one that does is {near}",
        )


def _unshared(path: KeyPath, batch: int, many: int) -> Iterator[Broken]:
    """A batch that `many` processes cannot take equal shares of."""
    below = batch // many * many
    if below == batch:
        return
    what = "cannot be shared equally by" if below else "has not a row for each of"
    near = f"{below} or {below + many}" if below else f"{many}"
    yield Broken(
        path=path,
        message=f"batch_size {batch} {what} {many} processes",
        hint=f"the nearest that can be shared: {near}",
    )


def _schedule(recipe: Recipe) -> Iterator[Broken]:
    training = recipe.training
    for name, owner in _OF_SCHEDULE.items():
        if getattr(training, name) is not None and training.schedule != owner:
            yield Broken(
                path=("training", name),
                message=f"`training.{name}` does nothing with schedule {training.schedule}",
                hint=f"remove it, or set `schedule: {owner}`",
                at_key=True,
            )
    warmup, decay = training.warmup_ratio or 0.0, training.decay_ratio or 0.0
    if training.schedule == "warmup-stable-decay" and warmup + decay > 1:
        yield Broken(
            path=("training", "decay_ratio"),
            message=f"warmup_ratio {warmup:g} and decay_ratio {decay:g} are more than all steps",
            hint="together they may be 1 at most",
        )


def _optimizer(recipe: Recipe) -> Iterator[Broken]:
    training = recipe.training
    known = _BETAS[training.optimizer]
    for name in ("beta1", "beta2", "epsilon"):
        if getattr(training, name) is not None and name not in known:
            owners = [other for other, knobs in _BETAS.items() if name in knobs]
            yield Broken(
                path=("training", name),
                message=f"`training.{name}` does nothing with optimizer {training.optimizer}",
                hint=f"remove it, or choose one of: {', '.join(owners)}",
                at_key=True,
            )
    if training.optimizer == "sgd" and training.learning_rate is None:
        yield Broken(
            path=("training", "optimizer"),
            message="sgd has no usual learning rate: its steps are as large as the gradients",
            hint="set `training.learning_rate`; it is often a hundred times AdamW's",
        )
    # Measured: its dequantised states differ in the last bit between CPUs; the others do not
    portable = promise_of(recipe) == "portable"
    if training.optimizer == "adamw-8bit" and portable:
        yield Broken(
            path=("training", "optimizer"),
            message="adamw-8bit gives other bytes on other CPUs, so the run cannot be portable",
            hint="set `reproducibility: bitwise`, or use adafactor or lion, which also need less"
            " memory than adamw",
        )


def _precision(recipe: Recipe) -> Iterator[Broken]:
    mixed, dtype = recipe.training.mixed_precision, recipe.architecture.dtype
    if mixed != "none" and dtype not in (None, "float32"):
        yield Broken(
            path=("training", "mixed_precision"),
            message=f"mixed precision keeps the weights in 32 bits, and dtype {dtype} does not",
            hint="keep one of them; mixed precision learns better, a 16-bit dtype needs less",
        )


def _validation(recipe: Recipe) -> Iterator[Broken]:
    training = recipe.training
    given = {
        "evaluate_every": training.evaluate_every is not None,
        "early_stopping": training.early_stopping is not None,
        "keep": training.keep == "best",
    }
    for name in (name for name, asked in given.items() if asked):
        if recipe.domain.data.validation is None:
            shown = "keep: best" if name == "keep" else name
            yield Broken(
                path=("training", name),
                message=f"`{shown}` has no data to be measured on",
                hint="name `domain.data.validation`: a file, or a share of the training rows",
                at_key=True,
            )


def _watched(recipe: Recipe) -> Iterator[Broken]:
    stopping = recipe.training.early_stopping
    if stopping is None or stopping.metric is None:
        return
    usual = support.tasks()[recipe.task.type].metrics
    chosen = usual if recipe.evaluation.metrics is None else recipe.evaluation.metrics
    measured = (LOSS, *chosen)
    if stopping.metric not in measured:
        where: KeyPath = ("training", "early_stopping", "metric")
        yield Broken(
            path=where,
            message=f"`{stopping.metric}` cannot be watched: it is not measured",
            hint=f"measured: {', '.join(measured)}",
        )


def _blocks(recipe: Recipe) -> Iterator[Broken]:
    task, overlong = recipe.task.type, recipe.training.overlong
    always = task in OBJECTIVES
    if overlong == "split" and not always and task != "causal-lm":
        message = f"rows of {task} cannot be joined and split into blocks"
        hint = "use `cut` or `drop`; `split` is for causal-lm, masked-lm and span-corruption"
    elif overlong == "drop" and always:
        message = f"{task} has no overlong rows: all texts are joined and split into blocks"
        hint = "remove `training.overlong`"
    else:
        return
    yield Broken(path=("training", "overlong"), message=message, hint=hint, at_key=True)


def _overlong(recipe: Recipe) -> Iterator[Broken]:
    if recipe.training.overlong == "drop" and recipe.task.type == "question-answering":
        yield Broken(
            path=("training", "overlong"),
            message="question-answering reads long contexts in windows: no row is too long",
            hint="remove it; `task.doc_stride` says how far the windows overlap",
            at_key=True,
        )


def _trackers(recipe: Recipe) -> Iterator[Broken]:
    for name, count in Counter(recipe.training.trackers).items():
        if count > 1:
            yield Broken(
                path=("training", "trackers"),
                message=f"{name} is named {count} times",
                hint="name it once",
            )


OF_TASK: tuple[Callable[[Recipe], Iterator[Broken]], ...] = (_watched, _overlong, _blocks)
RULES: tuple[Callable[[Recipe], Iterator[Broken]], ...] = (
    _steps,
    _batches,
    _schedule,
    _optimizer,
    _precision,
    _validation,
    _trackers,
)
