"""The report on one run has every known value, and marks the others as unknown."""

import re
import subprocess
from html import unescape

import pytest

import published
from gptoss_bench import paths
from gptoss_bench.claims.verdicts import verdicts_from_table
from gptoss_bench.cli.main import main
from gptoss_bench.runs.finding import Finding
from gptoss_bench.runs.folder import Run, RunFolder
from gptoss_bench.runs.manifest import Manifest
from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.runs.summary import Slo
from gptoss_bench.site.render import escape_markdown
from gptoss_bench.site.report import HourlyPrice, make_report, report_on, report_page, usd_per_mtok
from gptoss_bench.stats.summary import summarise
from site_pages import Page, browse, console, needs_browser
from streams import chat, trace

PUBLISHED = published.VERDICTS
RUNS = [Run.load(paths.RUNS / run_id) for run_id in Run.load(paths.RUNS / PUBLISHED).summary.runs]
SECTIONS = [
    "Result block",
    "Error bar",
    "Findings of the linter",
    "Verdicts that rest on this run",
    "Cost and energy",
]
MANIFEST = Manifest.model_validate(
    {
        "run_id": "20260101T000000Z-load-000000",
        "status": "complete",
        "reason": None,
        "labels": [],
        "start_utc": "2026-01-01T00:00:00+00:00",
        "end_utc": "2026-01-01T00:01:00+00:00",
        "code": {"version": "0.1.0", "commit": "abc", "dirty": True},
        "machine": {"cpu": "a CPU", "cores": 2},
        "endpoint": {"model": "m", "engine": "e"},
    }
)


def summary(**more):
    requests, events = derive_tables([chat(40, 10, 6, n, sent_ms=101.0 * n) for n in range(20)])
    return summarise(requests, events, concurrency=1).model_copy(update=more)


def written(*given) -> str:
    return make_report(*given).markdown()


def section(page: str, name: str) -> str:
    return page.partition(f"## {name}\n")[2].partition("\n## ")[0].strip()


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.run_id)
def test_the_page_of_each_published_run_has_every_section(run):
    page = report_on(run).markdown()
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == SECTIONS
    assert all(section(page, name) for name in SECTIONS)
    assert not re.search(r"\b(nan|None)\b", page)
    if run.manifest.labels:
        assert f"**{', '.join(run.manifest.labels)}**" in page
    for verdict in verdicts_from_table(Run.load(paths.RUNS / PUBLISHED).table("verdicts")):
        if verdict.run_id == run.run_id and run.scenario != "load":  # which counts as another scenario by name only
            assert f"| {verdict.claim_id.partition('-')[0]} | {verdict.says} |" in page


def test_a_price_becomes_the_cost_of_a_million_tokens():
    assert usd_per_mtok(HourlyPrice(3.6, "2026-01-01"), 1000.0) == pytest.approx(1.0)
    assert usd_per_mtok(HourlyPrice(3.6, "2026-01-01"), None) is None
    rate = summary().output_tok_s_total
    cost = section(written(MANIFEST, summary(), [], [], HourlyPrice(3.6, "2026-01-01")), "Cost and energy")
    assert f"{1000 / rate:.3g} USD at 3.6 USD per hour on 2026-01-01" in cost
    tiny = written(
        MANIFEST.model_copy(update={"labels": ["TINY MODEL"]}), summary(), [], [], HourlyPrice(3.6, "2026-01-01")
    )
    assert f"TINY MODEL: {1000 / rate:.3g} USD" in tiny
    failed = summarise(
        *derive_tables([trace([], 0, sent_ns=None, status=None, ending="connect", error="no")]), concurrency=1
    )
    assert "unknown: no token rate" in written(MANIFEST, failed, [], [], HourlyPrice(3.6, "2026-01-01"))


def test_what_a_gpu_reports_is_on_the_page_and_the_rest_is_called_unknown():
    reported = section(written(MANIFEST, summary(power_w=312.04, energy_j_per_tok=0.1234), [], []), "Cost and energy")
    assert "312.0 W" in reported
    assert "0.123 J" in reported
    silent = section(written(MANIFEST, summary(), [], []), "Cost and energy")
    assert silent.count("unknown:") == 3


def test_a_run_that_was_not_linted_is_not_called_clean():
    assert "not linted" in written(MANIFEST, summary(), None, [])
    assert "No rule fired." in written(MANIFEST, summary(), [], [])


