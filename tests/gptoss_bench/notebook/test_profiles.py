"""A profile is checked before anything runs, and an error names the nearest valid parameter."""

import pytest

from gptoss_bench.notebook.profiles import check_parameters, notebook_path, read_profile
from gptoss_client.errors import UsageError

DECLARED = [{"concurrency": 8, "embedded": True, "model": "m"}, {"budget_gib": 22.49, "run_ids": []}]


def test_right_keys_and_types_pass_and_a_whole_number_is_a_number_of_gib():
    check_parameters({"concurrency": 4, "embedded": False, "budget_gib": 24, "run_ids": ["a"]}, DECLARED, "p.yaml")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"concurency": 4}, "did you mean 'concurrency'?"),
        ({"zzz": 4}, "no notebook has a parameter 'zzz'"),
        ({"concurrency": "8"}, "concurrency must be of type int"),
        ({"concurrency": 8.5}, "concurrency must be of type int"),
        ({"concurrency": True}, "concurrency must be of type int"),
        ({"embedded": 1}, "embedded must be of type bool"),
        ({"embedded": "yes"}, "embedded must be of type bool"),
        ({"model": None}, "model must be of type str"),
        ({"budget_gib": "22"}, "budget_gib must be of type float"),
        ({"run_ids": "a"}, "run_ids must be of type list"),
    ],
)
def test_a_wrong_key_or_type_is_named(given, words):
    with pytest.raises(UsageError, match=r"^p\.yaml: ") as reported:
        check_parameters(given, DECLARED, "p.yaml")
    assert words in str(reported.value)


@pytest.mark.parametrize("content", ["- a\n- b\n", "just words", "a: [1", "\xff\xfe"])
def test_a_file_that_is_no_profile_gives_one_line(tmp_path, content):
    file = tmp_path / "mine.yaml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match=r"mine\.yaml") as reported:
        read_profile(file)
    assert "\n" not in str(reported.value)


def test_a_missing_profile_names_those_that_are_there(tmp_path):
    with pytest.raises(UsageError, match=r"local\.yaml"):
        read_profile(tmp_path / "nowhere.yaml")


def test_an_empty_profile_leaves_every_default(tmp_path):
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_profile(tmp_path / "empty.yaml") == {}


def test_a_notebook_that_is_not_there_is_named_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'vllm_h100'"):
        notebook_path("vllm_h10")
