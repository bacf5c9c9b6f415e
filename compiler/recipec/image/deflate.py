"""A small deflate encoder whose bytes depend on its input and nothing else.

In: bytes. Out: RFC 1951 blocks with the fixed Huffman codes (section 3.2.6), or stored blocks.
Compressor libraries may change their bytes with any release; these few lines cannot. They are used
for what no wheel has compressed already: tar headers, and small text.

Two speeds. `encode` finds runs of NUL and of the digit 0 only, by one regular expression: tar
headers and their padding are little else. It takes its data in pieces and remembers the code of
each, because the same few fields fill nearly every header: one costs microseconds. With
`match=True` it also looks for repeats in the last 32 KiB (LZ77): right for text of some tens of
kilobytes. How the data was cut into pieces never shows in the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

Code = tuple[int, int]
"""Bits to write, least significant first, and their number."""

_RUN = re.compile(rb"\x00{4,}|0{4,}")
_WINDOW = 32768
_LONGEST = 258
_KEY = 4
"""Shortest repeat looked for; three bytes seldom beat the literals that they replace."""
_STORED_MAX = 65535
_SPILL = 256
"""Whole bytes held as one integer before they are written out; shifting more costs more."""
_REMEMBERED = 512
"""Bytes of a piece from which on its code is not remembered: it is content, not a field."""


def _reverse(value: int, count: int) -> int:
    """Huffman codes are written from their most significant bit on, all else from the least."""
    return int(f"{value:0{count}b}"[::-1], 2)


def _literal_code(byte: int) -> Code:
    if byte < 144:
        return _reverse(0x30 + byte, 8), 8
    return _reverse(0x190 + byte - 144, 9), 9


def _symbol_code(symbol: int) -> Code:
    """The code of a length symbol or of the end of the block, 256 to 287."""
    if symbol < 280:
        return _reverse(symbol - 256, 7), 7
    return _reverse(0xC0 + symbol - 280, 8), 8


def _length_code(length: int) -> Code:
    """Symbol and extra bits of a match length, 3 to 258."""
    if length == _LONGEST:
        return _symbol_code(285)
    rest = length - 3
    if rest < 8:
        return _symbol_code(257 + rest)
    extra = rest.bit_length() - 3
    code, count = _symbol_code(257 + 4 * extra + (rest >> extra))
    return code | (rest & ((1 << extra) - 1)) << count, count + extra


@lru_cache(maxsize=4096)
def distance_code(distance: int) -> Code:
    """Symbol and extra bits of a match distance, 1 to 32768."""
    rest = distance - 1
    if rest < 4:
        return _reverse(rest, 5), 5
    extra = rest.bit_length() - 2
    symbol = 2 * extra + 2 + (rest >> extra & 1)
    return _reverse(symbol, 5) | (rest & ((1 << extra) - 1)) << 5, 5 + extra


_END = _symbol_code(256)
_END_OPEN = _END[0], _END[1] + 3
"""The end of a block; and with the three zero bits of an empty stored block after it."""
_LITERALS = tuple(_literal_code(byte) for byte in range(256))
_LENGTHS = ((0, 0),) * 3 + tuple(_length_code(length) for length in range(3, _LONGEST + 1))
_EIGHT_BITS = bytes(code if count == 8 else 0 for code, count in _LITERALS)
"""Literals below 144 have eight bits each, so a run of them is one `bytes.translate`."""


class _Bits:
    """A bit stream, least significant bit first."""

    def __init__(self, first: int, count: int) -> None:
        self._out = bytearray()
        self._held = first
        self._count = count

    def put(self, value: int, count: int) -> None:
        self._held |= value << self._count
        self._count += count
        whole = self._count >> 3
        if whole > _SPILL:
            self._spill(whole)

    def literals(self, data: bytes) -> None:
        """Write bytes as literals."""
        if not data:
            return
        if data.isascii():
            self.put(int.from_bytes(data.translate(_EIGHT_BITS), "little"), 8 * len(data))
            return
        for byte in data:
            code, count = _LITERALS[byte]
            self.put(code, count)

    def code(self) -> Code:
        """Everything written, as one code."""
        written = int.from_bytes(self._out, "little")
        return written | self._held << 8 * len(self._out), 8 * len(self._out) + self._count

    def _spill(self, whole: int) -> None:
        low = self._held & ((1 << 8 * whole) - 1)
        self._out += low.to_bytes(whole, "little")
        self._held >>= 8 * whole
        self._count -= 8 * whole

    def aligned(self) -> bytearray:
        """Everything written, filled with zero bits up to a whole byte."""
        self._spill((self._count + 7) >> 3)
        self._count = 0
        return self._out


@lru_cache(maxsize=8192)
def _run_code(byte: int, length: int) -> Code:
    """One literal and matches at distance 1 for `length` equal bytes."""
    value, total = _LITERALS[byte]
    distance, distance_count = distance_code(1)
    rest = length - 1
    while rest >= 3:
        step = min(rest, _LONGEST)
        code, count = _LENGTHS[step]
        value |= (code | distance << count) << total
        total += count + distance_count
        rest -= step
    for _ in range(rest):
        value |= _LITERALS[byte][0] << total
        total += _LITERALS[byte][1]
    return value, total


def _put_runs(bits: _Bits, data: bytes) -> None:
    """Write data with runs of NUL and of the digit 0 shortened."""
    done = 0
    for run in _RUN.finditer(data):
        start, end = run.span()
        bits.literals(data[done:start])
        bits.put(*_run_code(data[start], end - start))
        done = end
    bits.literals(data[done:])


def _code(piece: bytes) -> Code:
    """The whole code of a short piece, runs shortened."""
    if piece.isascii() and b"\0\0\0\0" not in piece and b"0000" not in piece:
        return int.from_bytes(piece.translate(_EIGHT_BITS), "little"), 8 * len(piece)
    bits = _Bits(0, 0)
    _put_runs(bits, piece)
    return bits.code()


_field_code = lru_cache(maxsize=4096)(_code)


def _put_fields(bits: _Bits, pieces: Iterable[bytes]) -> None:
    """Write pieces, runs shortened; the codes of short ones are gathered in one integer."""
    held = count = 0
    for piece in _whole_runs(pieces):
        if len(piece) < _REMEMBERED:
            # Names are seldom seen twice; numbers and blanks are.
            known = piece[0] == 0 or len(piece) < 12
            code, size = _field_code(piece) if known else _code(piece)
            held |= code << count
            count += size
        if count > _SPILL * 8 or len(piece) >= _REMEMBERED:
            bits.put(held, count)
            held = count = 0
        if len(piece) >= _REMEMBERED:
            _put_runs(bits, piece)
    bits.put(held, count)


def _whole_runs(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, so cut that no run of NUL or of the digit 0 goes on in the next piece."""
    held = b""
    for piece in pieces:
        if held and piece and held[-1] == piece[0] and piece[0] in b"\x000":
            held += piece
        elif piece:
            if held:
                yield held
            held = piece
    if held:
        yield held


