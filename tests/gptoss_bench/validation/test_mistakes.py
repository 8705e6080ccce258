"""Errors of pydantic as sentences: field, value, and what the value has to be."""

from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from gptoss_bench.validation import OneOf, Wanted, find_mistakes


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    unit: Annotated[str, OneOf(["seconds", "tokens"])] = "seconds"
    values: list[float] | None = None
    limits: dict[Annotated[str, OneOf(["p50", "p99"])], int] = Field(default_factory=dict)


class First(Part):
    kind: Literal["first"]
    text_or_number: Annotated[str | int, Wanted("a text or a whole number")] = 0


class Second(Part):
    kind: Literal["second"]
    part: Part


Parts = TypeAdapter(list[Annotated[First | Second, Field(discriminator="kind")]])


def sentences(content: object) -> list[str]:
    with pytest.raises(ValidationError) as error:
        Parts.validate_python(content)
    return [mistake.sentence() for mistake in find_mistakes(error.value, Parts)]


def test_every_mistake_is_a_sentence_in_the_order_of_the_fields() -> None:
    content = [
        {"kind": "first", "unit": "token", "values": [1.0, "x"], "limits": {"p5": 1}, "text_or_number": []},
        {"kind": "second", "part": {"value": 1}},
        {"kind": "secnd"},
        {},
        7,
    ]
    assert sentences(content) == [
        "[0].unit is 'token'; did you mean 'tokens'?",
        "[0].values[1] is 'x'; it has to be a number",
        "[0].limits.p5 is 'p5'; did you mean 'p50'?",
        "[0].text_or_number is []; it has to be a text or a whole number",
        "[1].part.value is unknown; did you mean 'values'?",
        "[2].kind is 'secnd'; did you mean 'second'?",
        "[3].kind is missing; add it",
        "[4] is 7; it has to be a mapping, name: value",
    ]


def test_a_long_value_is_cut() -> None:
    [sentence] = sentences([{"kind": "first", "unit": "x" * 1000}])
    assert len(sentence) < 120


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.fixed_dictionaries(
    {}, optional={name: JSON for name in ("kind", "unit", "values", "limits", "text_or_number", "part")}
)


@settings(deadline=None)
@given(JSON | st.lists(st.fixed_dictionaries({"kind": st.sampled_from(["first", "second"])}) | FIELDS | JSON))
def test_any_content_is_right_or_described_in_one_line_per_mistake(content: object) -> None:
    try:
        Parts.validate_python(content)
    except ValidationError as error:
        described = [mistake.sentence() for mistake in find_mistakes(error, Parts)]
    else:
        described = ["right"]
    assert described
    assert all(len(sentence.splitlines()) == 1 for sentence in described)
