"""A load in its own process and its panel: started, watched, stopped, with no lost request and no orphan process."""

import asyncio
import json
import math
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from html import unescape

import nbformat
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbclient import NotebookClient

import gptoss_bench
from gptoss_bench import bench, bench_async
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.engines.supervisor import descendants
from gptoss_bench.notebook.follower import RunFollower, _in_flight_changes
from gptoss_bench.notebook.live_view import LivePoint, LiveView, Snapshot, render_live_view
from gptoss_bench.notebook.load_card import OVERLAP_WARNING, LoadCard
from gptoss_bench.notebook.run_panel import ENGINE_FIELDS, SHAPE_FIELDS, RunPanel, open_run_panel
from gptoss_bench.runs.folder import Run
from gptoss_bench.session.load_process import LoadProcess
from gptoss_client.errors import RunFailed, UsageError
from gptoss_client.plan import LoadPlan
from serving import PATIENCE_S, below, script, wait_until, wait_until_gone

SMALL = {"concurrency": 2, "requests": 5, "max_tokens": 24}
ENDLESS = LoadPlan(concurrency=2, requests=2000, max_tokens=24)


def listed(load: LoadProcess) -> int:
    """Requests that have ended so far."""
    index = load.path / "traces.jsonl"
    return index.read_bytes().count(b"\n") if index.exists() else 0


def ended(load: LoadProcess):
    wait_until(lambda: load.ended is not None, "the load had ended")
    return load.ended


def test_a_load_that_is_stopped_keeps_completed_requests_and_leaves_no_process(tmp_path):
    load = LoadProcess(ENDLESS, ServerChoice(), results=tmp_path)
    wait_until(lambda: listed(load) >= 3, "three requests had ended")
    family = [load.pid, *below(load.pid)]
    follower = RunFollower(load.path, ENDLESS)
    seen = follower.poll()
    assert seen.done >= 3 and seen.total == 2000 and seen.in_flight == 2 and seen.points
    load.stop()
    load.stop()
    assert ended(load).status == "stopped"
    wait_until_gone(family)
    run = Run.load(load.path)
    assert run.manifest.status == "incomplete" and run.manifest.labels == ["TINY MODEL"]
    assert len(run.requests) == 2000 and set(run.requests.outcome) == {"completed", "cancelled"}
    completed = int((run.requests.outcome == "completed").sum())
    assert completed >= seen.done - seen.failed
    assert run.summary.completed == completed
    whole = follower.final_view(run)
    assert whole.done == (run.requests.outcome != "cancelled").sum() < whole.total


def test_a_stop_of_a_very_long_plan_writes_every_request_that_was_never_sent(tmp_path):
    load = LoadProcess(replace(ENDLESS, requests=100_000), ServerChoice(), results=tmp_path)
    wait_until(lambda: listed(load) >= 1, "a request had ended")
    load.stop()
    assert ended(load).status == "stopped"
    run = Run.load(load.path)
    assert len(run.requests) == len(list(run.traces())) == 100_000
    assert run.requests.error.eq("not sent: the load was stopped").sum() > 99_000
    whole = RunFollower(load.path, load.plan).final_view(run)
    assert whole.done == (run.requests.outcome != "cancelled").sum() and not whole.in_flight


def test_a_stop_while_the_engine_starts_leaves_an_incomplete_run_and_no_process(tmp_path):
    load = LoadProcess(ENDLESS, ServerChoice(), results=tmp_path)
    wait_until((load.path / "manifest.json").exists, "the run was begun")
    family = [load.pid, *descendants(load.pid)]
    load.stop()
    assert ended(load).status == "stopped"
    wait_until_gone(family)
    run = Run.load(load.path)
    assert (run.manifest.status, run.manifest.reason) == ("incomplete", "stopped before its end")
    assert run.requests.empty


def test_a_load_whose_owner_is_killed_ends_by_itself_and_keeps_completed_requests(tmp_path):
    source = """
import sys, time
from pathlib import Path
from gptoss_bench.engines import ServerChoice
from gptoss_bench.session import LoadProcess
from gptoss_client import LoadPlan
load = LoadProcess(LoadPlan(concurrency=2, requests=500, max_tokens=24), ServerChoice(), results=Path(sys.argv[1]))
print(load.pid, load.path, flush=True)
time.sleep(600)
"""
    with script(source, tmp_path) as owner:
        pid, path = owner.stdout.readline().split()
        wait_until(lambda: os.path.exists(f"{path}/traces.jsonl") and os.path.getsize(f"{path}/traces.jsonl"), "one")
        family = [int(pid), *below(int(pid))]
    wait_until_gone(family)
    run = Run.load(path)
    assert run.manifest.status == "incomplete" and run.summary.completed >= 1


