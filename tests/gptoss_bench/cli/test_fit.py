"""`fit` from a shell: names, folders, and every bad input in one line with exit code 2."""

import json
from dataclasses import replace

import pytest

from gptoss_bench import paths
from gptoss_bench.cli.main import main
from gptoss_bench.memory.architecture import FULL, SLIDING, architectures
from gptoss_bench.memory.capacity import kv_bytes
from gptoss_bench.memory.models import read_model
from gptoss_bench.memory.random_checkpoint import write_random_checkpoint

CATALOGUE = json.loads(paths.ARCHITECTURES.read_text())
CONFIG = CATALOGUE["gpt-oss-20b"]["config"]
TINY = replace(
    architectures()["gpt-oss-20b"],
    name="tiny",
    vocab_size=512,
    hidden_size=64,
    intermediate_size=32,
    num_hidden_layers=2,
    layer_types=(SLIDING, FULL),
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    num_local_experts=4,
    num_experts_per_tok=2,
)


def fit(capsys, *arguments):
    code = main(["fit", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize(
    ("model", "parameters", "mxfp4"),
    [("gpt-oss-20b", 20_914_757_184, 13_761_264_768), ("openai/gpt-oss-120b", 116_829_156_672, 65_248_815_744)],
)
def test_the_object_holds_the_exact_counts(capsys, model, parameters, mxfp4):
    code, out, _ = fit(capsys, "--model", model, "--gpu", "A10", "--context", "8192", "--concurrency", "2", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["parameters"] == sum(found["parameters_by_module"].values()) == parameters
    assert found["weights_bytes"] == {
        "mxfp4": mxfp4,
        "fp8": parameters,
        "bf16": 2 * parameters,
        "fp32": 4 * parameters,
    }
    assert found["budget_bytes"] == 23028 * 2**20
    architecture = read_model(model).architecture
    assert found["kv_bytes"] == 2 * kv_bytes(architecture, 8192)
    assert found["fits"] == {
        "mxfp4": model == "gpt-oss-20b",
        "fp8": model == "gpt-oss-20b",
        "bf16": False,
        "fp32": False,
    }
    for dtype, parts in found["parts_bytes"].items():
        assert set(parts) == {"weights", "cuda_context", "dequantisation", "kv_cache", "activations", "workspace"}
        assert found["headroom_bytes"][dtype] == found["budget_bytes"] - found["need_bytes"][dtype]
        assert found["fits"][dtype] == (found["largest_concurrency"][dtype] >= 2)


def test_the_table_reads_well(capsys):
    code, out, _ = fit(capsys, "--model", "gpt-oss-20b", "--gpu", "h100 nvl")
    assert code == 0
    assert "20,914,757,184 parameters" in out
    assert "NVIDIA H100 NVL: 93.58 GiB" in out
    assert max(map(len, out.splitlines())) <= 120


@pytest.mark.parametrize("dtype", ["mxfp4", "bf16", "fp32"])
def test_a_folders_headers_are_counted_and_agree(capsys, tmp_path, dtype):
    written = write_random_checkpoint(TINY, tmp_path / "tiny", dtype)
    code, out, _ = fit(capsys, "--model", str(tmp_path / "tiny"), "--gpu", "1GiB", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["checkpoint"]["disagreement"] is None
    assert found["checkpoint"]["parameters"] == found["parameters"]
    assert found["checkpoint"]["bytes"] == found["weights_bytes"][dtype] == written
    assert "as the config implies" in fit(capsys, "--model", str(tmp_path / "tiny"), "--gpu", "1GiB")[1]


def test_headers_that_hold_another_model_are_reported(capsys, tmp_path):
    write_random_checkpoint(TINY, tmp_path / "tiny")
    (tmp_path / "tiny" / "model-00002-of-00004.safetensors").unlink()
    code, out, _ = fit(capsys, "--model", str(tmp_path / "tiny"), "--gpu", "1GiB")
    assert code == 0
    assert "and the config implies" in out


def test_transformers_own_config_is_read(capsys, tmp_path):
    from transformers import GptOssConfig

    sizes = {field: getattr(TINY, field) for field in ("vocab_size", "hidden_size", "num_hidden_layers", "head_dim")}
    GptOssConfig(**sizes, num_local_experts=4).save_pretrained(tmp_path)
    code, out, _ = fit(capsys, "--model", str(tmp_path), "--gpu", "L4", "--json")
    assert code == 0
    assert json.loads(out)["parameters"] > 0


def folder_with(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    return str(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_local_experts": None}, "is missing num_local_experts"),
        ({"hidden_size": None, "head_dim": None}, "is missing head_dim, hidden_size"),
        (
            {"quantization_config": {"quant_method": "awq"}},
            "quantisation 'awq' cannot be counted from this config; pass the folder with its .safetensors",
        ),
        ({"num_hidden_layers": -24}, "num_hidden_layers is -24"),
        ({"vocab_size": 10**15}, "vocab_size is 1000000000000000"),
        ({"hidden_size": 1e308}, "hidden_size is 1e+308"),
        ({"model_type": "llama"}, "only 'gpt_oss'"),
        ({"layer_types": [{"a": 1}] * 24}, "layer_types holds"),
    ],
)
def test_a_bad_config_is_one_line_and_exit_code_2(capsys, tmp_path, changes, words):
    config = {key: value for key, value in (CONFIG | changes).items() if value is not None}
    code, out, err = fit(capsys, "--model", folder_with(tmp_path, json.dumps(config)), "--gpu", "A10")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


DEEP = json.dumps(CONFIG | {"layer_types": []}).replace("[]", "[" * 900 + "]" * 900, 1)


@pytest.mark.parametrize("text", ["", "{", "[]", "17", '"x"', "nul", "[" * 100_000, '{"model_type": NaN}', DEEP])
def test_what_is_no_config_is_one_line_and_exit_code_2(capsys, tmp_path, text):
    code, out, err = fit(capsys, "--model", folder_with(tmp_path, text), "--gpu", "A10")
    assert (code, out, err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x08\0\0\0", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0[]", b'\x14\0\0\0\0\0\0\0{"a":{"dtype":"U8"}}'],
)
def test_a_broken_safetensors_file_is_one_line_and_exit_code_2(capsys, tmp_path, content):
    write_random_checkpoint(TINY, tmp_path)
    (tmp_path / "model-00001-of-00004.safetensors").write_bytes(content)
    code, out, err = fit(capsys, "--model", str(tmp_path), "--gpu", "A10")
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_a_file_cut_short_is_reported(capsys, tmp_path):
    write_random_checkpoint(TINY, tmp_path)
    file = tmp_path / "model-00001-of-00004.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert "is broken or incomplete" in fit(capsys, "--model", str(tmp_path), "--gpu", "A10")[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--model", "gpt-oss-21b", "--gpu", "A10"],
            "there is no model 'gpt-oss-21b' (did you mean 'gpt-oss-20b'?): pass",
        ),
        (["--model", "gpt-oss-20b", "--gpu", "A11"], "did you mean"),
        (["--model", "gpt-oss-20b", "--gpu", "A10", "--context", "131073"], "choose 1 to 131072"),
        (["--model", "gpt-oss-20b", "--gpu", "A10", "--concurrency", "0"], "choose 1 to"),
        (["--model", "gpt-oss-20b", "--gpu", "A10", "--engine", "tgi"], "choose one of: vllm"),
        (["--model", "gpt-oss-20b", "--gpu", "A10", "--engine", "vllm", "--share", "1.2"], "share 1.2 is not possible"),
        (["--model", "gpt-oss-20b", "--gpu", "A10", "--share", "0.9"], "add --engine vllm"),
    ],
)
def test_a_question_without_an_answer_is_one_line_and_exit_code_2(capsys, arguments, words):
    code, out, err = fit(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_a_yes_that_is_a_no_in_vllm_is_named_and_counted_on_request(capsys):
    # gpt-oss-120b on one H100 of 81559 MiB: it fits the card, and vLLM does not start at its default of 0.9.
    code, out, _ = fit(capsys, "--model", "gpt-oss-120b", "--gpu", "H100 SXM")
    assert code == 0
    assert "NVIDIA H100 SXM: 79.65 GiB; CUDA programs see 79.18 GiB" in out
    assert "vllm at its defaults uses 71.26 GiB of it: MXFP4 lacks 2.35 GiB (see --engine vllm)" in out
    code, out, _ = fit(capsys, "--model", "gpt-oss-120b", "--gpu", "H100 SXM", "--engine", "vllm", "--json")
    found = json.loads(out)
    assert (found["fits"]["mxfp4"], found["largest_context"]["mxfp4"]) == (False, 0)
    assert found["headroom_bytes"]["mxfp4"] == found["budget_bytes"] - found["need_bytes"]["mxfp4"] < 0
    _, out, _ = fit(capsys, "--model", "gpt-oss-20b", "--gpu", "A10", "--engine", "vllm", "--share", "0.95")
    assert "vllm uses 0.95 of that: 21.09 GiB" in out
    assert "not in vllm" not in out


def test_two_long_sequences_of_the_120b_have_the_cache_of_llama_cpp(capsys):
    # 18 full layers x 2048 bytes x 131,072 tokens x 2 are 9216 MiB, as llama-server logs it; 18 sliding ones keep 128.
    arguments = ("--model", "gpt-oss-120b", "--gpu", "115GiB", "--context", "131072", "--concurrency", "2", "--json")
    found = json.loads(fit(capsys, *arguments)[1])
    assert found["kv_bytes"] == 2 * 18 * 2048 * (131_072 + 128) == 9_673_113_600
    assert round(found["weights_bytes"]["mxfp4"] / 2**30, 2) == 60.77
    assert found["fits"]["mxfp4"]


def test_a_packed_checkpoint_has_a_column_by_its_config_or_by_its_headers(capsys, tmp_path):
    quantised = CONFIG | {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}
    code, out, _ = fit(capsys, "--model", folder_with(tmp_path, json.dumps(quantised)), "--gpu", "A10")
    assert code == 0
    assert "CHECKPOINT: GPTQ of 4 bits, counted from its config" in out
    write_random_checkpoint(TINY, tmp_path, "bf16")
    config = json.loads((tmp_path / "config.json").read_text()) | {"quantization_config": {"quant_method": "odd"}}
    code, out, _ = fit(capsys, "--model", folder_with(tmp_path, json.dumps(config)), "--gpu", "1GiB", "--json")
    found = json.loads(out)
    assert (code, found["quantisation"]) == (0, "odd")
    assert found["weights_bytes"]["checkpoint"] == found["checkpoint"]["bytes"] == found["weights_bytes"]["bf16"]
