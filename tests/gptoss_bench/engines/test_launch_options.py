"""The choice of a server: which one it is, and one line for each value that is not valid."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_client.errors import UsageError

ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text()))


def test_it_is_the_url_else_the_stand_in_else_the_engine_that_is_started():
    assert ServerChoice() == ServerChoice(embedded=True) and not ServerChoice().starts
    assert not ServerChoice(url="http://127.0.0.1:1").embedded
    assert ServerChoice(engine="vllm").starts and not ServerChoice(engine="vllm", embedded=True).starts
    assert not ServerChoice(engine="vllm", url="http://127.0.0.1:1").starts


def test_flags_are_split_as_by_a_shell():
    flags = ServerChoice(engine="vllm", engine_flags="--a 'b c' --d").arguments
    assert flags == ("--a", "b c", "--d")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"engine": "vlm"}, "engine .*'vlm'.*'vllm'"),
        ({"engine": "vllm", "prefix_caching": "onn"}, "prefix_caching .*'onn'.*'on'"),
        ({"url": "http://h", "dialect": "olama"}, "dialect .*'olama'.*'ollama'"),
        ({"contxt": 8}, "contxt .*'context'"),
    ],
)
def test_a_misspelt_word_is_named_with_the_nearest_right_one(values, words):
    with pytest.raises(UsageError, match=words):
        ServerChoice(**values)


@pytest.mark.parametrize("values", [{"context": "8192"}, {"context": -1}, {"context": True}, {"embedded": "yes"}])
def test_a_wrong_type_or_number_names_field_and_value(values):
    [(name, value)] = values.items()
    with pytest.raises(UsageError, match=rf"^{name} .*{value!r}"):
        ServerChoice(**values)


@given(st.dictionaries(st.sampled_from([*ServerChoice.model_fields, "x"]), ANYTHING))
def test_any_values_give_a_choice_or_a_usage_error(values):
    with contextlib.suppress(UsageError):
        choice = ServerChoice(**values)
        assert ServerChoice(**choice.model_dump()) == choice
