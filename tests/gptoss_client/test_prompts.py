"""What requests ask: prompts of a file, made-up prompts, and that they do not depend on who sends them."""

import asyncio
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench.runs.folder import RunFolder
from gptoss_client.errors import UsageError
from gptoss_client.load import run_load
from gptoss_client.load_file import read_prompts
from gptoss_client.plan import LoadPlan
from gptoss_client.prompts import WORDS, max_tokens_of, messages_of, messages_sha256
from gptoss_client.shard import LoadShard
from scripted import scripted, speak

SHAREGPT = [
    {"id": "a", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
    {"id": "b", "conversations": []},
    {
        "id": "c",
        "conversations": [
            {"from": "gpt", "value": "…and so on."},
            {"from": "human", "value": "Why?"},
            {"from": "gpt", "value": "Because."},
            {"from": "human", "value": "Really?"},
            {"from": "gpt", "value": "Yes."},
        ],
    },
]
CHAT = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "And 3 + 3?"},
    ],
    "max_tokens": 7,
}


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def words_of(plan: LoadPlan, prompt_id: int) -> list[str]:
    return messages_of(plan, prompt_id)[-1][1].split(" ")


def test_rows_of_published_data_sets_are_read_as_they_are(tmp_path) -> None:
    azure = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.68,374,44\n"
    [row] = read_prompts(written(tmp_path, "azure.csv", azure)).rows
    assert (row.messages, row.input_tokens, row.output_tokens) == ((), 374, 44)
    first, second = read_prompts(written(tmp_path, "sharegpt.json", json.dumps(SHAREGPT))).rows
    assert first.messages == (("user", "Hi"),)
    assert second.messages == (("user", "Why?"),)
    [chat] = read_prompts(written(tmp_path, "chat.jsonl", lines(CHAT))).rows
    assert chat.messages == (("system", "Be brief."), ("user", "2 + 2?"), ("assistant", "4"), ("user", "And 3 + 3?"))
    assert chat.output_tokens == 7
    [plain] = read_prompts(written(tmp_path, "p.csv", 'Prompt,Output length\n"a,\nb",12\n')).rows
    assert (plain.messages, plain.output_tokens) == ((("user", "a,\nb"),), 12)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.jsonl", '{"prompt": "a"}\n{"said": "b"}\n', "p.jsonl line 2 has no prompt: name its column prompt"),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": 5}\n', "p.jsonl line 2: prompt must be a text or a list"),
        ("p.jsonl", '{"prompt": "a", "output_tokens": 0}\n', "p.jsonl line 1: output_tokens '0' must be a whole"),
        ("p.jsonl", '{"prompt": "a", "output_tokens": "x"}\n', "p.jsonl line 1: output_tokens 'x' must be a whole"),
        ("p.jsonl", '{"prompt": "\\ud800"}\n', "p.jsonl line 1: prompt has half of a surrogate pair"),
        ("p.jsonl", '{"messages": [{"role": "tool", "content": "a"}]}', "p.jsonl line 1: each message in messages"),
        ("p.jsonl", '{"messages": [{"role": "user", "content": [1]}]}', "p.jsonl line 1: each message in messages"),
        ("p.jsonl", '{"messages": [{"role": "system", "content": "a"}]}', "p.jsonl has no prompts"),
        ("p.csv", "prompt,n\na\n", "p.csv line 2 has not as many fields"),
        ("p.jsonl", "", "p.jsonl has no prompts"),
    ],
)
def test_a_file_that_cannot_be_sent_is_refused_with_its_line(tmp_path, name, text, message) -> None:
    with pytest.raises(UsageError) as reported:
        LoadPlan(prompts_file=written(tmp_path, name, text))
    assert str(reported.value).startswith(message)
    assert "\n" not in str(reported.value)


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8"), min_size=1), st.integers(1, 9999)), min_size=1))
def test_any_texts_and_lengths_come_back_from_a_file(tmp_path_factory, rows) -> None:
    file = written(
        tmp_path_factory.mktemp("prompts"), "p.jsonl", lines(*({"prompt": a, "max_tokens": b} for a, b in rows))
    )
    plan = LoadPlan(prompts_file=file, system=None)
    assert plan.prompts == "file"
    sent = [(messages_of(plan, number)[0][1], max_tokens_of(plan, number, number)) for number in range(len(rows))]
    assert sent == rows
    assert messages_of(plan, len(rows)) == messages_of(plan, 0)  # again from the begin


def test_a_system_message_of_the_file_comes_before_that_of_the_plan(tmp_path) -> None:
    plan = LoadPlan(prompts_file=written(tmp_path, "p.jsonl", lines(CHAT, {"prompt": "a"})), system="Be kind.")
    assert messages_of(plan, 0)[0] == ("system", "Be brief.")
    assert messages_of(plan, 1) == [("system", "Be kind."), ("user", "a")]


def test_a_row_without_a_text_is_sent_as_so_many_words(tmp_path) -> None:
    plan = LoadPlan(prompts_file=written(tmp_path, "p.jsonl", lines({"input_length": 30}, {"input_length": 40})))
    assert [len(words_of(plan, number)) for number in range(2)] == [30, 40]