def test_a_load_that_is_killed_is_reported_and_its_folder_is_readable(tmp_path):
    load = LoadProcess(ENDLESS, ServerChoice(), results=tmp_path)
    wait_until(lambda: listed(load) >= 1, "a request had ended")
    family = below(load.pid)
    os.kill(load.pid, signal.SIGKILL)
    assert ended(load).status == "failed" and "completed requests were saved" in load.ended.message
    wait_until_gone(family)
    assert len(Run.load(load.path).requests) >= 1


def test_two_loads_run_at_the_same_time(tmp_path):
    loads = [LoadProcess(LoadPlan(**SMALL), ServerChoice(), results=tmp_path) for _ in range(2)]
    assert [load.another_is_running for load in loads] == [True, True]
    assert [ended(load).status for load in loads] == ["complete", "complete"]
    assert len({load.run_id for load in loads}) == 2 and not loads[0].another_is_running


def test_bench_in_a_script_and_what_it_refuses(tmp_path):
    run = bench(results=tmp_path, **SMALL)
    assert run.manifest.status == "complete" and len(run.requests) == 5
    with pytest.raises(UsageError, match="nothing answers at"):
        bench("http://127.0.0.1:9", results=tmp_path, **SMALL)
    with pytest.raises(UsageError, match="no field 'concurency'; did you mean 'concurrency'"):
        bench(concurency=8)
    with pytest.raises(UsageError, match="concurrency must be 1 or more"):
        bench(concurrency=0)
    with pytest.raises(AttributeError):
        gptoss_bench.no_such_name  # noqa: B018


def test_bench_in_a_plain_script(tmp_path):
    source = """
import sys
from gptoss_bench import bench
run = bench(results=sys.argv[1], concurrency=2, requests=5, max_tokens=24)
print(run.manifest.status, len(run.requests))
"""
    with script(source, tmp_path) as process:
        assert process.stdout.read().split() == ["complete", "5"]
        assert process.wait(timeout=PATIENCE_S) == 0


