"""The figure of one server measured by this kit and three other tools: values, missing values and notes."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.text import Text

from folders import TESTS
from gptoss_bench.calibration.reference.engine import serve_reference
from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.cli.main import main
from gptoss_bench.figures.side_by_side import NOT_REPORTED, results_side_by_side
from gptoss_bench.importers.detect import parse_results
from gptoss_bench.lint.results import Result, read_results
from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.stats.percentiles import REPORTED_PERCENTILES
from gptoss_bench.stats.side_by_side import COMPARED_QUANTITIES, points_side_by_side
from gptoss_bench.stats.summary import summarise
from serving import held
from streams import chat
from tool_files import LLAMA_BENCH, OLLAMA_TEXT, VLLM_ALL_FAILED, VLLM_ZEROS

FILES = TESTS / "imported"
TTFT_S, ITL_S, TOKENS = 0.1, 0.01, 32  # of the server that all of them measured
SERVER = ReferencePlan(ttft_s=TTFT_S, itl_s=ITL_S, jitter_s=0.004, tokens=TOKENS, role="early")
KIT, VLLM, GUIDELLM, AIPERF = range(4)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A run of this kit's load against the same server, and the files of the others."""
    results = tmp_path_factory.mktemp("results")
    with held(serve_reference(SERVER, results)) as server:
        load = ["load", "--url", server.url, "--model", server.model, "-c", "4", "-n", "24", "--max-tokens", "32"]
        assert main([*load, "--warmup", "4", "--results", str(results)]) == 0
    packed = results / "guidellm.json"
    packed.write_bytes(gzip.decompress((FILES / "guidellm.json.gz").read_bytes()))
    [run] = (results / "runs").iterdir()
    return [run, FILES / "vllm-bench-serve-detailed.json", packed, FILES / "aiperf.json"]


@pytest.fixture(scope="module")
def results(files: list[Path]) -> list[Result]:
    return [result for file in files for result in read_results(file)]


def words(axes) -> list[str]:
    return [text.get_text() for text in axes.findobj(Text) if text.get_text()]


def drawn(axes, result: int) -> dict[str, float]:
    """Return the x position of each percentile mark of a result in a panel."""
    shapes = {"o": "p50", "s": "p90", "^": "p99"}
    marks = [line for line in axes.get_lines() if line.get_marker() in shapes and list(line.get_ydata()) == [result]]
    return {shapes[line.get_marker()]: float(line.get_xdata()[0]) for line in marks}


def test_all_stand_on_the_same_axes_with_their_own_values(results) -> None:
    panels = results_side_by_side(results).axes
    assert [axes.get_title() for axes in panels] == list(COMPARED_QUANTITIES.values())
    ttft, itl, tpot, latency = ([drawn(axes, result) for result in range(4)] for axes in panels)
    for result in (KIT, GUIDELLM, AIPERF):
        assert ttft[result]["p50"] == pytest.approx(TTFT_S, rel=0.5)
        assert tpot[result]["p50"] == pytest.approx(ITL_S * 1e3, rel=0.5)
    assert ttft[VLLM]["p50"] < TTFT_S / 10  # its first chunk is the role chunk
    every = set(REPORTED_PERCENTILES)
    assert [set(each) for each in itl] == [every, every, set(), every]
    for result, one in enumerate(results):
        assert latency[result] == pytest.approx({at: one.summary.done_s.at(at) for at in REPORTED_PERCENTILES})


def test_what_is_not_reported_or_defined_otherwise_is_noted_in_the_figure(results) -> None:
    figure = results_side_by_side(results)
    ttft, itl, *_ = figure.axes
    notes = {note: number for number, note in points_side_by_side(results).notes.items()}
    [of_ttft] = [number for note, number in notes.items() if note.startswith("TTFT is to the first chunk")]
    [of_itl] = [number for note, number in notes.items() if note.startswith("ITL, as it calls a request's mean")]
    assert any(text.endswith(f" [{of_ttft}]") for text in words(ttft))
    assert f"{NOT_REPORTED} [{of_itl}]" in words(itl)
    footer = " ".join(figure.get_supxlabel().split())
    assert all(f"[{number}] {note}" in footer for note, number in notes.items())
    assert "empty mark: not resolved" in footer
    assert "REFERENCE SERVER" in words(figure)


