"""What the memory model is asked, and what it answers. Values only, in bytes.

`recipec.plan.memory.estimate` goes from the one to the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from recipec.plan.memory.encoders import Head
from recipec.plan.plan import MethodSettings

BYTES: Mapping[str, int] = MappingProxyType({"float32": 4, "bfloat16": 2, "float16": 2})
"""Of an element."""

Device = Literal["cpu", "cuda"]
Sharding = Literal["none", "ddp", "fsdp"]


@dataclass(frozen=True, kw_only=True)
class MemorySettings:
    """What of a plan takes memory. `recipec.plan.memory.settings_of` reads it off a plan."""

    head: Head
    """The kind of head that the task's model class has."""
    method: MethodSettings
    labels: int = 2
    """Outputs of a new head."""
    dtype: str = "float32"
    mixed_precision: str = "none"
    attention: str = "sdpa"
    gradient_checkpointing: bool = False
    dropout: float | None = None
    """Takes the place of the model's own."""
    optimizer: str = "adamw"
    momentum: bool = True
    """Of SGD."""
    ema: bool = False
    label_smoothing: bool = False
    packing: bool = False
    """The texts of a micro-batch lie end to end in one row."""
    micro_batch_size: int = 1
    accumulation: int = 1
    length: int
    """Tokens of the longest row; of the longest source in an encoder-decoder."""
    target_length: int = 0
    """Tokens of the longest target in an encoder-decoder."""
    evaluation_batch_size: int = 0
    """Rows of a forward pass without gradients; 0 where nothing is evaluated while training."""
    num_beams: int = 1
    max_new_tokens: int = 0
    """Tokens that evaluation writes at most; 0 where it writes no text."""
    device: Device = "cpu"
    sharding: Sharding = "none"
    world_size: int = 1

    @property
    def heap(self) -> bool:
        """Whether freed memory stays the process': on CPUs, but for FSDP, which gives it back."""
        return self.device == "cpu" and self.sharding != "fsdp"


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some of the memory, and why it is as much as that."""

    name: str
    bytes: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A time of the run, and what it takes beside what is always there."""

    name: str
    """load, step, update, evaluate or save."""
    parts: tuple[Part, ...]

    @property
    def bytes(self) -> int:
        """All of its parts."""
        return sum(part.bytes for part in self.parts)


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """The most that one process takes on its device, and of what it is made up."""

    parameters: int
    """Weights of the model as it is loaded, shared ones counted once."""
    trainable: int
    """Weights that the method trains, new ones among them."""
    always: tuple[Part, ...]
    """What is there from the first step to the last."""
    phases: tuple[Phase, ...]
    """In the order in which a run goes through them."""

    @property
    def peak(self) -> Phase:
        """The phase that takes the most."""
        return max(self.phases, key=lambda phase: phase.bytes)

    @property
    def parts(self) -> tuple[Part, ...]:
        """What the peak is made up of."""
        return self.always + self.peak.parts

    @property
    def bytes(self) -> int:
        """The peak."""
        return sum(part.bytes for part in self.parts)