def test_bench_in_a_cell_and_awaited_in_one(tmp_path):
    small = f"results={str(tmp_path)!r}, concurrency=2, requests=5, max_tokens=24"
    cells = [
        f"from gptoss_bench import bench\nrun = bench({small})\nassert run.summary.completed == 5",
        f"from gptoss_bench import bench_async\nrun = await bench_async({small})\nassert run.summary.completed == 5",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(book, timeout=120, kernel_name="python3").execute()  # raises where a cell does
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_a_cancelled_await_stops_the_load(tmp_path):
    async def impatient() -> None:
        task = asyncio.create_task(bench_async(results=tmp_path, concurrency=2, requests=2000, max_tokens=24))
        while not list(tmp_path.glob("runs/*/traces.jsonl")):
            await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(impatient())
    [path] = (tmp_path / "runs").iterdir()
    wait_until(lambda: json.loads((path / "manifest.json").read_text())["status"] == "incomplete", "it was stopped")


def panel(tmp_path, plan: LoadPlan = ENDLESS) -> RunPanel:
    return RunPanel(plan, ServerChoice(), tmp_path)


def test_the_panel_starts_shows_and_stops_a_load(tmp_path):
    async def used() -> list[str]:
        shown = panel(tmp_path)
        shown.start.click()
        [card] = shown.cards.children
        view, stop = card.children
        seen = set()
        async with asyncio.timeout(PATIENCE_S):
            while len(seen) < 3:  # the plot changes as requests end
                await asyncio.sleep(0.2)
                seen |= {view.value} if "<circle" in view.value else set()
            assert all(" requests" in each and each.count(" left") <= 1 for each in seen)
            stop.click()
            assert stop.disabled
            await asyncio.gather(*(card.following for card in LoadCard.under(tmp_path)))
        assert [getattr(each, "description", "") for each in card.children[1:]] == ["Remove"]  # no dead button is left
        return [*seen, view.value]

    *_, last = asyncio.run(used())
    assert "stopped; completed requests were saved" in last and "TINY MODEL" in last and "TTFT (s)" in last
    [path] = (tmp_path / "runs").iterdir()
    summary = Run.load(path).load_summary
    assert summary.completed > 0 and summary.never_sent
    never_sent, way = summary.never_sent, summary.cancelled - summary.never_sent
    for words in (f"never sent: {never_sent}.", f"{way} cancelled on their way; {never_sent} never sent"):
        assert words in unescape(last)
    assert f"{never_sent:,} of the cancelled" in summary._repr_html_()


def test_a_new_panel_shows_the_loads_that_run_and_warns_of_two_at_the_same_time(tmp_path):
    async def used() -> list[str]:
        panel(tmp_path).start.click()
        again = panel(tmp_path)  # its cell was run once more, or the tab was closed and opened again
        [first] = again.cards.children
        again.start.click()
        second, same = again.cards.children
        assert same is first
        async with asyncio.timeout(PATIENCE_S):
            while not all("<circle" in card.children[0].value for card in again.cards.children):
                await asyncio.sleep(0.2)
            for card in (first, second):
                card.children[1].click()
            await asyncio.gather(*(card.following for card in LoadCard.under(tmp_path)))
        return [card.children[0].value for card in again.cards.children]

    for words in asyncio.run(used()):
        assert "stopped; completed requests were saved" in words and OVERLAP_WARNING in words
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_the_panel_shows_what_is_left_of_a_load_that_was_killed(tmp_path):
    async def used() -> str:
        shown = panel(tmp_path)
        shown.start.click()
        [card] = LoadCard.under(tmp_path)
        async with asyncio.timeout(PATIENCE_S):
            while not listed(card.load):
                await asyncio.sleep(0.05)
            os.kill(card.load.pid, signal.SIGKILL)
            await card.following
        assert len(card.box.children) == 2  # the view and Remove
        return card.box.children[0].value

    words = asyncio.run(used())
    assert "failed: the load process ended with code -9; completed requests were saved" in words
    assert "<circle" in words


def test_a_password_in_the_url_is_refused_and_stays_nowhere(tmp_path):
    shown = panel(tmp_path)
    shown.engine.value, shown.url.value = "url", "http://me:hunter2@127.0.0.1:9"
    shown.start.click()
    assert "GPTOSS_API_KEY alone" in shown.message.value
    assert "hunter2" not in shown.message.value + shown.url.value and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("concurrency", 0, "concurrency must be 1 or more, not 0"),
        ("length", 2.5, "the number of requests must be whole, not 2.5"),
        ("length", math.inf, "the number of requests must be whole, not inf"),
        ("sweep", "4,x", "a sweep is a list of concurrencies such as 1,4,16, not"),
        ("repeats", 0, "repeats must be 1 or more, not 0"),
        ("slo", "ttft=fast", "limit 'ttft=fast' is not one of ttft, tpot and e2e with a time"),
        ("shape", "open", "give the requests/s of the open loop, such as 12, or choose a closed loop"),
        ("length", 0, "requests must be 1 or more, not 0"),
        ("max_tokens", -1, "max_tokens must be 1 or more, not -1"),
        ("prompt", "  ", "the prompt is empty"),
        ("engine", "url", "give the URL of the server"),
    ],
)
def test_the_panel_shows_why_it_refuses_a_value_and_starts_nothing(tmp_path, name, value, words):
    shown = panel(tmp_path)
    getattr(shown, name).value = value
    shown.start.click()
    assert words in unescape(shown.message.value) and 'role="alert"' in shown.message.value
    assert shown.cards.children == () and not (tmp_path / "runs").exists()


def test_a_wrong_field_of_the_load_is_named_at_once_and_until_it_is_right(tmp_path):
    shown = panel(tmp_path)
    shown.shape.value = "open"
    assert "give the requests/s" in shown.message.value
    shown.rate.value = "fast"
    assert "rate 'fast' is no rate in requests/s" in unescape(shown.message.value)
    shown.rate.value = "20"
    assert shown.message.value == ""
    shown.max_in_flight.value = 0
    assert "max_in_flight must be 1 or more, not 0" in shown.message.value


def test_the_panel_shows_the_fields_of_the_chosen_prompts_and_names_a_missing_one(tmp_path):
    shown = panel(tmp_path)
    shown.prompts.value = "synthetic"
    assert "prompts 'synthetic' needs prompt_tokens" in unescape(shown.message.value)
    assert (shown.prompt.layout.display, shown.prompt_tokens.layout.display) == ("none", None)
    shown.prompt_tokens.value = "64"
    assert shown.message.value == "" and (shown.plan().prompts, shown.plan().prompt_tokens) == ("synthetic", "64")
    shown.prompts.value, shown.prompts_file.value = "file", str(tmp_path / "none.jsonl")
    assert "none.jsonl" in shown.message.value
    shown.prompts.value = "fixed"
    assert shown.message.value == "" and shown.plan().prompt_tokens is None


