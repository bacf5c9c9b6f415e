"""Mixtures of experts: the loss that spreads tokens over experts, and who was used how much.

In: a model with routers. Out: a loss to add to the task's, and shares for the history. It listens
to the routers by hooks and changes nothing that they compute.
"""

from __future__ import annotations

from typing import Any

from recipec_runtime.errors import TrainingFailed


class Routers:
    """The routers of a model and what they said in its last forward pass."""

    def __init__(self, model: Any) -> None:
        """Listen to every module that transformers names a router."""
        found = [m for m in model.modules() if type(m).__name__.endswith("Router")]
        if not found:
            raise TrainingFailed(
                "the model has experts, but no router was found in it",
                hint="leave architecture.moe out of the recipe",
            )
        self._mask: Any = None
        self._heard: list[tuple[Any, Any]] = []
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        base.register_forward_pre_hook(self._start, with_kwargs=True)
        for router in found:
            router.register_forward_hook(self._hear)

    def _start(self, _: Any, __: Any, inputs: dict[str, Any]) -> None:
        self._heard = []
        self._mask = inputs.get("attention_mask")

    def _hear(self, _: Any, __: Any, said: tuple[Any, Any, Any]) -> None:
        logits, _, chosen = said
        self._heard.append((logits, chosen))

    def loss(self) -> Any:
        """Load-balancing loss of the last forward pass; 1 when all experts are used alike.

        Fedus et al. (2021), Switch Transformers, arXiv:2101.03961, equations 4 to 6, over all
        layers together: experts * sum over experts of (share of tokens sent there * mean
        probability). Padding does not count.
        """
        import torch

        sent: Any = 0.0
        probability: Any = 0.0
        count: Any = 0.0
        for logits, chosen in self._heard:
            weight = self._weights(logits)
            probabilities = torch.softmax(logits.float(), dim=-1)
            probability = probability + (probabilities * weight[:, None]).sum(0)
            picks = torch.nn.functional.one_hot(chosen, logits.shape[-1]).sum(1)
            sent = sent + (picks * weight[:, None]).sum(0)
            count = count + weight.sum()
        experts = self._heard[0][0].shape[-1]
        loss: Any = (sent / count * (probability / count)).sum() * experts
        return loss

    def shares(self) -> list[float]:
        """Share of the last forward pass's choices that fell on each expert; they sum to 1."""
        import torch

        with torch.no_grad():
            total: Any = 0.0
            for logits, chosen in self._heard:
                picks = torch.nn.functional.one_hot(chosen, logits.shape[-1]).sum(1)
                total = total + (picks * self._weights(logits)[:, None]).sum(0)
            shares: list[float] = (total / total.sum()).tolist()
            return shares

    def _weights(self, logits: Any) -> Any:
        """1 for tokens, 0 for padding; shape (tokens,)."""
        import torch

        tokens = logits.shape[0]
        if self._mask is None or self._mask.dim() != 2:
            return torch.ones(tokens, device=logits.device)
        rows = self._mask.shape[0]
        return self._mask[:, -(tokens // rows) :].reshape(-1).float()