@given(st.integers(1, 3000), st.integers(0, 10**6), st.integers(0, 10**9), st.floats(0, 1))
def test_a_synthetic_prompt_has_its_length_and_its_shared_words(length, salt, prompt_id, share) -> None:
    plan = LoadPlan(prompt_tokens=str(length), salt=salt, prefix_share=share)
    words, others = words_of(plan, prompt_id), words_of(plan, prompt_id + 1)
    assert len(words) == length and {*words} <= {*WORDS}
    assert words == words_of(LoadPlan(**asdict(plan)), prompt_id)
    shared = round(length * share)
    assert words[:shared] == others[:shared]
    if length - shared > 20:
        assert words[shared : shared + 20] != others[shared : shared + 20]
    if length > 20:
        assert words[:20] != words_of(replace(plan, salt=salt + 1), prompt_id)[:20]


def test_a_longer_prompt_goes_on_with_the_same_shared_words() -> None:
    long, short = (words_of(LoadPlan(prompt_tokens=n, prefix_share=1.0, salt=1), 0) for n in ("9000", "5000"))
    assert long[:5000] == short


def test_there_is_a_word_for_each_byte() -> None:
    assert len(WORDS) == len({*WORDS}) == 256


def test_lengths_in_tokens_follow_from_the_tokens_of_a_word() -> None:
    assert len(words_of(LoadPlan(prompt_tokens="100", tokens_per_word=2.5), 0)) == 40


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompts": "file"}, "prompts 'file' needs prompts_file"),
        ({"prompts": "synthetic"}, "prompts 'synthetic' needs prompt_tokens"),
        ({"prompts": "distinct", "prompt_tokens": "5"}, "prompt_tokens is for prompts 'synthetic', not 'distinct'"),
        ({"prefix_share": 0.5}, "prefix_share 0.5 needs prompt_tokens"),
        ({"prompt_tokens": "5", "prefix_share": 1.5}, "prefix_share 1.5 needs"),
        ({"prompt_tokens": "5", "tokens_per_word": 0.0}, "tokens_per_word must be above 0"),
        ({"prompts_file": "nowhere.jsonl"}, "cannot read nowhere.jsonl"),
        ({"prompts_file_sha256": "0"}, "prompts_file_sha256 needs prompts_file"),
    ],
)
def test_fields_that_do_not_fit_each_other_are_refused(fields, message) -> None:
    with pytest.raises(UsageError, match=message):
        LoadPlan(**fields)


def test_a_plan_refuses_a_file_that_has_changed(tmp_path) -> None:
    plan = LoadPlan(prompts_file=written(tmp_path, "p.jsonl", lines({"prompt": "a"})))
    assert LoadPlan(**asdict(plan)) == plan
    written(tmp_path, "p.jsonl", lines({"prompt": "a"}, {"prompt": "b"}))
    with pytest.raises(UsageError, match="has changed since the plan was made"):
        LoadPlan(**asdict(plan))


def test_the_hash_of_the_messages_is_that_of_what_is_sent(tmp_path) -> None:
    plan = LoadPlan(prompt_tokens="20-40", salt=1)
    assert messages_sha256(plan) == messages_sha256(LoadPlan(**asdict(plan)))
    others = [replace(plan, salt=2), replace(plan, prompt_tokens="20-41"), replace(plan, system="Be brief.")]
    assert len({messages_sha256(one) for one in [plan, *others]}) == 4
    assert messages_sha256(replace(plan, rate="5", output_tokens="9")) == messages_sha256(plan)


async def sent(plan: LoadPlan, folder: Path, workers: int) -> tuple[dict[int, tuple[int, int | None]], list[bytes]]:
    """Send a plan in so many parts; return prompt and token limit by request id, and the bodies in a fixed order."""
    found: dict[int, tuple[int, int | None]] = {}
    async with scripted(speak) as server:
        for index in range(workers):
            kept = RunFolder.create(folder, "test", parameters={}, run_id=f"{workers}-{index}")
            await run_load(plan, server.endpoint, kept.add, shard=LoadShard(index, workers))
            rows = kept.finish().requests
            assert rows.request_id.is_unique
            limits = rows.max_tokens.astype(object).where(rows.max_tokens.notna(), None)
            found |= dict(zip(rows.request_id, zip(rows.prompt_id, limits, strict=True), strict=True))
        return found, sorted(body for _, body in server.requests)


@pytest.mark.parametrize("kind", ["distinct", "synthetic", "file", "fixed"])
def test_requests_are_the_same_for_any_number_of_workers(tmp_path, kind) -> None:
    rows = lines(*({"prompt": f"question {number}", "max_tokens": number + 1} for number in range(5)))
    fields = {
        "distinct": {"prompts": "distinct"},
        "synthetic": {"prompt_tokens": "5-50", "prefix_share": 0.5, "output_tokens": "1-99"},
        "file": {"prompts_file": written(tmp_path, "p.jsonl", rows)},
        "fixed": {"output_tokens": "1-99"},
    }[kind]
    plan = LoadPlan(concurrency=3, requests=13, warmup=4, salt=7, **fields)
    whole = asyncio.run(sent(plan, tmp_path, 1))
    assert sorted(whole[0]) == list(range(17)) and len(whole[1]) == 17
    for workers in (2, 3):
        assert asyncio.run(sent(plan, tmp_path, workers)) == whole


def test_the_measured_requests_have_the_rows_of_a_file_in_their_order(tmp_path) -> None:
    rows = [{"prompt": f"question {number}", "output_tokens": number + 1} for number in range(5)]
    plan = LoadPlan(concurrency=1, requests=7, warmup=3, prompts_file=written(tmp_path, "p.jsonl", lines(*rows)))
    found, _ = asyncio.run(sent(plan, tmp_path, 1))
    assert [found[number][1] for number in range(3, 10)] == [1, 2, 3, 4, 5, 1, 2]
    assert [found[number][1] for number in range(3)] == [3, 4, 5]  # the warm-up has the rows before them