def visible(shown: RunPanel) -> set[str]:
    names = {name for names in SHAPE_FIELDS.values() for name in names}
    return {name for name in names if getattr(shown, name).layout.display != "none"}


def test_the_panel_shows_the_fields_of_the_chosen_load_and_sends_no_other(tmp_path):
    shown = panel(tmp_path)
    shown.sweep.value = "1,4"
    assert visible(shown) == {"concurrency", "sweep"} and shown.plan().sweep == (1, 4)
    shown.shape.value, shown.rate.value, shown.burstiness.value = "open", "5:30,10:30", 0.5
    assert visible(shown) == {"rate", "arrivals", "max_in_flight"}
    planned = shown.plan()
    assert (planned.rate, planned.arrivals, planned.burstiness, planned.sweep) == ("5:30,10:30", "poisson", 1.0, ())
    shown.arrivals.value, shown.max_in_flight.value = "gamma", 16
    assert "burstiness" in visible(shown)
    assert (shown.plan().burstiness, shown.plan().max_in_flight) == (0.5, 16)
    again = panel(tmp_path, shown.plan())
    assert again.shape.value == "open" and replace(again.plan(), salt=0) == replace(shown.plan(), salt=0)
    shown.shape.value = "closed"
    assert shown.plan().rate is None and shown.plan().sweep == (1, 4)


def test_the_panel_repeats_an_open_loop_with_limits_and_shows_what_a_closed_loop_hides(tmp_path):
    async def used() -> tuple[str, str]:
        shown = panel(tmp_path, LoadPlan(rate="20", requests=24, concurrency=2, max_tokens=8))
        shown.slo.value, shown.repeats.value = "ttft=30s", 2
        shown.start.click()
        async with asyncio.timeout(5 * PATIENCE_S):
            await shown.repeating
        return shown.message.value, shown.cards.children[0].children[0].value

    message, view = asyncio.run(used())
    runs = [Run.load(path) for path in sorted((tmp_path / "runs").iterdir())]
    assert [run.manifest.status for run in runs] == ["complete"] * 2
    first, second = (run.manifest for run in runs)
    assert first.repeat_group is not None and first.repeat_group == second.repeat_group
    assert {1} == {abs(first.parameters[name] - second.parameters[name]) for name in ("salt", "arrival_seed")}
    assert [run.summary.slo.ttft_s for run in runs] == [30.0, 30.0]
    assert all(run.summary.goodput_share is not None for run in runs)
    assert "TTFT p50, s" in message and "<pre" in message
    assert "TTFT ≤ 30 s" in view and 'alt="p50 of TTFT: ' in view and "data:image/svg+xml;base64," in view


def test_the_panel_shows_why_a_server_does_not_answer(tmp_path):
    async def used() -> str:
        shown = panel(tmp_path)
        shown.engine.value, shown.url.value = "url", "http://127.0.0.1:9"
        shown.start.click()
        await asyncio.gather(*(card.following for card in LoadCard.under(tmp_path)))
        return shown.cards.children[0].children[0].value

    assert "nothing answers at http://127.0.0.1:9" in asyncio.run(used())


def test_a_profile_fills_in_the_controls(tmp_path):
    shown = panel(tmp_path, LoadPlan(concurrency=3, requests=None, duration_s=7.0))
    assert (shown.length.value, shown.length_unit.value) == (7.0, "seconds") and shown.plan().duration_s == 7.0
    shown.profile.value = "smoke"
    assert (shown.plan().concurrency, shown.plan().requests, shown.plan().max_tokens) == (2, 8, 64)
    shown.profile.value = "h100"
    assert shown.server() == ServerChoice(model="openai/gpt-oss-20b", engine="vllm")
    assert (shown.plan().concurrency, shown.plan().requests, shown.plan().token_counts) == (256, 2000, False)
    shown.profile.value = "a10"
    assert shown.server() == ServerChoice(model="gpt-oss:20b", engine="ollama", context=8192)
    assert shown.plan().options == {"num_ctx": 8192}
    shown.profile.value = "vllm-cpu"
    assert shown.server().engine_flags == "--enforce-eager" and shown.plan().options == {}
    shown.profile.value = "local"
    assert shown.server() == ServerChoice()


