"""How much memory a training takes, from the model's config.json alone.

In: the config and what of a plan takes memory. Out: `MemoryEstimate`: parts in bytes, each with its
reason. Pure arithmetic; it opens no file and imports no torch. docs/memory.md compares it with what
runs took.
"""

from __future__ import annotations

from collections.abc import Mapping

from recipec.plan.memory import phases, states
from recipec.plan.memory.architectures import CannotEstimate as CannotEstimate
from recipec.plan.memory.architectures import configured, layers_of
from recipec.plan.memory.architectures import known as known
from recipec.plan.memory.base import base, mapped, slack
from recipec.plan.memory.forward import forward, hidden_size, number_of_layers, prefix_size
from recipec.plan.memory.reading import settings_of as settings_of
from recipec.plan.memory.settings import BYTES
from recipec.plan.memory.settings import MemoryEstimate as MemoryEstimate
from recipec.plan.memory.settings import MemorySettings as MemorySettings
from recipec.plan.memory.settings import Part as Part
from recipec.plan.memory.settings import Phase as Phase
from recipec.plan.memory.sharding import buckets, loading, shared, shared_phase
from recipec.plan.memory.tuned import Shape, Tuned, tune


def estimate(config: Mapping[str, object], settings: MemorySettings) -> MemoryEstimate:
    """The peak of one training process on its device; `config` is the model's config.json.

    Raises CannotEstimate for a type of model that is not in the catalogue.
    """
    tuned, full = tuned_model(config, settings), configured(config)
    found = forward(full, tuned, settings, rows=settings.micro_batch_size)
    always = [base(settings), states.weights(tuned, settings)]
    always += mapped(tuned, settings, width=BYTES[settings.dtype])
    if tuned.added or tuned.copies:
        always.append(states.added(tuned, settings))
    always.append(states.optimizer(tuned, settings))
    if settings.ema:
        always.append(states.averages(tuned, settings))
    always += buckets(tuned, settings)
    phased = [*phases.step(tuned, settings, found), *phases.evaluate(full, tuned, settings)]
    phased = [shared_phase(phase, tuned, settings) for phase in phased]
    phased = [*loading(tuned, settings, always), *phased]
    return MemoryEstimate(
        parameters=tuned.model.size,
        trainable=tuned.trainable,
        always=tuple(shared(part, settings) for part in always),
        phases=tuple(slack(phase, settings) for phase in phased),
    )


def tuned_model(config: Mapping[str, object], settings: MemorySettings) -> Tuned:
    """The model's layers and what the method makes of them."""
    full = configured(config)
    model = layers_of(config, settings.head, settings.labels)
    hidden = hidden_size(full)
    shape = Shape(
        hidden=hidden,
        embedding=full.get("embedding_size", "word_embed_proj_dim") or hidden,
        layers=number_of_layers(full),
        keys=prefix_size(full),
    )
    return tune(model, settings, model_type=str(config["model_type"]), shape=shape)
