"""What clients may ask for: a model for each kind, with the bounds that the settings name."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error
from functools import partial
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, JsonValue, create_model

from gateway.bodies import Asked

LARGEST_SEED: Final = 2**63 - 1
PREFIX: Final = 64  # characters that `data:image/png;base64,` and the like may have
SLACK: Final = 4096
"""Bytes of a body around its longest field."""

# What is asked for, for documents; what decodes, decides.
IMAGE: Final = (
    "^(data:image/[a-z+.-]{1,40};base64,)?([A-Za-z0-9+/]{4})*"
    "([A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)$"
)
MOST_BYTES: Final = 4  # of a character in UTF-8; escaped, six for each UTF-16 unit
ESCAPED: Final = 12


def _image(most: int, text: str) -> str:
    """Base64 (RFC 4648, 4) of `most` bytes at most, perhaps as a data URL (RFC 2397)."""
    head, comma, data = text.rpartition(",")
    if comma and not (head.startswith("data:image/") and head.endswith(";base64")):
        raise ValueError("neither base64 nor a data URL of an image")
    try:
        image = b64decode(data, validate=True)
    except (Error, ValueError):
        raise ValueError("no base64") from None
    if not image:
        raise ValueError("no image")
    if len(image) > most:
        raise ValueError(f"an image of {len(image)} bytes, more than {most}")
    return data


class Explain(Asked):
    """How much there is to explain."""

    depth: Literal["fast", "medium", "deep"] = "medium"


def models(prompt: int, image: int) -> dict[str, type[Asked]]:
    """By kind; `prompt` characters and `image` bytes at most."""
    generate: Any = {
        "prompt": (str, Field(min_length=1, max_length=prompt)),
        "seed": (int | None, Field(None, ge=0, le=LARGEST_SEED)),
        "inventory_filter": (str | list[str] | dict[str, JsonValue] | None, None),
    }
    picture = Annotated[
        str,
        Field(
            max_length=4 * -(-image // 3) + PREFIX,
            description="base64, perhaps as a data URL",
            json_schema_extra={"pattern": IMAGE},
        ),
        AfterValidator(partial(_image, image)),
    ]
    detect: Any = {"image": (picture, ...)}
    return {
        "explanation": Explain,
        "generate": create_model("Generate", __base__=Asked, **generate),
        "detect_inventory": create_model("DetectInventory", __base__=Asked, **detect),
    }


def body_limits(prompt: int, image: int) -> dict[str, int]:
    """Bytes of a body, by kind."""
    return {
        "explanation": SLACK,
        "generate": ESCAPED * prompt + 16 * SLACK,
        "detect_inventory": 4 * -(-image // 3) + SLACK,
    }
