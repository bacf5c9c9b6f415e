"""What tiny-t5 is pre-trained on: a tokenizer and six tasks made from generated clauses.

In: the endless clauses and notes of data/legal/generate.py and a seed. Out: a T5 tokenizer and
batches of token ids, the same for the same seed.

Five tasks are self-supervised, the first four each made from one clause or note alone:
  spans   T5's span corruption: random spans become sentinels, the target spells the spans out
  gap     one whole sentence becomes a sentinel, the target is that sentence
  recall  the whole clause, then a sentinel and a sentence's first words; the target is the sentence
  facts   the whole clause; the target lists its names, amounts and periods in order
  echo    random pieces of the vocabulary; the target repeats them, or continues a cue from them
Recall, facts and echo teach the decoder to copy from the encoder what it has never seen before.
Later lessons add a sixth:
  gist    a clause; the target is its terms in a lawyer's other words, without the boilerplate


Never: sees a summary or a clause of the three data files, or touches torch's random state.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import math
import os
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import T5Tokenizer

LEGAL = Path(__file__).resolve().parents[1] / "data" / "legal"

VOCABULARY = 2560  # pieces and T5's sentinels together
SENTINELS = 100
SPECIALS = ["<pad>", "</s>", "<unk>"]  # ids 0, 1 and 2
TOKENIZER_CLAUSES = 12_000
MAX_SOURCE = 192  # tokens
MAX_TARGET = 80  # tokens
NOISE = 0.2  # share of the tokens that span corruption hides
LONGEST_ECHO = 40  # pieces
FIRST_ECHO = 12  # pieces, while copying is learned first
FIRST_BATCH = 64  # examples, likewise
SPAN = 3.0  # mean length of a span, tokens
POOL = 16  # batches that are sorted by length together, to waste little on padding
IGNORED = -100  # label that the loss skips

# A capitalised name of several words, or an amount, a share, a count with its unit.
FACT = re.compile(
    r"(?:[A-Z][\w&]+ (?:Ltd|LLC|GmbH|SA|Inc|BV|plc|& Sons|Group|Partners)"
    r"|the [A-Z]\w+|(?:EUR|USD|GBP|CHF) [\d,]+|[\d.]+(?:%| per cent)"
    r"|\(?\b\d+\)? (?:days|months|years|hours|times))"
)
SENTENCE = re.compile(r"(?<=[.]) (?=[A-Z\"])")

# The share of each task.
LESSONS = {
    1: {"spans": 0.3, "gap": 0.2, "recall": 0.2, "facts": 0.15, "echo": 0.15},
    2: {"spans": 0.15, "gap": 0.1, "recall": 0.1, "facts": 0.05, "echo": 0.1, "gist": 0.5},
    3: {"spans": 0.1, "gap": 0.05, "recall": 0.05, "echo": 0.05, "gist": 0.75},
}

Ids = list[int]


@dataclass(frozen=True, kw_only=True)
class Example:
    """Token ids of one source and one target, both ending in </s>."""

    source: Ids
    target: Ids


@functools.cache
def load_generator() -> ModuleType:
    """data/legal/generate.py, which is a script and not a package."""
    spec = importlib.util.spec_from_file_location("legal_generate", LEGAL / "generate.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(LEGAL / "generate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@functools.cache
def rows_to_avoid() -> frozenset[str]:
    """The clauses of train.jsonl, validation.jsonl and test.jsonl."""
    rows = itertools.chain.from_iterable(load_generator().splits().values())
    return frozenset(row["clause"] for row in rows)


def clauses(seed: int) -> Iterator[str]:
    """Endless clauses and notes, none of them in the three data files."""
    stream: Iterator[str] = load_generator().stream(seed, avoid=rows_to_avoid())
    return stream


def restatements(seed: int) -> Iterator[tuple[str, str]]:
    """Endless clauses, each with its terms in a lawyer's other words, none in the data files."""
    pairs: Iterator[tuple[str, str]] = load_generator().restatements(seed, avoid=rows_to_avoid())
    return pairs


