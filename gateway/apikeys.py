"""What an API key looks like: recognisable, hard to guess, and wrong when it is mistyped.

`gwk_`, 32 random letters and digits (190 bits), and 6 that are the CRC-32 of all before them. By
the prefix, scanners find a key that leaked; by the checksum they, and the gateway, tell a key
from what only looks like one without asking anybody. Stored is its SHA-256: with so many random
bits there is nothing that a slow hash would make harder.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from hashlib import sha256
from typing import Final
from zlib import crc32

PREFIX: Final = "gwk_"
RANDOM: Final = 32
CHECKSUM: Final = 6  # 62 ** 6 is more than 2 ** 32
DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
KEY: Final = re.compile(rb"gwk_[0-9A-Za-z]{%d}" % (RANDOM + CHECKSUM))
FORM: Final = rf"{PREFIX}[0-9A-Za-z]{{{RANDOM + CHECKSUM}}}"
"""For scanners: what to look for. `is_sound` says whether it is one."""


def make(choice: Callable[[str], str]) -> str:
    """A new key. `choice` draws one of the letters it is given, as `secrets.choice` does."""
    body = PREFIX + "".join(choice(DIGITS) for _ in range(RANDOM))
    return body + checksum(body.encode())


def is_sound(key: bytes) -> bool:
    """Whether it can be a key: its form and its checksum are right."""
    if KEY.fullmatch(key) is None:
        return False
    return checksum(key[:-CHECKSUM]).encode() == key[-CHECKSUM:]


def checksum(body: bytes) -> str:
    number, digits = crc32(body), ""
    for _ in range(CHECKSUM):
        number, digit = divmod(number, len(DIGITS))
        digits = DIGITS[digit] + digits
    return digits


def digest(key: bytes) -> str:
    """What is stored of it."""
    return sha256(key).hexdigest()
