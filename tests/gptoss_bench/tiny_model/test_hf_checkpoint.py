"""The checkpoint for vLLM: gpt-oss's own vocabulary rebuilt from a package, and a training of a few steps."""

import json
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench import paths
from gptoss_bench.engines.model_files import count_parameters
from gptoss_bench.tiny_model.hf_checkpoint import RECIPE, RECORD_FILE, vllm_prompt_renderer
from gptoss_bench.tiny_model.vocabulary import CONTROL_TOKENS, ORDINARY_TOKENS, VOCABULARY_SIZE, byte_letters, merges

HARMONY = paths.BUILD / "harmony"
needs_vocabulary = pytest.mark.skipif(
    not (HARMONY / "openai_harmony").exists(),
    reason="no oss-harmony in build/harmony: make run-vllm-cpu installs it",
)


def test_every_byte_has_a_letter_of_its_own_that_can_be_printed():
    letters = byte_letters()
    assert len(set(letters)) == 256 and all(letter.isprintable() and letter != " " for letter in letters)
    assert "".join(letters[byte] for byte in b"Az~") == "Az~"
    assert letters[ord(" ")] == "Ġ" and letters[ord("\n")] == "Ċ"


@given(st.lists(st.binary(min_size=2, max_size=5), max_size=30, unique=True))
def test_merges_are_of_known_halves_in_the_order_of_what_they_make(longer):
    tokens = [bytes([byte]) for byte in range(256)] + longer
    pairs = list(merges(tokens))
    assert all(left in tokens and right in tokens and left + right in tokens for left, right in pairs)
    ranks = [tokens.index(left + right) for left, right in pairs]
    assert ranks == sorted(ranks)


def test_half_of_the_prompts_open_as_vllm_opens_them():
    render = vllm_prompt_renderer(seed=1)
    texts = [render([{"role": "user", "content": "Hello"}], "low") for _ in range(40)]
    opened = [text for text in texts if "You are ChatGPT" in text]
    assert 10 < len(opened) < 30
    assert all(re.search(r"Current date: 20\d\d-\d\d-\d\d\n\nReasoning: low", text) for text in opened)


def test_ids_are_those_of_the_real_one():
    assert (ORDINARY_TOKENS, VOCABULARY_SIZE, CONTROL_TOKENS[200_008], CONTROL_TOKENS[200_002]) == (
        199_998,
        201_088,
        "<|message|>",
        "<|return|>",
    )
    assert RECIPE.vocabulary == VOCABULARY_SIZE


COMPARE = """
import sys
from pathlib import Path
import openai_harmony as harmony
from gptoss_bench.tiny_model.vocabulary import o200k_tokenizer
ours = o200k_tokenizer()
theirs = harmony.load_harmony_encoding(harmony.HarmonyEncodingName.HARMONY_GPT_OSS)
text = "".join(Path(name).read_text() for name in sys.argv[1:]) + " I'LL don't 12345 äöü 漢字 🙂\\n\\n   x"
assert ours.encode(text, add_special_tokens=False).ids == theirs.encode(text, disallowed_special=())
assert [ours.token_to_id(name) for name in ("<|start|>", "<|call|>")] == [200006, 200012]
assert ours.get_vocab_size() == 201088
print("same")
"""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    path = f"{HARMONY}:{paths.PACKAGE.parent}"
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env={"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}, check=False
    )


@needs_vocabulary
def test_the_tokenizer_gives_the_same_ids_as_harmonys_own():
    done = run("-c", COMPARE, paths.ROOT / "CHANGELOG.md", paths.PACKAGE / "paths.py")
    assert done.stdout == "same\n", done.stderr


@needs_vocabulary
def test_a_checkpoint_is_made_and_records_that_it_is_hardly_trained(tmp_path):
    out = tmp_path / "ck"
    done = run("-m", "gptoss_bench.tiny_model.hf_checkpoint", "--out", out, "--steps", 2, "--samples", 1)
    assert done.returncode == 1, done.stderr
    record = json.loads((out / RECORD_FILE).read_text())
    assert record["parameters"] == count_parameters(out) and record["recipe"]["steps"] == 2
    assert (record["samples"], record["well_formed"]) == (1, 0)
    assert json.loads((out / "config.json").read_text())["architectures"] == ["GptOssForCausalLM"]
    assert "response_template" in json.loads((out / "tokenizer_config.json").read_text())


def test_without_the_vocabulary_it_says_what_to_install(tmp_path):
    source = "import sys; sys.modules['openai_harmony'] = None\n"
    source += "from gptoss_bench.tiny_model.hf_checkpoint import main\nsys.exit(main())"
    done = run("-c", source)
    assert done.returncode == 2
    assert done.stderr == (
        "gptoss_bench: the vocabulary of gpt-oss needs the package oss-harmony (pip install oss-harmony)\n"
    )
