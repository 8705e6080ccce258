"""A load plan is valid or is refused in one line, whatever the values of its fields are."""

import json
from dataclasses import asdict, fields
from datetime import date
from decimal import Decimal
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_client.errors import UsageError
from gptoss_client.plan import LoadPlan
from gptoss_client.request_bodies import request_body
from gptoss_client.trace import Endpoint

ENDPOINT = Endpoint(url="http://127.0.0.1:1", model="m", dialect="openai", engine="vllm")

texts = st.text(st.characters(), max_size=20) | st.sampled_from(
    ["fixed", "distinct", "Fixed", "8", "", "\ud800", "a\0b"]
)
numbers = (
    st.integers()
    | st.floats()
    | st.sampled_from([0, 1, -1, 8, 2**53, 2**53 + 1, 10**400, -(10**400), True, 1.0, Decimal("NaN"), 1j])
    | st.fractions()
)
leaves = (
    st.none() | st.booleans() | numbers | texts | st.binary(max_size=5) | st.sampled_from([date(2025, 1, 1), object()])
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(texts | st.integers() | st.none(), inner, max_size=4)
        | st.dictionaries(texts, inner, max_size=4).map(MappingProxyType)
    ),
    max_leaves=12,
)
names = st.sampled_from([field.name for field in fields(LoadPlan)])


@given(st.dictionaries(names, values, max_size=4))
def test_any_values_make_a_plan_that_can_be_sent_or_are_refused_in_one_line(given_fields):
    refused, plan = "", None
    try:
        plan = LoadPlan(**given_fields)
    except UsageError as error:
        refused = str(error)
    assert (plan is None) == bool(refused)
    assert "\n" not in refused
    if plan is None:
        return
    assert LoadPlan(**json.loads(json.dumps(asdict(plan)))) == plan
    assert json.loads(request_body(plan, ENDPOINT, 0))["stream"] is True or "stream" in plan.options


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**53), 2**53)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(codec="utf-8")),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
        max_leaves=8,
    )
)
def test_any_json_is_an_option_and_is_sent_as_it_is(value):
    plan = LoadPlan(options={"field": value})
    assert plan.options == {"field": value}
    assert json.loads(request_body(plan, ENDPOINT, 0))["field"] == value


def test_the_options_of_a_plan_do_not_change_with_the_object_that_they_were_made_from():
    given_options = {"stop": ["a"]}
    plan = LoadPlan(options=given_options)
    given_options["stop"].append("b")
    assert plan.options == {"stop": ["a"]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": 0},
        {"concurrency": -3},
        {"requests": 0},
        {"requests": -1},
        {"requests": None},
        {"duration_s": 5.0},
        {"requests": None, "duration_s": -1.0},
        {"requests": None, "duration_s": float("inf")},
        {"max_tokens": 0},
        {"warmup": -1},
        {"temperature": -0.1},
        {"timeout_s": 0},
        {"min_tokens": -1},
        {"prompts": "random"},
        {"prompt": "  "},
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_in_one_line(wrong):
    with pytest.raises(UsageError) as reported:
        LoadPlan(**wrong)
    assert "\n" not in str(reported.value)


def test_a_single_number_is_as_good_as_its_text():
    given = LoadPlan(rate=20, prompt_tokens=64, output_tokens=16, turns=2, think_time=0.1, requests=4, salt=1)
    written = LoadPlan(
        rate="20", prompt_tokens="64", output_tokens="16", turns="2", think_time="0.1", requests=4, salt=1
    )
    assert given == written
    for wrong in ({"rate": True}, {"rate": float("nan")}, {"rate": -1}, {"turns": 10**5000}):
        with pytest.raises(UsageError):
            LoadPlan(**wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"concurrency": "8"}, "concurrency must be a whole number, not '8'"),
        ({"concurrency": 8.0}, "concurrency must be a whole number, not 8.0"),
        ({"concurrency": True}, "concurrency must be a whole number, not True"),
        ({"max_tokens": None}, "max_tokens must be a whole number, not None"),
        ({"requests": 10**30}, f"requests must be {2**53} or less, not 1{'0' * 30}"),
        ({"salt": 10**5000}, f"salt must be {2**53} or less, not <int>"),
        ({"temperature": float("nan")}, "temperature must be a number, 0 or more, not nan"),
        ({"temperature": "0"}, "temperature must be a number, 0 or more, not '0'"),
        ({"timeout_s": float("inf")}, "timeout_s must be a number of seconds above 0, not inf"),
        ({"connect_timeout_s": None}, "connect_timeout_s must be a number of seconds above 0, not None"),
        ({"ignore_eos": "no"}, "ignore_eos must be True or False, not 'no'"),
        ({"prompt": b"x"}, "prompt must be a text that UTF-8 can encode, not b'x'"),
        ({"system": "a\ud800"}, "system must be a text that UTF-8 can encode, not 'a\\ud800'"),
        (
            {"prompts": "distnict"},
            "prompts must be 'fixed', 'distinct', 'synthetic' or 'file', not 'distnict', did you mean 'distinct'?",
        ),
        ({"prompts": "random"}, "prompts must be 'fixed', 'distinct', 'synthetic' or 'file', not 'random'"),
        ({"options": [1]}, "options must be a JSON object with string keys, not [1]"),
        ({"options": {1: 2}}, "options must be a JSON object with string keys, not {1: 2}"),
        ({"options": {"a": {1}}}, "options must be a JSON object with string keys (Object of type set is not JSON"),
        (
            {"options": {"x": "y" * 200}, "sweep": 4},
            "the levels of a sweep must be rising whole numbers from 1 on, not 4",
        ),
    ],
)
def test_the_message_names_the_field_the_value_and_what_is_allowed(wrong, message):
    with pytest.raises(UsageError) as reported:
        LoadPlan(**wrong)
    assert str(reported.value).startswith(message)
    assert len(str(reported.value)) < 250
