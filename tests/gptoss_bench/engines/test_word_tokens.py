"""Lengths of made-up prompts are in tokens where the server or its model's name says how many a word is."""

import asyncio
from dataclasses import replace

import pytest

from gptoss_bench.engines.word_tokens import with_word_tokens
from gptoss_bench.stats.text_report import result_block
from gptoss_client.plan import LoadPlan
from gptoss_client.prompts import messages_sha256
from scripted import scripted, speak
from serving import measured_on_tiny

PLAN = LoadPlan(concurrency=2, requests=4, prompt_tokens="300", output_tokens="4-9", system=None, ignore_eos=True)


@pytest.mark.parametrize(
    ("model", "unit"), [("openai/gpt-oss-20b", "tokens"), ("gpt-oss:20b", "tokens"), ("m", "words")]
)
def test_without_an_answer_the_name_of_the_model_decides(model, unit) -> None:
    async def asked() -> tuple[LoadPlan, str]:
        async with scripted(speak) as server:
            return await with_word_tokens(PLAN, replace(server.endpoint, model=model))

    assert asyncio.run(asked()) == (PLAN, unit)


def test_the_embedded_engine_says_how_many_tokens_a_word_is(tmp_path) -> None:
    run = measured_on_tiny(PLAN, tmp_path)
    parameters, summary = run.manifest.parameters, run.summary
    assert parameters["prompt_tokens_unit"] == "tokens" and parameters["tokens_per_word"] > 1
    assert parameters["messages_sha256"] == messages_sha256(
        replace(PLAN, tokens_per_word=parameters["tokens_per_word"])
    )
    assert 250 < summary.prompt_tokens.min <= summary.prompt_tokens.max < 400  # with the chat template
    assert summary.requested_tokens.sum == summary.completion_tokens.sum == run.requests.max_tokens.sum()
    block = result_block(summary, title_line="t")
    assert "random words, 300 tokens each" in block and "a request: 100.0% came" in block
    assert not {"lengths-unequal", "most-answers-truncated"} & {one.rule for one in run.findings}
