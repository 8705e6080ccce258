"""`random-checkpoint` from a shell, with a tokenizer of its own kind: the control tokens of harmony and some words."""

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from gptoss_bench import paths
from gptoss_bench.cli.main import main
from gptoss_bench.memory.random_checkpoint import has_random_weights
from gptoss_bench.tiny_model.tokenizer_files import END_TOKENS, OPENING

CONFIG = json.loads(paths.ARCHITECTURES.read_text())["gpt-oss-20b"]["config"] | {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "layer_types": ["sliding_attention", "full_attention"],
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
}


def tokenizer_folder(folder: Path, control: tuple[str, ...]) -> Path:
    folder.mkdir()
    words = ["assistant", "final", *(f"Ġword{letter}" for letter in "abcdefghijkl")]
    tokenizer = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in control])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


def test_a_checkpoint_has_tokenizer_ends_and_marker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    source = tokenizer_folder(tmp_path / "tokenizer", (*OPENING[1::2], *END_TOKENS))
    made = tmp_path / "made"
    command = ["random-checkpoint", str(tmp_path / "config.json"), str(made), "--tokenizer", str(source)]
    assert main([*command, "--layers", "1"]) == 0
    assert "bytes of random weights, MXFP4, 1 layers" in capsys.readouterr().out
    assert has_random_weights(made)
    assert (made / "chat_template.jinja").read_text() == "{{ messages }}"
    ends = json.loads((made / "generation_config.json").read_text())["eos_token_id"]
    assert ends == [Tokenizer.from_file(str(made / "tokenizer.json")).token_to_id(token) for token in END_TOKENS]
    assert not made.with_name("made.partial").exists()
    assert main(command) == 2
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("control", "words"),
    [(END_TOKENS, r"has no <|channel|>, <|message|>"), (None, "cannot read")],
)
def test_what_is_no_tokenizer_of_gpt_oss_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], control: tuple[str, ...] | None, words: str
) -> None:
    source = tmp_path / "absent" if control is None else tokenizer_folder(tmp_path / "tokenizer", control)
    command = ["random-checkpoint", "gpt-oss-20b", str(tmp_path / "made"), "--tokenizer", str(source)]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "made").exists()
