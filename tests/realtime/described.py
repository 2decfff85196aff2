"""Messages held against the document that describes them."""

from __future__ import annotations

from typing import Any

import jsonschema_rs


def payloads(document: dict[str, Any]) -> dict[str, jsonschema_rs.Validator]:
    """What checks each message, by its name, as the document says."""
    return {
        name: jsonschema_rs.Draft7Validator(
            {**message["payload"], "components": document["components"]}
        )
        for name, message in document["components"]["messages"].items()
    }
