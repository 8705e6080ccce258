"""Runs of one load are joined by hardware; machines and not runs are the sample."""

from pathlib import Path

from gptoss_bench.runs.folder import Run
from gptoss_bench.runs.labels import REMOTE_LABEL
from gptoss_bench.runs.manifest import EndpointRecord, InstalledGpu, Machine, Manifest
from gptoss_bench.runs.summary import LoadSummary
from gptoss_bench.site.machines import runs_by_hardware


def made(
    machine: str | None,
    rate: float,
    gpu: str = "NVIDIA A10",
    concurrency: int = 8,
    *,
    status: str = "complete",
    version: str = "0.32.0",
) -> Run:
    manifest = Manifest(
        run_id="r",
        scenario="load",
        status=status,
        labels=[],
        gpus=[InstalledGpu(name=gpu)],
        machine=Machine(id=machine),
        endpoint=EndpointRecord(engine="vllm", version=version, model="gpt-oss-20b"),
        parameters={"concurrency": concurrency, "requests": 100, "max_tokens": 256},
    )
    return Run(Path("r"), manifest, LoadSummary(output_tok_s_total=rate))


def test_runs_of_a_machine_count_once_and_three_machines_give_an_interval():
    runs = [made("a", 90.0), made("a", 110.0), made("b", 104.0), made("c", 96.0)]
    [row] = runs_by_hardware(runs)
    assert row.hardware == "NVIDIA A10"
    assert row.counts == "4 runs on 3 machines"
    # Mean 100 and standard deviation 4 of three machines: 100 ± 4.3027 × 4 / √3.
    assert row.rate == f"100 [{100 - 9.937:.0f}, {100 + 9.937:.0f}] tokens/s over 3 machines"


def test_two_machines_give_no_interval_and_another_load_or_card_is_another_row():
    runs = [made("a", 90.0), made("b", 110.0), made("a", 50.0, concurrency=1), made("d", 900.0, "NVIDIA H100 NVL")]
    rows = runs_by_hardware([*runs, made("e", 1.0, status="incomplete")])
    assert [row.counts for row in rows] == ["1 run on 1 machine", "2 runs on 2 machines", "1 run on 1 machine"]
    assert rows[1].rate == "100 tokens/s"


def test_machines_that_say_nothing_count_as_one():
    [row] = runs_by_hardware([made(None, 90.0), made(None, 100.0)])
    assert row.counts == "2 runs on 1 machine"


def test_one_machine_is_one_however_often_it_ran_and_five_give_a_narrower_interval_than_three():
    [one] = runs_by_hardware([made("a", 80.0), made("a", 120.0), made("a", 100.0)])
    assert (one.counts, one.rate) == ("3 runs on 1 machine", "100 tokens/s")
    [five] = runs_by_hardware([made(name, rate) for name, rate in zip("abcde", (90.0, 95, 100, 105, 110), strict=True)])
    # Standard deviation 7.906 of five machines: 100 ± 2.7764 × 7.906 / √5.
    assert (five.counts, five.rate) == ("5 runs on 5 machines", "100 [90, 110] tokens/s over 5 machines")


def test_another_release_of_the_engine_is_another_row_and_the_version_of_an_emulator_is_not_shown():
    rows = runs_by_hardware(
        [made("a", 90.0), made("b", 90.0, version="0.33.0"), made("c", 9, version="0.0.0-embedded")]
    )
    assert [row.load.partition(",")[0] for row in rows] == ["vllm 0.32.0", "vllm 0.33.0", "vllm"]


def test_servers_on_other_machines_are_told_apart_by_their_address():
    runs = [made("a", rate) for rate in (90.0, 50.0, 70.0)]
    for run, host in zip(runs, ("one", "two", "two"), strict=True):
        run.manifest.labels.append(REMOTE_LABEL)
        run.manifest.endpoint = EndpointRecord(engine="vllm", version="0.32.0", model="m", url=f"http://{host}:8000")
    rows = runs_by_hardware(runs)
    assert [(row.load.rpartition(" ")[2], row.runs) for row in rows] == [("http://one:8000", 1), ("http://two:8000", 2)]


def test_an_open_loop_has_no_slots_and_what_was_sent_is_part_of_a_load():
    run = made("a", 90.0)
    run.manifest.parameters["rate"] = "3"
    other = made("a", 90.0)
    other.summary.prompts = "random words, 20 tokens each"
    rows = runs_by_hardware([run, other, made("a", 90.0)])
    assert sorted(row.load.partition(": ")[2] for row in rows) == [
        "100 requests, 3 a second, at most 256 tokens",
        "100 requests, 8 at a time, at most 256 tokens",
        "100 requests, 8 at a time, at most 256 tokens, prompts: random words, 20 tokens each",
    ]