def _put_matches(bits: _Bits, data: bytes) -> None:
    """Write data with repeats replaced: greedy LZ77, one place known of every four bytes."""
    before = _places_before(data)
    here = done = 0
    while here < len(before):
        there = before[here]
        if there < here - _WINDOW:
            here += 1
            continue
        length = _common(data, there, here)
        bits.literals(data[done:here])
        bits.put(*_LENGTHS[length])
        bits.put(*distance_code(here - there))
        here += length
        done = here
    bits.literals(data[done:])


def _places_before(data: bytes) -> list[int]:
    """For every place, the last one before it with the same four bytes; far away if none has."""
    last: dict[bytes, int] = {}
    nowhere = -_WINDOW - 1
    before = []
    for here in range(len(data) - _KEY + 1):
        key = data[here : here + _KEY]
        before.append(last.get(key, nowhere))
        last[key] = here
    return before


def _common(data: bytes, there: int, here: int) -> int:
    """How many bytes at two places are equal, up to the longest match."""
    second = data[here : here + _LONGEST]
    first = data[there : there + len(second)]
    differ = int.from_bytes(first, "little") ^ int.from_bytes(second, "little")
    return (differ & -differ).bit_length() - 1 >> 3 if differ else len(second)


def encode(data: bytes | Iterable[bytes], *, final: bool, match: bool = False) -> bytes:
    """Deflate blocks that inflate to `data`, which may come in pieces, and end on a whole byte.

    With `final` the stream ends here; without it any other deflate stream may follow.
    """
    pieces = (data,) if isinstance(data, bytes) else data
    bits = _Bits(0b011 if final else 0b010, 3)
    if match:
        _put_matches(bits, b"".join(pieces))
    else:
        _put_fields(bits, pieces)
    # An empty stored block is the only way to reach a byte boundary inside a stream.
    bits.put(*(_END if final else _END_OPEN))
    return bytes(bits.aligned()) + (b"" if final else b"\x00\x00\xff\xff")


def stored(data: bytes | memoryview, *, final: bool) -> bytes:
    """Stored blocks holding `data`; they must start on a whole byte."""
    view = memoryview(data)
    out = bytearray()
    for start in range(0, max(len(view), 1), _STORED_MAX):
        part = view[start : start + _STORED_MAX]
        ends = final and start + _STORED_MAX >= len(view)
        size = len(part)
        out += bytes((ends,)) + size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little")
        out += part
    return bytes(out)
