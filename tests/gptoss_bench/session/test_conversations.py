"""Conversations with the embedded engine: the history is on the wire, in the counts of the server, and in the run."""

import re

from gptoss_bench.session.evaluate import rebuild_run
from gptoss_client.plan import LoadPlan
from serving import measured_on_tiny

PLAN = LoadPlan(
    concurrency=2, requests=9, turns="3", prompt_tokens="30", think_time="0.02s", max_tokens=12, system=None, warmup=1
)


def test_a_later_turn_has_the_earlier_ones_in_its_prompt(tmp_path) -> None:
    run = measured_on_tiny(PLAN, tmp_path)
    summary, rows = run.load_summary, run.requests[run.requests.phase == "measure"].sort_values("request_id")
    assert summary.completed == summary.requests == 9 and summary.prompts is not None
    assert "conversations of 3 turns, think time 0.02s" in summary.prompts
    for _, turns in rows.groupby("conversation"):
        added = turns.prompt_tokens.diff().dropna()
        assert (added > 25).all()  # the 30 tokens of the user at least, in the vocabulary of this model
    held = summary.conversations
    assert held is not None and [turn.requests for turn in held.turns] == [3, 3, 3]
    assert held.later.cached_share is None or held.later.cached_share > (held.first.cached_share or 0.0)
    assert rows.request_sha256.is_unique and re.fullmatch("[0-9a-f]{64}", rows.request_sha256.iloc[0])
    (again := tmp_path / "again").mkdir()
    names = rebuild_run(run, again)
    assert {"requests.parquet", "summary.json"} <= {*names}
    assert all((again / name).read_bytes() == (run.path / name).read_bytes() for name in names)