def test_each_profile_fills_in_a_load_that_can_be_started(tmp_path):
    for name in panel(tmp_path).profile.options[1:]:
        shown = panel(tmp_path)
        shown.profile.value = name
        assert shown.plan().requests and not shown.message.value
        if name == "endpoint":
            shown.url.value = "http://127.0.0.1:9"
        shown.server()


def test_without_a_frontend_the_last_view_of_a_complete_run_is_shown(tmp_path, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    shown = asyncio.run(open_run_panel(LoadPlan(**SMALL), ServerChoice(), results_dir=str(tmp_path), run_id="run-7"))
    assert "5 of 5 requests" in shown.data and "<circle" in shown.data and "<button" not in shown.data
    assert "TINY MODEL: run-7" in shown.data
    assert Run.load(tmp_path / "runs" / "run-7").manifest.status == "complete"
    with pytest.raises(RunFailed, match="no request completed"):
        short = LoadPlan(concurrency=1, requests=1, timeout_s=0.001)
        asyncio.run(open_run_panel(short, ServerChoice(), results_dir=str(tmp_path)))


@settings(deadline=None)  # 144 steps are compared one by one
@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 5)), min_size=1, max_size=40))
def test_the_curve_of_requests_in_flight_is_their_mean_over_each_step(spans_s):
    sent_ns = pd.Series([int(begin * 1e9) for begin, _ in spans_s], dtype="Int64")
    done_ns = sent_ns + pd.Series([int(took * 1e9) for _, took in spans_s], dtype="Int64")
    changes = _in_flight_changes(pd.DataFrame({"sent_ns": sent_ns, "done_ns": done_ns}), 0)
    sent, done = sent_ns.to_numpy("int64"), done_ns.to_numpy("int64")
    begins = np.arange(4 * 36)[:, np.newaxis] * 250_000_000
    overlaps_ns = (done.clip(begins, begins + 250_000_000) - sent.clip(begins, begins + 250_000_000)).sum(axis=1)
    means = np.cumsum([changes.get(step, 0.0) for step in range(4 * 36)])
    assert means == pytest.approx(overlaps_ns / 250_000_000, abs=1e-6)


def test_the_live_view_has_every_quantity_and_gpu_memory_where_there_is_a_gpu():
    points = (LivePoint(1.0, 0.2, 0.01, 0.0001), LivePoint(2.0, None, None, None))
    snapshots = (Snapshot(1.0, 0, None), Snapshot(2.0, 1, 3 << 30))
    seen = LiveView(2, 4, 0.5, 1, 2, 1.0, points, ((0.0, 40.0),), ((0.0, 2.0), (0.25, 1.0)), snapshots)
    shown = render_live_view(seen, "run", "running")
    assert "1 requests/s · 2 in flight · " in shown and "1 failed" in shown
    ended = render_live_view(replace(seen, beside="warm-up"), "run", "read it with `report`", ended=True)
    assert "2 of 4 requests, warm-up included · " in ended and "in flight ·" not in ended
    assert "read it with <code>report</code>" in ended
    titles = re.findall('aria-label="([^"]*)"', shown)
    assert titles[-1] == "GPU memory, GiB" and len(titles) == 7
    assert shown.count("<circle") == 3 and shown.count("<polyline") == 4
    assert "width:50.0%" in shown and "NaN" not in shown and "nan" not in shown


def test_the_live_view_escapes_its_title():
    nothing = LiveView(0, None, None, 0, 0, None, (), (), (), ())
    assert "<script" not in render_live_view(nothing, "<script>alert(1)</script>")


def test_the_package_itself_imports_nothing_until_it_is_asked():
    source = (
        "import sys, gptoss_bench; print('pandas' in sys.modules); gptoss_bench.bench; print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_only_the_fields_of_the_chosen_engine_are_shown_and_used(tmp_path):
    shown = panel(tmp_path)
    shown.context.value, shown.sweep.value = 4096, "1,2"
    expected = {
        "embedded": {"token_counts"},
        "url": {"url", "model", "label", "token_counts"},
        "vllm": {"model", "context", "prefix_caching", "engine_flags", "token_counts"},
        "ollama": {"model", "context"},
        "transformers": {"model", "context", "engine_flags"},
    }
    for engine, fields in expected.items():
        shown.engine.value = engine
        assert {name for name in ENGINE_FIELDS if getattr(shown, name).layout.display is None} == fields
    shown.engine.value = "embedded"
    assert shown.server() == ServerChoice() and shown.plan().sweep == (1, 2)