def test_the_report_on_an_open_loop_says_and_shows_what_a_closed_loop_hides(tmp_path):
    traces = [chat(40, 10, 6, n, sent_ms=20.0 * n) for n in range(40)]
    folder = RunFolder.create(tmp_path, "load", parameters={"concurrency": 8, "rate": "50", "slo": {"ttft_s": 0.5}})
    for one in traces:
        folder.add(one)
    folder.finish(summarise(*derive_tables(traces), concurrency=None, slo=Slo(ttft_s=0.5), full_length=True))
    run = Run.load(folder.path)
    assert "from due 0.0" in repr(run) and "100.0% within the SLO" in repr(run)
    report = report_on(run)
    text = section(report.markdown(), "What a closed loop hides")
    assert text.startswith("p50 of TTFT: ") and "(computed)" in text
    assert text in unescape(report.html()) and "data:image/svg+xml;base64," in report.html()
    page = report_page(run, tmp_path / "pictures", "load", "Of this run.")
    assert page.pictures[0].file == "pictures/load-1.svg"
    assert "What a closed loop hides" in page.cells[1].html and unescape(page.cells[1].outputs[1].html).count(text)


def test_a_cell_of_a_table_stays_one_cell():
    assert escape_markdown("x|y\n<two>") == r"x\|y &lt;two>"
    finding = Finding("a-rule", "note", "x|y", "one\n<two>")
    report = make_report(MANIFEST, summary(), [finding], [])
    assert r"| **note** | a-rule | x\|y | one &lt;two> |" in report.markdown().splitlines()
    assert "<td>x|y</td>" in report.html()
    assert "one\n&lt;two&gt;" in report.html()


def test_an_interrupted_run_is_marked_and_decides_nothing(tmp_path):
    folder = RunFolder.create(tmp_path, "load", parameters={})
    folder.add(chat(40, 10, 6))
    page = report_on(Run.load(folder.path)).markdown()
    assert "**This run is incomplete: killed before its end, or still running: " in page
    assert "No verdict rests on this run alone." in page


def test_both_pages_are_written_and_the_html_stands_alone(tmp_path, capsys):
    run = next(run for run in RUNS if run.scenario == "vllm-h100")
    price = ("--usd-per-hour", "4", "--price-of", "2026-01-01")
    assert main(["report", run.run_id, "--out", str(tmp_path), *price]) == 0
    files = [tmp_path / f"{run.run_id}.{ending}" for ending in ("md", "html")]
    assert capsys.readouterr().out.split() == [str(files[0]), files[1].as_uri()]
    page = Page(files[1])
    assert "4 USD per hour on 2026-01-01" in files[0].read_text()
    shown = "".join(unescape(page.text).split())
    assert "".join(section(files[0].read_text(), "Result block").strip("`").split()[1:]) in shown
    assert all(link.startswith("#") for link in page.links)
    assert not {"script", "img", "iframe"} & set(page.tags)


@needs_browser
def test_the_html_opens_from_disk_in_a_browser(tmp_path, capsys):
    assert main(["report", str(RUNS[0].path), "--out", str(tmp_path)]) == 0
    done = browse(tmp_path / f"{RUNS[0].run_id}.html", tmp_path / "profile", "--dump-dom")
    assert "</footer>" in done.stdout
    assert console(done) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param([], "no run given", id="none"),
        pytest.param(["nothing"], "there is no run 'nothing'", id="unknown"),
        pytest.param([PUBLISHED, "--usd-per-hour", "-1"], "above 0", id="price"),
        pytest.param([PUBLISHED, "--usd-per-hour", "nan"], "above 0", id="no number"),
    ],
)
def test_bad_input_gives_one_line(given, words, capsys):
    assert main(["report", *given]) == 2
    reported = capsys.readouterr().err
    assert words in reported
    assert len(reported.splitlines()) == 1


def test_make_passes_its_variables():
    def planned(*words: str) -> str:
        return subprocess.run(["make", "-n", *words], cwd=paths.ROOT, capture_output=True, text=True, check=True).stdout

    assert "gptoss_bench report a-run --usd-per-hour 3" in planned("report", "RUN=a-run", "PRICE=3")
    assert "gptoss_bench site a-run b-run" in planned("site", "RUNS=a-run b-run")
    assert "gptoss_bench run --profile" in " ".join(planned("run-bf16").split())
