"""The UTF-8 of the Autobahn list, sections 6.5 to 6.23, by its numbers.

The sequences are those of Markus Kuhn's "UTF-8 decoder capability and stress test". What is valid
is so by RFC 3629: no surrogates, nothing above U+10FFFF, nothing longer than it has to be.
"""

from __future__ import annotations

from typing import Final

KOSME: Final = bytes.fromhex("cebae1bdb9cf83cebcceb5")  # its accent is U+1F79: three bytes
EDITED: Final = b"edited"
MIXED: Final = "Hello-µ@ßöäüàá-UTF-8!!".encode()
SURROGATE: Final = KOSME + b"\xed\xa0\x80" + EDITED

_INCOMPLETE: Final = (
    "c0", "e080", "f08080", "f8808080", "fc80808080",
    "df", "efbf", "f7bfbf", "fbbfbfbf", "fdbfbfbfbf",
)  # fmt: skip

_VALID: Final = {
    "6.5": (b"hello$world".hex(), *(f"hello{c}world".encode().hex() for c in "¢€𤭢"), KOSME.hex()),
    "6.7": ("00", "c280", "e0a080", "f0908080"),  # the first of each length
    "6.9": ("7f", "dfbf", "efbfbf", "f48fbfbf"),  # the last of each length
    "6.11": ("ed9fbf", "ee8080", "efbfbd", "f48fbfbf"),  # beside the forbidden
    "6.22": tuple(  # the noncharacters, which RFC 3629 allows
        chr(plane << 16 | last).encode().hex() for plane in range(17) for last in (0xFFFE, 0xFFFF)
    ),
    "6.23": tuple(chr(point).encode().hex() for point in range(0xFFF9, 0x10000)),  # the specials
}

_INVALID: Final = {
    "6.3": (SURROGATE.hex(),),
    "6.8": ("f888808080", "fc8480808080"),  # the first of five bytes, and of six
    "6.10": ("f7bfbfbf", "fbbfbfbfbf", "fdbfbfbfbfbf"),
    "6.11.5": ("f4908080",),  # U+110000
    "6.12": (  # continuations of nothing
        *("80", "bf", "80bf", "80bf80", "80bf80bf", "80bf80bf80", "80bf80bf80bf"),
        bytes(range(0x80, 0xC0)).hex(),
    ),
    "6.13": tuple(  # starts of nothing
        b" ".join(bytes((byte,)) for byte in (*range(first, end), 0x20)).hex()
        for first, end in ((0xC0, 0xE0), (0xE0, 0xF0), (0xF0, 0xF8), (0xF8, 0xFC), (0xFC, 0xFE))
    ),
    "6.14": _INCOMPLETE,
    "6.15": ("".join(_INCOMPLETE),),
    "6.16": ("fe", "ff", "fefeffff"),
    "6.17": ("c0af", "e080af", "f08080af", "f8808080af", "fc80808080af"),  # "/", too long
    "6.18": ("c1bf", "e09fbf", "f08fbfbf", "f887bfbfbf", "fc83bfbfbfbf"),
    "6.19": ("c080", "e08080", "f0808080", "f880808080", "fc8080808080"),  # NUL, too long
    "6.20": ("eda080", "edadbf", "edae80", "edafbf", "edb080", "edbe80", "edbfbf"),
    "6.21": tuple(
        high + low
        for high, low in (
            ("eda080", "edb080"), ("eda080", "edbfbf"), ("edadbf", "edb080"), ("edadbf", "edbfbf"),
            ("edae80", "edb080"), ("edae80", "edbfbf"), ("edafbf", "edb080"), ("edafbf", "edbfbf"),
        )
    ),
}  # fmt: skip

# Every prefix of a string whose characters end after 2, 5, 7, 9 and 11 bytes.
_PREFIXES: Final = {f"6.6.{end}": KOSME[:end] for end in range(1, 12)}
_WHOLE: Final = frozenset(f"6.6.{end}" for end in (2, 5, 7, 9, 11))


def _numbered(table: dict[str, tuple[str, ...]]) -> dict[str, bytes]:
    return {
        f"{section}.{number}": bytes.fromhex(sequence)
        for section, sequences in table.items()
        for number, sequence in enumerate(sequences, 1)
    }


VALID: Final = _numbered(_VALID) | {k: v for k, v in _PREFIXES.items() if k in _WHOLE}
INVALID: Final = _numbered(_INVALID) | {k: v for k, v in _PREFIXES.items() if k not in _WHOLE}
