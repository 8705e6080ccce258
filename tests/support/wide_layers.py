"""A small checkpoint with random weights whose layers are wide enough for each quantisation of GGUF."""

from dataclasses import replace
from pathlib import Path

from gptoss_bench.memory import architectures, write_random_checkpoint
from gptoss_bench.paths import TINY_MODEL
from gptoss_bench.tiny_model.conversations import read_template
from gptoss_bench.tiny_model.gguf_import import load_tiny
from gptoss_bench.tiny_model.tokenizer_files import write_speaking_tokenizer


def write_wide_layers(folder: Path, source: Path) -> None:
    """Write two wide layers in MXFP4 to `folder`, with the tokenizer of the tiny model, which is put into `source`."""
    source.mkdir(exist_ok=True)
    _, tokenizer = load_tiny(TINY_MODEL, layers=1)
    tokenizer.save(str(source / "tokenizer.json"))
    (source / "chat_template.jinja").write_text(read_template())
    architecture = replace(
        architectures()["gpt-oss-20b"],
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=1024,
        intermediate_size=64,
        num_hidden_layers=2,
        layer_types=("sliding_attention", "full_attention"),
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        num_experts_per_tok=2,
        max_position_embeddings=4096,
    )
    speech = write_speaking_tokenizer(folder, source)
    write_random_checkpoint(architecture, folder, "mxfp4", speech=speech)
