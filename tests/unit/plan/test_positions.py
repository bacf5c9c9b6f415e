"""How long a model's inputs may be, by its config and the catalogue."""

from __future__ import annotations

from typing import Any

import pytest

from recipec.plan.model import positions

NO_LIMIT = 1 << 20


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 66, "pad_token_id": 0}, 65),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_type": "opt", "max_position_embeddings": 2048}, 2048),
        ({"model_type": "llama", "max_position_embeddings": 8192}, 8192),
        ({"model_type": "bart", "max_position_embeddings": 1024}, 1024),
        ({"model_type": "t5", "n_positions": 512}, NO_LIMIT),
        ({"model_type": "mt5", "max_position_embeddings": 512}, NO_LIMIT),
        ({"model_type": "bloom", "seq_length": 2048}, NO_LIMIT),
        ({"model_type": "novel", "max_position_embeddings": 77}, 77),
        ({"model_type": "novel", "n_positions": 78}, 78),
        ({"model_type": "novel"}, NO_LIMIT),
    ],
)
def test_the_longest_input(config: dict[str, Any], limit: int) -> None:
    assert positions(config) == limit
