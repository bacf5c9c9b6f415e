"""Which evaluation is best, and when waiting ends."""

from __future__ import annotations

import pytest

from recipec_runtime.errors import TrainingFailed
from recipec_runtime.watch import Watch


def seen(watch: Watch, values: list[float]) -> list[bool]:
    """Whether each value was the best so far; one evaluation every ten steps."""
    return [watch.see(10 * n, {watch.metric: value}) for n, value in enumerate(values)]


@pytest.mark.parametrize("metric", ["loss", "perplexity"])
def test_less_is_better(metric: str) -> None:
    watch = Watch(metric=metric)
    assert seen(watch, [3.0, 2.0, 2.5, 2.0, 1.0]) == [True, True, False, False, True]
    assert watch.best_step == 40


@pytest.mark.parametrize("metric", ["accuracy", "f1", "rougeL", "exact_match"])
def test_more_is_better(metric: str) -> None:
    watch = Watch(metric=metric)
    assert seen(watch, [0.1, 0.5, 0.4, 0.5]) == [True, True, False, False]
    assert watch.best_step == 10, "the first of equals"


def test_patience_counts_evaluations_without_progress() -> None:
    watch = Watch(patience=2)
    seen(watch, [3.0, 2.0, 2.5])
    assert not watch.over
    seen(watch, [2.1])
    assert watch.over


def test_progress_that_is_too_small_does_not_count_but_may_be_best() -> None:
    watch = Watch(patience=2, min_delta=0.5)
    assert seen(watch, [3.0, 2.8, 2.6]) == [True, True, True]
    assert (watch.over, watch.best_step) == (True, 20)
    watch = Watch(patience=2, min_delta=0.5)
    seen(watch, [3.0, 2.8, 2.4])
    assert (watch.over, watch.waited) == (False, 0)


def test_no_patience_never_ends() -> None:
    watch = Watch()
    seen(watch, [1.0] * 50)
    assert not watch.over


def test_it_goes_on_from_a_checkpoint() -> None:
    values = [3.0, 2.0, 2.5, 1.9, 2.2]
    whole, first, second = (Watch(patience=3, min_delta=0.2) for _ in range(3))
    seen(whole, values)
    seen(first, values[:3])
    second.load_state_dict(first.state_dict())
    for n in (3, 4):
        second.see(10 * n, {"loss": values[n]})
    assert second == whole


def test_a_metric_that_was_not_measured() -> None:
    with pytest.raises(TrainingFailed) as caught:
        Watch(metric="rougeL").see(5, {"loss": 1.0, "accuracy": 0.5})
    assert caught.value.render() == (
        "error: rougeL is watched, and the evaluation at step 5 did not measure it\n"
        "  hint: it measured accuracy, loss: watch one of these"
    )
