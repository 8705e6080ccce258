"""Files that a load is made from: the published traces are read as they are, anything wrong is one line."""

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_client.errors import UsageError
from gptoss_client.load_file import read_arrivals
from gptoss_client.plan import LoadPlan

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:50.9951690,879,55
"""
BURSTGPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,230,1317,Conversation log
118,GPT-4,417,276,693,Conversation log
"""
MOONCAKE = """{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]}
{"timestamp": 3052, "input_length": 7234, "output_length": 794, "hash_ids": [0, 38]}
"""


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("azure.csv", AZURE, [0, 4.314579, 4.314579]),
        ("burstgpt.csv", BURSTGPT, [0, 40, 113]),
        ("mooncake.jsonl", MOONCAKE, [0, 3.052]),
        ("own.jsonl", '\n{"timestamp": 1.5}\n\n{"timestamp": 2}\n', [0, 0.5]),
        ("own.json", '[{"timestamp_ms": 1500}, {"timestamp_ms": 1750.5}]', [0, 0.2505]),
        ("own.csv", "\ufeffArrival time\r\n0\r\n7\r\n", [0, 7]),
        ("zones.jsonl", '{"time": "2024-05-10T02:00:00+02:00"}\n{"time": "2024-05-10T00:00:01Z"}', [0, 1]),
    ],
)
def test_the_published_traces_are_read_as_they_are(tmp_path, name, text, expected) -> None:
    path = written(tmp_path, name, text)
    assert list(read_arrivals(path).offsets_s) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "timestamp\n0\n2\n1\n", "a.csv line 4: its time is before that of line 3: sort the file by time"),
        ("a.csv", "timestamp\n0\n-1\n", "a.csv line 3: timestamp '-1' is no time"),
        ("a.csv", "timestamp\nnan\n", "a.csv line 2: timestamp 'nan' is no time"),
        ("a.csv", "timestamp\n1e999\n", "a.csv line 2: timestamp '1e999' is no time"),
        ("a.csv", "timestamp\nsoon\n", "a.csv line 2: timestamp 'soon' is no time"),
        ("a.csv", "timestamp,n\n0\n", "a.csv line 2 has not as many fields as the header"),
        ("a.csv", "when\n0\n", "a.csv line 2 has no time: name its column timestamp or timestamp_s or"),
        ("a.csv", "timestamp\n", "a.csv has no rows"),
        ("a.jsonl", "", "a.jsonl has no rows"),
        ("a.jsonl", '{"timestamp": 0}\n{"timestamp": 1', "a.jsonl line 2 is no JSON"),
        ("a.jsonl", '{"timestamp": 0}\n[1]\n', "a.jsonl line 2 is no JSON object"),
        ("a.jsonl", '{"timestamp": true}\n', "a.jsonl line 1: timestamp 'True' is no time"),
        ("a.json", '[{"timestamp": 0},\n{"timestamp": }]', "a.json line 2 is no JSON"),
        ("a.jsonl", "[" * 100_000, "a.jsonl line 1 is no JSON (nested too deeply"),
        ("a.parquet", "PAR1", "a.parquet is Parquet: convert it with pandas"),
    ],
)
def test_a_file_that_is_no_trace_is_refused_with_its_line(tmp_path, name, text, message) -> None:
    with pytest.raises(UsageError) as reported:
        LoadPlan(replay=written(tmp_path, name, text), requests=None)
    assert str(reported.value).startswith(message)
    assert "\n" not in str(reported.value)


def test_bytes_that_are_no_text_are_refused_with_their_line(tmp_path) -> None:
    (tmp_path / "a.csv").write_bytes(b"timestamp\n0\n\xff\n")
    with pytest.raises(UsageError, match="line 3 is not UTF-8"):
        read_arrivals(str(tmp_path / "a.csv"))


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30), st.sampled_from(["jsonl", "csv", "iso"]))
def test_any_rising_times_come_back_from_any_format(tmp_path_factory, times, form) -> None:
    times = sorted(round(time, 3) for time in times)
    begin = datetime(2024, 1, 1, tzinfo=UTC)
    shown = [(begin + timedelta(seconds=time)).isoformat() if form == "iso" else time for time in times]
    text = "".join(f"{time}\n" for time in ["timestamp", *shown])
    if form == "jsonl":
        text = "".join(json.dumps({"timestamp": time}) + "\n" for time in shown)
    path = written(tmp_path_factory.mktemp("trace"), "a.jsonl" if form == "jsonl" else "a.csv", text)
    assert list(read_arrivals(path).offsets_s) == pytest.approx([time - times[0] for time in times], abs=2e-6)


def test_a_plan_replays_a_part_of_a_file_at_another_speed(tmp_path) -> None:
    path = written(tmp_path, "a.csv", "timestamp\n0\n10\n20\n30\n")
    assert list(LoadPlan(replay=path, requests=None).arrival_offsets()) == [0, 10, 20, 30]
    assert list(LoadPlan(replay=path, replay_speed=10.0, requests=3).arrival_offsets()) == [0, 1, 2]
    shorter = LoadPlan(replay=path, replay_speed=10.0, requests=None, duration_s=2.0)
    assert list(shorter.arrival_offsets()) == [0, 1]


def test_a_plan_knows_the_hash_of_its_trace_and_refuses_another_one(tmp_path) -> None:
    path = written(tmp_path, "a.csv", "timestamp\n0\n10\n")
    plan = LoadPlan(replay=path, requests=None)
    assert LoadPlan(**asdict(plan)) == plan
    written(tmp_path, "a.csv", "timestamp\n0\n10\n20\n")
    with pytest.raises(UsageError, match="has changed since the plan was made"):
        LoadPlan(replay=path, requests=None, replay_sha256=plan.replay_sha256)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rate": "5"}, "from replay or from rate: give one of them"),
        ({"replay_speed": 0.0}, "replay_speed must be a number above 0"),
        ({"sweep": (1,)}, "a sweep is of closed loops"),
        ({"requests": 3}, "the trace has 2 arrivals: plan no more"),
        ({"replay": "nowhere.csv"}, "cannot read nowhere.csv: No such file"),
        ({"replay": "a\0b"}, "cannot read"),
        ({"replay": None}, "set either requests or duration_s"),
    ],
)
def test_what_does_not_fit_a_replay_is_refused(tmp_path, fields, message) -> None:
    path = written(tmp_path, "a.csv", "timestamp\n0\n10\n")
    with pytest.raises(UsageError, match=message):
        LoadPlan(**{"replay": path, "requests": None} | fields).arrival_offsets()
