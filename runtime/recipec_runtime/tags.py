"""Tags of words: which token stands for a word, and which entities a row of tags names.

In: words, tags, the tokenizer's offsets. Out: token positions and entities. It imports no library.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

OUTSIDE = "O"
"""The tag of a word that belongs to no entity; a word that the model does not see gets it too."""

Entity = tuple[str, int, int]
"""Type, first and last word (from 0, both inside)."""


def sentence(words: Sequence[str]) -> str:
    """The words as one text with a blank between two of them.

    A tokenizer then cuts it as it cut the texts that the model was trained on, with or without a
    blank before a word, and whatever its `add_prefix_space` is.
    """
    return " ".join(words)


def word_starts(words: Sequence[str], offsets: Sequence[Sequence[int]]) -> list[int]:
    """Position of the first token of each word of `sentence(words)`; -1 where there is none.

    `offsets` are each token's first character and the one behind its last; special tokens and
    padding cover none. A word has no token if the text was cut before it, if the tokenizer
    leaves its characters out, or if its only token began with the word before.
    """
    owner = [number for number, word in enumerate(words) for _ in range(len(word) + 1)]
    inside = [place for word in words for place in (*[True] * len(word), False)]
    starts = [-1] * len(words)
    for position, (first, behind) in enumerate(offsets):
        here = next((place for place in range(first, behind) if inside[place]), None)
        if here is not None and starts[owner[here]] < 0:
            starts[owner[here]] = position
    return starts


def entities(tags: Sequence[str]) -> set[Entity]:
    """The entities that IOB2 or IOBES tags name, read as leniently as CoNLL's evaluation does.

    Tjong Kim Sang and De Meulder (2003), conlleval: an entity begins at B- or S-, and also at an I-
    or E- that follows O, another type, or the end of an entity (E- or S-). A tag without prefix
    counts as I-, so plain types (IO) form entities of equal neighbours. This is what seqeval calls
    its default mode; its strict mode would drop entities that do not begin with B-.
    """
    found: set[Entity] = set()
    kind, first, ended = "", 0, True
    for place, tag in enumerate((*tags, OUTSIDE)):
        prefix, now = _parts(tag)
        begins = now != "" and (prefix in "BS" or ended or now != kind)
        if kind and not ended and (begins or now == ""):
            found.add((kind, first, place - 1))
        if begins:
            first = place
        kind, ended = now, now == ""
        if kind and prefix in "ES":
            found.add((kind, first, place))
            ended = True
    return found


def _parts(tag: str) -> tuple[str, str]:
    """Prefix and type; both empty outside of entities."""
    prefix, dash, kind = tag.partition("-")
    if tag == OUTSIDE:
        return "", ""
    return (prefix, kind) if dash and prefix in tuple("BIES") else ("I", tag)


def most_common(tags: Iterable[str], labels: Sequence[str]) -> str:
    """The label that most of the tags are; of equals the first in `labels`."""
    counts = dict.fromkeys(labels, 0)
    for tag in tags:
        counts[tag] = counts.get(tag, 0) + 1
    return max(labels, key=counts.__getitem__)
