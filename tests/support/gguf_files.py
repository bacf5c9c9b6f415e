"""Tiny models in GGUF files, written as llama.cpp's converter writes them.

Run as a program (`python gguf_files.py TYPE FOLDER`): it writes FOLDER/model.gguf from the tiny
model of that type, turns it back by the runtime's own means into FOLDER/back, and prints how far
the two models' logits are apart, as JSON. torch must not be imported by the tests themselves.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

TYPES = ("llama", "phi3", "qwen2", "qwen3")
"""The types that are written; a GGUF file calls them the same."""


def write_gguf(model: Any, tokenizer: Any, path: Path) -> None:
    """Metadata, tokenizer and 32-bit weights of a decoder."""
    import gguf

    config = model.config
    name = config.model_type
    architecture = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == name)
    writer = gguf.GGUFWriter(path, name)
    writer.add_name("tiny")
    writer.add_license("cc0-1.0")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_rope_dimension_count(head)
    writer.add_key_length(head)
    _add_tokenizer(writer, tokenizer)
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    for key, tensor in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        stem, _, suffix = key.rpartition(".")
        writer.add_tensor(f"{names.get_name(stem)}.{suffix}", _stored(name, key, tensor, config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _stored(architecture: str, key: str, tensor: Any, config: Any) -> Any:
    """The weight as llama.cpp keeps it."""
    if architecture == "llama" and key.endswith(("q_proj.weight", "k_proj.weight")):
        query = key.endswith("q_proj.weight")
        heads = config.num_attention_heads if query else config.num_key_value_heads
        rows, columns = tensor.shape
        # halves of a rotated vector side by side become pairs
        split = tensor.reshape(heads, 2, rows // heads // 2, columns)
        tensor = split.swapaxes(1, 2).reshape(rows, columns)
    return tensor.detach().float().contiguous().numpy()


def _add_tokenizer(writer: Any, tokenizer: Any) -> None:
    import gguf

    plain = json.loads(tokenizer.backend_tokenizer.to_str())
    special = {entry["id"] for entry in plain["added_tokens"]}
    tokens = [tokenizer.convert_ids_to_tokens(number) for number in range(len(tokenizer))]
    kinds = [
        gguf.TokenType.CONTROL if number in special else gguf.TokenType.NORMAL
        for number in range(len(tokens))
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in plain["model"]["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_chat_template(tokenizer.chat_template)


def there_and_back(model_type: str, folder: Path) -> dict[str, Any]:
    """How far the model that came back is from the one that was written."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    from recipec_runtime import gguf

    logging.disable_progress_bar()
    models = _models()
    tokenizer = models.make_tokenizer("qwen2")  # GGUF's byte-level kind
    torch.manual_seed(0)
    models.DECODERS["qwen3"]["head_dim"] = 128  # the only size that comes back
    model = models.make_model(model_type, len(tokenizer)).eval()
    for name, weight in model.named_parameters():
        if "norm" in name:
            torch.nn.init.normal_(weight, std=0.1)  # as made, all are alike
    write_gguf(model, tokenizer, folder / "model.gguf")
    back = folder / "back"
    back.mkdir()
    gguf.convert(folder / "model.gguf", back)
    other = AutoModelForCausalLM.from_pretrained(back).eval()
    ids = torch.randint(3, len(tokenizer), (2, 20))
    with torch.no_grad():
        logits, again = model(input_ids=ids).logits, other(input_ids=ids).logits
    text = " the invoice is late again"
    return {
        "error": float((logits - again).abs().max() / logits.abs().max()),
        "tokens": tokenizer(text)["input_ids"],
        "tokens_back": AutoTokenizer.from_pretrained(back)(text)["input_ids"],
    }


def _models() -> ModuleType:
    """The module beside this one, which is no package when this one is run as a program."""
    path = Path(__file__).with_name("models.py")
    spec = importlib.util.spec_from_file_location("models", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    print(json.dumps(there_and_back(sys.argv[1], Path(sys.argv[2]))))
