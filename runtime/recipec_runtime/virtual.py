"""Models with trained positions before the text: their outputs, as if there were only the text.

In: a model that peft put virtual tokens before. Out: the same model, whose outputs have one entry
for each token of the text, so that losses and labels need not know. It changes no weight.
"""

from __future__ import annotations

from typing import Any

PER_TOKEN = ("logits", "start_logits", "end_logits")


def without_virtual_tokens(model: Any) -> Any:
    """The model; what it says of its virtual tokens is cut off its outputs.

    Outputs per row are left as they are, except that a decoder's `score` is read at the last token
    of the text: transformers reads it at the end of the padded row when it is given embeddings.
    Outputs of an encoder-decoder are of the decoder, which has no virtual tokens.
    """
    count = model.active_peft_config.num_virtual_tokens
    task = model.active_peft_config.task_type
    if task == "SEQ_CLS":
        if hasattr(model.get_base_model(), "score"):
            _score_last_token(model, count)
    elif task != "SEQ_2_SEQ_LM":
        model.register_forward_hook(lambda _, __, said: _cut(said, count))
    return model


def _cut(said: Any, count: int) -> Any:
    for name in PER_TOKEN:
        if said.get(name) is not None:
            said[name] = said[name][:, count:]
    return said


def _score_last_token(model: Any, count: int) -> None:
    import torch

    last: list[Any] = []

    def before(_: Any, __: Any, inputs: dict[str, Any]) -> None:
        # the mask's last 1, whichever side the padding is on
        mask = inputs["attention_mask"]
        places = torch.arange(mask.shape[1], device=mask.device)
        last[:] = [(mask * places).argmax(1) + count]

    def after(_: Any, __: Any, scores: Any) -> Any:
        rows = torch.arange(scores.shape[0], device=scores.device)
        return scores[rows, last[0]][:, None].expand_as(scores)

    model.register_forward_pre_hook(before, with_kwargs=True)
    model.get_base_model().score.register_forward_hook(after)
