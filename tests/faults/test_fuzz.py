"""Damaged run folders and odd arguments: a run that can be read, or one line; never a traceback."""

import contextlib
import json
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faults import count, rounds
from gptoss_bench.cli.main import COMMANDS, main
from gptoss_bench.runs.catalogue import readable_runs
from gptoss_bench.runs.folder import Run, RunFolder
from gptoss_bench.session.evaluate import finish_interrupted
from gptoss_client.errors import UsageError
from streams import chat

SETTINGS = {"suppress_health_check": list(HealthCheck), "deadline": None}
REQUESTS = 12


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Path:
    """The folder of a run whose process was killed."""
    folder = RunFolder.create(tmp_path_factory.mktemp("killed"), "load", parameters={"concurrency": 2})
    for number in range(REQUESTS):
        folder.add(chat(10, 20, 4, number))
    folder._spool.close()
    return folder.path


@given(
    st.sampled_from(["traces.jsonl", "raw.bin"]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=6)), max_size=6),
    st.floats(0.3, 1),
)
@settings(max_examples=rounds(15, 500), **SETTINGS)
def test_a_damaged_spool_gives_the_requests_that_are_whole(killed, tmp_path_factory, name, changes, kept):
    copy = tmp_path_factory.mktemp("copy") / killed.name
    shutil.copytree(killed, copy)
    content = bytearray((copy / name).read_bytes())
    for where, new in changes:
        at = int(where * len(content))
        content[at : at + len(new)] = new
    (copy / name).write_bytes(content[: int(kept * len(content))])
    before = Run.load(copy).requests
    assert len(before) <= REQUESTS
    run = finish_interrupted(copy)
    assert run.requests.equals(before)
    assert run.finished
    count("damaged spools read and finished")


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("schema_version", "run_id", "scenario", "status", "label", "labels", "endpoint", "machine", "parameters")


@given(st.dictionaries(st.sampled_from(FIELDS), values, max_size=3), st.sampled_from([1, 2]))
@settings(max_examples=rounds(40, 1500), **SETTINGS)
def test_any_manifest_is_a_run_or_one_line_and_stops_no_search_for_others(tmp_path_factory, fields, schema):
    results = tmp_path_factory.mktemp("results")
    folder = results / "runs" / "x-load-1"
    folder.mkdir(parents=True)
    manifest = {"schema_version": schema, "run_id": "x", "scenario": "load", "status": "complete", **fields}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    good = RunFolder.create(results, "calibration", parameters={}, run_id="good").finish()
    assert good.run_id in [run.run_id for run in readable_runs(results)]
    with contextlib.suppress(UsageError):
        Run.load(folder)
    count("manifests read")


ODD = ["", "-", "--", "\udcff", "x" * 5000, "../../..", "/dev/null", "nan", "inf", "1e999", "-1", "0", "②:1", "\u202e",
       "http://xn--", "http://[", "http://h:99999", "{", "\n", "\x00", "'", "%s", "--help=1", "~", "a\tb"]  # fmt: skip
OPTIONS = ["--url", "--model", "--results", "--prompt", "--requests", "--temperature", "--timeout", "--profile", "-p",
           "--out", "--gpu", "--port", "--log", "--until", "--sweep", "--fail-if", "--engine", "--context"]  # fmt: skip
WORK = {
    "bench",
    "capacity",
    "attempt",
    "random-checkpoint",
    "reference-server",
    "doctor",
    "run",
    "calibrate",
    "certify",
    "method-trial",
    "site",
    "lab",  # it serves until it is stopped
}
WITHOUT_WORK = sorted(COMMANDS.keys() - WORK)


def test_any_arguments_are_one_line_and_no_traceback(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    choose = random.Random(7)
    for _ in range(rounds(25, 500)):
        words = choose.choices([*ODD, *OPTIONS], k=choose.randrange(4))
        words = [word for word in words if "\x00" not in word]  # the system passes none
        command = choose.choice(WITHOUT_WORK)
        code = main([command, *words, "--results", str(tmp_path)] if command in ("load", "runs") else [command, *words])
        err = capsys.readouterr().err
        assert code in (0, 2, 3), (command, words, err)
        assert "its traceback is in" not in err and "Traceback" not in err, (command, words, err)
        assert code in (0, 3) or len(err.strip().splitlines()) == 1, (command, words, err)
        count("odd command lines refused in one line")