def make_tokenizer(text: Iterator[str]) -> Any:
    """A T5Tokenizer over a Unigram vocabulary: <pad> 0, </s> 1, <unk> 2, pieces, sentinels last.

    The pieces are those of byte-pair encoding, with the logarithm of their frequency as score: the
    Unigram trainer itself prunes common words on text that repeats whole phrases. No piece mixes
    letters with punctuation, so that a name or an amount is spelled alike wherever it stands.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(prepend_scheme="always"),
            pre_tokenizers.Punctuation(),
        ]
    )
    printable = [chr(code) for code in range(0x21, 0x7F)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - SENTINELS - len(SPECIALS),
        initial_alphabet=["\u2581", *printable],
        show_progress=False,
    )
    sample = list(itertools.islice(text, TOKENIZER_CLAUSES))
    tokenizer.train_from_iterator(sample, trainer)
    counts = Counter(
        piece for encoding in tokenizer.encode_batch(sample) for piece in encoding.tokens
    )
    total = sum(counts.values())
    ordered = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    pieces = [(piece, math.log((counts[piece] + 0.1) / total)) for piece, _ in ordered]
    sentinels = [(f"<extra_id_{n}>", 0.0) for n in reversed(range(SENTINELS))]
    vocabulary = [(special, 0.0) for special in SPECIALS] + pieces + sentinels
    return T5Tokenizer(vocab=vocabulary, extra_ids=SENTINELS, model_max_length=512)


class Tasks:
    """Makes an Example from a clause by one of the tasks of the module's docstring."""

    def __init__(self, tokenizer: Any, seed: int, lesson: int) -> None:
        self.tokenizer = tokenizer
        self.random = random.Random(seed)
        self.longest_echo = LONGEST_ECHO
        self.eos: int = tokenizer.eos_token_id
        self.sentinels: Ids = tokenizer.convert_tokens_to_ids(
            [f"<extra_id_{n}>" for n in range(SENTINELS)]
        )
        self.restatements = restatements(seed)
        self.shares: list[tuple[Callable[[str], Example], float]] = [
            (getattr(self, task), share) for task, share in LESSONS[lesson].items()
        ]

    def __call__(self, clause: str) -> Example:
        """One of the lesson's tasks, drawn by its share."""
        tasks, weights = zip(*self.shares, strict=True)
        task: Callable[[str], Example] = self.random.choices(tasks, weights)[0]
        return self.finish(task(clause))

    def finish(self, example: Example) -> Example:
        """The example cut to MAX_SOURCE and MAX_TARGET, each side with its </s>."""
        return Example(
            source=[*example.source[: MAX_SOURCE - 1], self.eos],
            target=[*example.target[: MAX_TARGET - 1], self.eos],
        )

    def ids(self, text: str) -> Ids:
        """Token ids without </s>."""
        ids: Ids = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def spans(self, clause: str) -> Example:
        """Raffel et al. 2020, section 3.1.4: hidden spans alternate with kept ones, at random."""
        tokens = self.ids(clause)
        hidden = max(1, round(len(tokens) * NOISE))
        count = max(1, round(hidden / SPAN))
        source: Ids = []
        target: Ids = []
        kept_lengths = self.partition(len(tokens) - hidden, count)
        hidden_lengths = self.partition(hidden, count)
        at = 0
        for sentinel, kept, gone in zip(self.sentinels, kept_lengths, hidden_lengths, strict=False):
            source += [*tokens[at : at + kept], sentinel]
            target += [sentinel, *tokens[at + kept : at + kept + gone]]
            at += kept + gone
        return Example(source=source, target=target)

    def partition(self, total: int, parts: int) -> list[int]:
        """`total` as an ordered sum of `parts` positive integers, all such sums alike likely."""
        cuts = [0, *sorted(self.random.sample(range(1, total), parts - 1)), total]
        return [right - left for left, right in itertools.pairwise(cuts)]

    def gap(self, clause: str) -> Example:
        """A sentence from what is left of its clause (Zhang et al. 2020, section 3.1)."""
        sentences = SENTENCE.split(clause)
        at = self.random.randrange(len(sentences))
        sentinel = self.sentinels[0]
        before, after = " ".join(sentences[:at]), " ".join(sentences[at + 1 :])
        return Example(
            source=[*self.ids(before), sentinel, *self.ids(after)],
            target=[sentinel, *self.ids(sentences[at])],
        )

    def recall(self, clause: str) -> Example:
        """A sentence of the clause from its first one to four words."""
        sentence = self.random.choice(SENTENCE.split(clause))
        cue = " ".join(sentence.split()[: self.random.randint(1, 4)])
        return Example(
            source=[*self.ids(clause), self.sentinels[0], *self.ids(cue)],
            target=self.ids(sentence),
        )

    def facts(self, clause: str) -> Example:
        """The clause's names, amounts and periods, each once, in order."""
        found = dict.fromkeys(re.sub(r"[()]", "", fact) for fact in FACT.findall(clause))
        return Example(source=self.ids(clause), target=self.ids(", ".join(found) + "."))

    def echo(self, clause: str) -> Example:
        """Random pieces (or the start of a sentence), whole or from a cue of one or two on."""
        length = self.random.randint(4, self.longest_echo)
        if self.random.random() < 0.7:
            first, last = len(SPECIALS), self.sentinels[-1]
            pieces = [self.random.randrange(first, last) for _ in range(length)]
        else:
            pieces = self.ids(self.random.choice(SENTENCE.split(clause)))[: self.longest_echo]
        if self.random.random() < 0.5 or len(pieces) < 3:
            return Example(source=pieces, target=pieces)
        at = self.random.randrange(len(pieces) - 2)
        cue = pieces[at : at + self.random.randint(1, 2)]
        return Example(source=[*pieces, self.sentinels[0], *cue], target=pieces[at:])

    def gist(self, clause: str) -> Example:
        """A fresh clause's terms in other words; the clause given is not used."""
        del clause
        source, target = next(self.restatements)
        return Example(source=self.ids(source), target=self.ids(target))


def pad(rows: Sequence[Ids], filler: int) -> torch.Tensor:
    """Shape (rows, longest), int64."""
    longest = max(map(len, rows))
    return torch.tensor([row + [filler] * (longest - len(row)) for row in rows])


def echoes(tasks: Tasks, text: Iterator[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Endless batches of short echoes: the first lesson, from which copying is learned at once.

    Mixed with the other tasks from the start it is not learned for thousands of steps.
    """
    while True:
        tasks.longest_echo = FIRST_ECHO
        group = [tasks.finish(tasks.echo(clause)) for clause in itertools.islice(text, FIRST_BATCH)]
        tasks.longest_echo = LONGEST_ECHO
        yield collate(group)


def collate(examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """The model's inputs for these examples, padded."""
    source = pad([example.source for example in examples], 0)
    return {
        "input_ids": source,
        "attention_mask": (source != 0).long(),
        "labels": pad([example.target for example in examples], IGNORED),
    }


def batches(tasks: Tasks, text: Iterator[str], size: int) -> Iterator[dict[str, torch.Tensor]]:
    """Endless batches of about equally long examples, in random order."""
    while True:
        pool = [tasks(clause) for clause in itertools.islice(text, size * POOL)]
        pool.sort(key=lambda example: len(example.source))
        groups = [pool[at : at + size] for at in range(0, len(pool), size)]
        tasks.random.shuffle(groups)
        yield from map(collate, groups)
