from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from gateway.openapi.words import LONGEST_NAME, LONGEST_PATH, LONGEST_WORDS, PHRASES, phrase, told

ONE, TWO = {"const": 1}, {"const": 2}
SECRET = "hunter2"
CASES: dict[str, tuple[Any, Any, str]] = {
    "Type": ({"type": ["string", "null"]}, 5, "expected string or null"),
    "Required": ({"required": ["a"]}, {}, "a is missing"),
    "AdditionalProperties": (
        {"additionalProperties": False, "properties": {"z": True}},
        dict.fromkeys("abcde"),
        "holds what is not described: a, b, c and 2 more",
    ),
    "UnevaluatedProperties": (
        {"unevaluatedProperties": False}, {"a": 1}, "holds what is not described: a",
    ),
    "Enum": ({"enum": ["a", 1]}, SECRET, 'expected one of "a", 1'),
    "Constant": ({"const": {"a": None}}, SECRET, 'expected {"a":null}'),
    "Minimum": ({"minimum": 1.5}, 1, "has to be at least 1.5"),
    "Maximum": ({"maximum": 1}, 2, "has to be at most 1"),
    "ExclusiveMinimum": ({"exclusiveMinimum": 1}, 1, "has to be more than 1"),
    "ExclusiveMaximum": ({"exclusiveMaximum": 1}, 1, "has to be less than 1"),
    "MultipleOf": ({"multipleOf": 5}, 2, "has to be a multiple of 5"),
    "MinLength": ({"minLength": 1}, "", "needs at least 1 character"),
    "MaxLength": ({"maxLength": 2}, SECRET, "may have at most 2 characters"),
    "MinItems": ({"minItems": 2}, [], "needs at least 2 items"),
    "MaxItems": ({"maxItems": 1}, [1, 2], "may have at most 1 item"),
    "MinProperties": ({"minProperties": 1}, {}, "needs at least 1 member"),
    "MaxProperties": ({"maxProperties": 0}, {"a": 1}, "may have at most 0 members"),
    "Pattern": ({"pattern": "^a+$"}, SECRET, "does not match ^a+$"),
    "Format": ({"format": "date"}, SECRET, "is no date"),
    "UniqueItems": ({"uniqueItems": True}, [SECRET, SECRET], "holds the same item twice"),
    "Contains": ({"contains": ONE}, [SECRET], "holds too few or too many items of a kind"),
    "PropertyNames": (
        {"propertyNames": {"maxLength": 1}}, {SECRET: 1}, "has a member whose name may not be",
    ),
    "UnevaluatedItems": (
        {"prefixItems": [True], "unevaluatedItems": False}, [1, SECRET],
        "has more items than are described",
    ),
    "FalseSchema": (False, SECRET, "may not be here"),
    "Not": ({"not": {"type": "string"}}, SECRET, "is what it must not be"),
    "AnyOf": ({"anyOf": [ONE, TWO]}, SECRET, "has none of the forms that are described"),
    "OneOfNotValid": (
        {"oneOf": [{"type": "integer"}, {"type": "null"}, {"type": "integer"}]}, SECRET,
        "expected integer or null",
    ),
    "OneOfMultipleValid": (
        {"oneOf": [True, True]}, SECRET,
        "has more than one of the forms of which it needs one",
    ),
    "BacktrackLimitExceeded": (
        {"pattern": r"^(a|b|ab)*(?=c)\1$"}, "ab" * 40,
        "takes too long to be compared with a pattern",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("schema", "value", "words"), CASES.values(), ids=CASES)
def test_flaw_is_told_in_words_that_repeat_no_value(schema: Any, value: Any, words: str) -> None:
    validator = jsonschema_rs.Draft202012Validator(
        schema,
        validate_formats=True,
        pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=1000),
    )
    (error,) = validator.iter_errors(value)
    assert told(error).message == words
    assert SECRET not in words


def test_every_kind_of_flaw_that_can_be_has_a_case() -> None:
    rare = {"AdditionalItems", "RegexEngineFailure"}  # of older drafts, and of no pattern I know
    assert CASES.keys() == PHRASES.keys() - rare


def test_kind_that_is_new_has_words_too() -> None:
    assert phrase(object()) == "does not fit"


def first(schema: Any, value: Any) -> Any:
    return next(iter(jsonschema_rs.Draft202012Validator(schema).iter_errors(value)))


def test_path_is_a_json_pointer() -> None:
    schema = {"properties": {"a/b~c": {"items": {"type": "string"}}}}
    assert told(first(schema, {"a/b~c": ["x", 5]})).path == "/a~1b~0c/1"


def test_what_a_client_chose_is_cut_short() -> None:
    flaw = told(first({"additionalProperties": {"type": "string"}}, {"k" * 5000: 1}))
    assert len(flaw.path) == LONGEST_NAME + 1
    deep: Any = 1
    schema: Any = {"type": "string"}
    for _ in range(20):
        deep, schema = {"k" * 60: deep}, {"additionalProperties": schema}
    assert len(told(first(schema, deep)).path) == LONGEST_PATH
    unknown = told(
        first(
            {"properties": {"z": True}, "additionalProperties": False},
            {"x" * 5000: 1, "y" * 5000: 2},
        )
    )
    assert len(unknown.message) <= LONGEST_WORDS


def test_what_a_schema_says_at_length_is_cut_short() -> None:
    flaw = told(first({"enum": [f"value {number}" for number in range(100)]}, 1))
    assert len(flaw.message) == LONGEST_WORDS
    assert flaw.message.endswith("…")
