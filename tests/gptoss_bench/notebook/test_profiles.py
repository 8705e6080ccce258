"""A profile is checked before anything runs, and an error names the nearest valid parameter."""

import contextlib
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench.notebook.profiles import check_parameters, notebook_path, read_profile
from gptoss_client.errors import UsageError

DECLARED = [
    {"concurrency": 8, "embedded": True, "model": "m", "sweep": [], "prefix_caching": ""},
    {"budget_gib": 22.49, "run_ids": [], "levels": [[1, 40]]},
]
YAML_VALUES = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
        *(st.dates(), st.datetimes()),
    ),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*DECLARED[0], *DECLARED[1], "x"]) | st.integers(), YAML_VALUES, max_size=3))
def test_any_value_for_any_key_gives_parameters_or_a_usage_error(content):
    reads_or_refuses(yaml.safe_dump(content))


@given(st.sampled_from(["concurrency", "model", "levels", "prefix_caching"]), st.text())
def test_any_text_for_any_key_gives_parameters_or_a_usage_error(name, text):
    reads_or_refuses(f"{name}: {text}")


def reads_or_refuses(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "p.yaml"
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        with contextlib.suppress(UsageError):
            check_parameters(read_profile(file), DECLARED, file.name)


@pytest.mark.parametrize("text", ["a: 2001-99-99", "a: " + "9" * 5000, "a: " + "[" * 5000, "1: 2", "on: 3"])
def test_yaml_that_its_library_cannot_read_gives_one_line(tmp_path, text):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"^p\.yaml") as reported:
        read_profile(tmp_path / "p.yaml")
    assert "\n" not in str(reported.value)


def test_right_keys_and_types_pass_and_a_whole_number_is_a_number_of_gib():
    check_parameters({"concurrency": 4, "embedded": False, "budget_gib": 24, "run_ids": ["a"]}, DECLARED, "p.yaml")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"concurency": 4}, "concurency is unknown; did you mean 'concurrency'?"),
        ({"zzz": 4}, "zzz is unknown; choose from concurrency, embedded, model"),
        ({"concurrency": "8"}, "concurrency is '8'; it has to be a whole number"),
        ({"concurrency": 8.5}, "concurrency is 8.5; it has to be a whole number"),
        ({"concurrency": True}, "concurrency is True; it has to be a whole number"),
        ({"concurrency": 0}, "concurrency must be 1 or more, not 0"),
        ({"embedded": 1}, "embedded is 1; it has to be true or false"),
        ({"embedded": "yes"}, "embedded is 'yes'; it has to be true or false"),
        ({"model": None}, "model is None; it has to be a text"),
        ({"budget_gib": "22"}, "budget_gib is '22'; it has to be a number"),
        ({"run_ids": "a"}, "run_ids is 'a'; it has to be a list"),
        ({"levels": [[1, 40], [2, "x"]]}, "levels[1][1] is 'x'; it has to be a number"),
        ({"sweep": [1, "x"]}, "sweep[1] is 'x'; it has to be a whole number"),
        ({"sweep": [2, 1]}, "rising whole numbers"),
        ({"prefix_caching": "onn"}, "prefix_caching is 'onn'; did you mean 'on'?"),
        ({"prefix_caching": True}, "put it in quotation marks: YAML reads a bare on"),
    ],
)
def test_a_wrong_key_or_type_is_named(values, words):
    with pytest.raises(UsageError, match=r"^p\.yaml: ") as reported:
        check_parameters(values, DECLARED, "p.yaml")
    assert words in str(reported.value)


@pytest.mark.parametrize("content", ["- a\n- b\n", "just words", "a: [1", "\xff\xfe"])
def test_a_file_that_is_no_profile_gives_one_line(tmp_path, content):
    file = tmp_path / "mine.yaml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match=r"mine\.yaml") as reported:
        read_profile(file)
    assert "\n" not in str(reported.value)


def test_a_missing_profile_names_those_that_are_there(tmp_path):
    with pytest.raises(UsageError, match=r"choose from .*\blocal\b"):
        read_profile(tmp_path / "nowhere.yaml")


def test_an_empty_profile_leaves_every_default(tmp_path):
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_profile(tmp_path / "empty.yaml") == {}


def test_a_notebook_that_is_not_there_is_named_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'vllm_h100'"):
        notebook_path("vllm_h10")