def test_an_interval_is_drawn_where_the_run_is_long_enough(results) -> None:
    points = points_side_by_side(results).points.set_index(["result", "quantity", "percentile"])
    assert points[["low_s", "high_s"]].isna().all(axis=None)  # short runs and files of other tools
    assert pd.isna(points.loc[(GUIDELLM, "itl_s", "p50"), "value_s"])
    requests, events = derive_tables([chat(40 + n * 5 % 7, 10, 5, n, sent_ms=200.0 * n) for n in range(120)])
    one = Result("r", summarise(requests, events, concurrency=1), requests, {})
    points = points_side_by_side([one]).points.set_index(["quantity", "percentile"])
    assert points.loc["ttft_s", "low_s"].notna().to_dict() == {"p50": True, "p90": True, "p99": False}
    low, value, high = points.loc[("ttft_s", "p90"), ["low_s", "value_s", "high_s"]]
    assert 0.040 <= low <= value <= high <= 0.047


def test_the_published_block_is_drawn_with_them_though_it_reports_less(results) -> None:
    [block] = read_results(FILES / "write-up.txt")
    _, itl, tpot, latency = results_side_by_side([*results, block]).axes
    assert NOT_REPORTED in words(itl)
    assert NOT_REPORTED in words(tpot)
    assert drawn(latency, 4) == {"p50": 8.835, "p90": 11.235, "p99": 14.755}


def rate_result(name: str, content: object) -> list[Result]:
    return [
        Result(f"{name}: {one.title}", one.summary, one.requests, one.manifest, one.notes)
        for one in parse_results(content if isinstance(content, str) else json.dumps(content), name)
    ]


def test_prefill_and_decode_rates_are_drawn_by_test_where_they_are_measured() -> None:
    several = [*rate_result("bench.json", LLAMA_BENCH[:2]), *rate_result("ollama.txt", OLLAMA_TEXT)]
    prefill, decode = results_side_by_side(several).axes  # no other quantity is reported
    assert (prefill.get_title(), decode.get_title()) == ("Prefill", "Decode")
    assert {"512 @ 4096: 900", "400"} <= set(words(prefill))
    assert {"128: 80", "40"} <= set(words(decode))
    marks = [line for line in decode.get_lines() if line.get_marker() == "D"]
    assert [line.get_markerfacecolor() == "white" for line in marks] == [False, True]  # n = 3 and n = 1


def test_zeros_and_failed_loads_have_no_marks() -> None:
    several = [*rate_result("zeros.json", VLLM_ZEROS), *rate_result("failed.json", VLLM_ALL_FAILED)]
    ttft, itl, tpot, latency = results_side_by_side(several).axes
    assert [len(drawn(axes, 0)) for axes in (ttft, itl, tpot, latency)] == [0, 0, 2, 0]
    assert [len(drawn(axes, 1)) for axes in (ttft, itl, tpot, latency)] == [0, 0, 0, 0]
    assert sum(text.startswith(NOT_REPORTED) for text in words(ttft)) == 2


@pytest.mark.parametrize(("kind", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_the_command_writes_the_format_of_the_file_name(files, tmp_path, capsys, kind, start) -> None:
    picture = tmp_path / f"beside.{kind}"
    assert main(["draw", *map(str, files), "--out", str(picture)]) == 0
    assert picture.read_bytes().startswith(start)
    assert capsys.readouterr().out == f"{picture}\n"
    assert list(tmp_path.iterdir()) == [picture]


@pytest.mark.parametrize(
    ("results", "out", "message"),
    [
        ("write-up.txt", "a.gif", "must end in .svg, .png, .pdf"),
        ("write-up.txt", "none/a.svg", "cannot write to"),
        ("README.md", "a.svg", "is no result that can be read"),
        ("nothing", "a.svg", "there is no run"),
    ],
)
def test_bad_usage_is_one_line(tmp_path, capsys, results, out, message) -> None:
    assert main(["draw", str(FILES / results), "--out", str(tmp_path / out)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line
    assert list(tmp_path.iterdir()) == []
