"""NEFTune: noise on the input embeddings while the model is trained.

In: a model. Out: the same model with a hook. The noise comes from torch's generator, as dropout's
masks do: the seed fixes it, checkpoints carry it, and an evaluation has none.
"""

from __future__ import annotations

import math
from typing import Any


def add_noise(model: Any, alpha: float) -> None:
    """Add uniform noise of at most alpha / sqrt(tokens * width) to each embedding of a row.

    Jain et al. (2023), arXiv:2310.05914, algorithm 1; tokens are those of the padded row. An
    encoder-decoder model gets it on the source.
    """

    def noisy(module: Any, _: Any, embedded: Any) -> Any:
        import torch

        if not module.training:
            return embedded
        size = alpha / math.sqrt(embedded.shape[-2] * embedded.shape[-1])
        return embedded + torch.empty_like(embedded).uniform_(-size, size)

    # an encoder has an embedding module of its own, with the weights of the one they share
    reader = model.get_encoder() if model.config.is_encoder_decoder else model
    reader.get_input_embeddings().register_forward_hook(noisy)
