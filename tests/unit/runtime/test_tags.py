"""Tags of words: tokens of words, entities, and their scores beside seqeval's."""

from __future__ import annotations

import random
from importlib import import_module

import pytest

from recipec_runtime.metrics import tagging
from recipec_runtime.tags import entities, most_common, sentence, word_starts


def test_a_word_begins_at_the_first_token_that_covers_it() -> None:
    words = ["New", "York", "is", "big"]
    assert sentence(words) == "New York is big"
    # as WordPiece gives offsets: special tokens and padding cover nothing
    offsets = [(0, 0), (0, 3), (4, 6), (6, 8), (9, 11), (12, 15), (0, 0), (0, 0)]
    assert word_starts(words, offsets) == [1, 2, 4, 5]


def test_a_token_may_begin_with_the_blank_before_its_word() -> None:
    assert word_starts(["New", "York"], [(0, 3), (3, 8)]) == [0, 1]
    assert word_starts(["New", "York"], [(0, 3), (3, 4), (4, 8)]) == [0, 2]


def test_words_without_a_token() -> None:
    # cut behind the second word; a word of which the tokenizer keeps nothing
    assert word_starts(["a", "b", "c"], [(0, 1), (2, 3)]) == [0, 1, -1]
    assert word_starts(["a", "\u200b", "c"], [(0, 1), (4, 5)]) == [0, -1, 1]
    # one token over two words belongs to the first
    assert word_starts(["of", "the", "x"], [(0, 6), (7, 8)]) == [0, -1, 1]
    assert word_starts([], [(0, 0)]) == []


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("O O", set()),
        ("B-A I-A O B-A", {("A", 0, 1), ("A", 3, 3)}),
        ("B-A B-A I-A", {("A", 0, 0), ("A", 1, 2)}),
        ("I-A I-A O I-B", {("A", 0, 1), ("B", 3, 3)}),  # lenient: an I- after O begins one
        ("B-A I-B I-B", {("A", 0, 0), ("B", 1, 2)}),
        ("B-A I-A E-A S-A I-A", {("A", 0, 2), ("A", 3, 3), ("A", 4, 4)}),
        ("B-A-B I-A-B", {("A-B", 0, 1)}),
        ("NOUN NOUN VERB O", {("NOUN", 0, 1), ("VERB", 2, 2)}),
        ("B-A", {("A", 0, 0)}),
        ("", set()),
    ],
)
def test_entities(tags: str, found: set[tuple[str, int, int]]) -> None:
    assert entities(tags.split()) == found


def test_scores_of_entities() -> None:
    wanted = [["B-A", "I-A", "O", "B-B"], ["O", "B-A"]]
    predicted = [["B-A", "O", "O", "B-B"], ["B-B", "B-A"]]
    # right: B at 3, A at 1 of the second row; predicted 4, wanted 3
    scores = tagging(predicted, wanted)
    assert scores["precision"] == 2 / 4
    assert scores["recall"] == 2 / 3
    assert scores["f1"] == pytest.approx(4 / 7)
    assert scores["accuracy"] == 4 / 6
    nothing = tagging([["O"]], [["O"]])
    assert nothing == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "accuracy": 1.0}
    with pytest.raises(ValueError, match="zip"):
        tagging([["O"]], [["O", "O"]])


@pytest.mark.parametrize("prefixes", ["BI", "BIES"])
def test_scores_are_those_of_seqeval(prefixes: str) -> None:
    seqeval = import_module("seqeval.metrics")
    draw = random.Random(prefixes)
    labels = ["O", *(f"{prefix}-{kind}" for prefix in prefixes for kind in ("PER", "LOC"))]
    for _ in range(300):
        rows = [draw.randint(1, 9) for _ in range(4)]
        wanted = [["B-PER", *draw.choices(labels, k=size)] for size in rows]
        predicted = [
            ["S-LOC" if "S" in prefixes else "B-LOC", *draw.choices(labels, k=size)]
            for size in rows
        ]
        ours = tagging(predicted, wanted)
        theirs = {
            "precision": seqeval.precision_score(wanted, predicted),
            "recall": seqeval.recall_score(wanted, predicted),
            "f1": seqeval.f1_score(wanted, predicted),
            "accuracy": seqeval.accuracy_score(wanted, predicted),
        }
        assert ours == pytest.approx(theirs)


def test_the_most_common_tag() -> None:
    assert most_common(["B", "A", "B"], ["A", "B", "C"]) == "B"
    assert most_common(["B", "A"], ["A", "B"]) == "A", "the first of equals"
    assert most_common(["unknown"] * 3, ["A", "B"]) == "A"


@pytest.mark.parametrize("trim", [True, False])
@pytest.mark.parametrize("prefix", [True, False])
def test_byte_level_tokens_find_their_words(trim: bool, prefix: bool) -> None:
    """As GPT-2, RoBERTa and Llama 3 cut texts; a character may be several tokens."""
    tokenizers = import_module("tokenizers")
    words = ["Zürich", "and", "東京", "naïve", "🙂", "x"]
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
        add_prefix_space=prefix, trim_offsets=trim
    )
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=290,
        show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )
    model.train_from_iterator(["and so and on"] * 5, trainer)
    model.post_processor = tokenizers.processors.ByteLevel(trim_offsets=trim)
    encoding = model.encode(sentence(words))
    starts = word_starts(words, encoding.offsets)
    assert starts == sorted(set(starts))
    assert starts[0] in (0, 1), "a blank before the first word may be a token of its own"
    assert len(encoding.tokens) > len(words)
    for word, start, end in zip(words, starts, [*starts[1:], None], strict=True):
        ids = encoding.ids[start:end]
        decoder = tokenizers.decoders.ByteLevel()
        text = decoder.decode([model.id_to_token(number) for number in ids])
        assert text.strip() == word
