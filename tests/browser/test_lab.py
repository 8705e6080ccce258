"""explore.ipynb in a real JupyterLab in a real browser: start, watch, stop, find the run; close the tab, restart."""

import pytest

from browser import a_browser, needs_browser
from gptoss_bench.calibration.accuracy import CalibrationLevel, run_sample, summarise_level
from gptoss_bench.calibration.loads import CalibrationLoad
from gptoss_bench.calibration.reference.engine import serve_reference
from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.calibration.reference.send_log import read_send_log
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.engines.supervisor import descendants
from gptoss_bench.notebook.finding import PENDING
from gptoss_bench.notebook.live_overhead import errors_agree
from gptoss_bench.notebook.run_browser import short_name
from gptoss_bench.runs.folder import Run
from gptoss_bench.session.load_process import LoadProcess
from gptoss_client.plan import LoadPlan
from lab_pages import Lab, Tab, beside, lab
from serving import below, command_of, wait_until, wait_until_gone

pytestmark = needs_browser

PANEL = 6  # cells up to the run panel, that of injected parameters included
LONG = {"requests": 3000, "concurrency": 2, "warmup": 0, "max_tokens": 32}


@pytest.fixture(scope="module")
def where(tmp_path_factory):
    with lab(tmp_path_factory.mktemp("lab")) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    with a_browser() as found:
        yield found


def runs(results) -> list[Run]:
    """The runs on disk, the newest first; a folder without a manifest is not a run yet."""
    files = sorted((results / "runs").glob("*/manifest.json"), reverse=True)
    return [Run.load(file.parent) for file in files]


def test_a_run_is_started_watched_stopped_and_found_by_keyboard(where: Lab, browser, tmp_path):
    where.explore("keyboard", results_dir=tmp_path, **LONG)
    tab = Tab(browser, where, "keyboard")
    tab.command("notebook:run-all-cells")
    tab.wait_for_words("output tokens/s with 2 streams")  # of the last cell, an awaited bench

    tab.focus_first_control()
    tab.enter("concurrency", "0")
    tab.press("Start")
    tab.wait_for_words("concurrency must be 1 or more, not 0")
    tab.focus_first_control()
    tab.enter("concurrency", "2")
    tab.press("Start", " ")

    tab.circles(more_than=tab.circles())
    tab.press("Stop")
    tab.wait_for_words("stopped; completed requests were saved")
    assert tab.page.get_by_role("button", name="Stop", exact=True).count() == 0  # no dead button is left

    [stopped] = [run for run in runs(tmp_path) if run.manifest.status == "incomplete"]
    assert stopped.summary.completed > 0
    tab.press("Read again")
    tab.page.get_by_text(short_name(stopped.run_id)).first.wait_for()
    for run in runs(tmp_path):
        tab.press(short_name(run.run_id), " ")
    tab.wait_for_words("95 % intervals")
    tab.wait_for_words("Not the same load.")
    tab.command("apputils:change-theme', {theme: 'JupyterLab Dark'}, '")
    tab.page.wait_for_function("() => document.body.dataset.jpThemeLight === 'false'")
    look = tab.page.locator(".gptoss-figure").first.evaluate("each => getComputedStyle(each).filter")
    assert look.startswith("invert")
    timeline = tab.page.locator(".gptoss-figure[alt*='-request-']")
    drawn = timeline.evaluate(
        "each => [each.complete, each.naturalWidth > 300, each.getBoundingClientRect().width > 300]"
    )
    assert drawn == [True, True, True]
    tab.page.locator("summary", has_text="its bytes").press("Enter")
    tab.wait_for_words("data: {")  # what came over the wire
    tab.picture()


def test_a_second_run_beside_the_first_and_a_tab_closed_and_opened_again(where: Lab, browser, tmp_path):
    where.explore("tabs", cells=PANEL, results_dir=tmp_path, **LONG)
    tab = Tab(browser, where, "tabs")
    tab.command("notebook:run-all-cells")
    for _ in range(2):
        tab.page.get_by_role("button", name="Start", exact=True).click()
    tab.wait_for_words("Another load ran at the same time")
    seen = tab.circles()
    stops = tab.page.get_by_role("button", name="Stop", exact=True)
    assert stops.count() == 2
    tab.command("docmanager:save")
    wait_until(lambda: "widget-view" in (where.root / "tabs.ipynb").read_text(), "the notebook was saved")
    tab.page.close()

    kernel = where.kernel("tabs")
    assert kernel is not None
    listed = sum(path.stat().st_size for path in tmp_path.glob("runs/*/traces.jsonl"))
    wait_until(lambda: sum(path.stat().st_size for path in tmp_path.glob("runs/*/traces.jsonl")) > listed, "they go on")
    tab = Tab(browser, where, "tabs")
    assert where.kernel("tabs")["id"] == kernel["id"]
    tab.circles(more_than=seen)  # the same view, which goes on
    tab.picture("explore-reopened")
    stops = tab.page.get_by_role("button", name="Stop", exact=True)
    stops.first.wait_for()
    assert stops.count() == 2
    for _ in range(2):
        stops.first.click()
        tab.page.wait_for_timeout(100)
    wait_until(lambda: all(run.manifest.end_utc for run in runs(tmp_path)), "both have ended")
    assert {run.manifest.status for run in runs(tmp_path)} == {"incomplete"}
    assert all(run.summary.completed > 0 for run in runs(tmp_path))


def test_a_kernel_that_is_restarted_while_a_load_runs_leaves_no_process_and_an_incomplete_run(
    where: Lab, browser, tmp_path
):
    where.explore("restart", cells=PANEL, results_dir=tmp_path, **LONG)
    tab = Tab(browser, where, "restart")
    tab.command("notebook:run-all-cells")
    tab.page.get_by_role("button", name="Start", exact=True).click()
    tab.circles()
    [folder] = (tmp_path / "runs").iterdir()
    [load] = [process for process in descendants(where.pid) if "gptoss_bench.session.load_child" in command_of(process)]
    family = [load, *below(load)]
    tab.command("notebook:restart-kernel")
    tab.page.get_by_role("button", name="Confirm Kernel Restart").click()
    wait_until_gone(family)
    run = Run.load(folder)
    assert run.manifest.status == "incomplete" and run.manifest.reason == "stopped before its end"
    assert run.summary.completed > 0 and len(run.requests) == LONG["requests"]
    wait_until(lambda: where.settled("restart"), "the new kernel is idle")
    tab.command("notebook:run-all-cells")  # and the panel is there again
    tab.page.get_by_role("button", name="Start", exact=True).wait_for()


def test_a_notebook_that_is_run_by_hand_shows_what_it_does_and_what_it_found_near_its_top(
    where: Lab, browser, tmp_path
):
    small = {"requests": 24, "concurrency": 2, "warmup": 2, "max_tokens": 16, "sweep": [1], "embedded": True}
    where.explore("by-hand", notebook="endpoint", results_dir=tmp_path, **small)
    tab = Tab(browser, where, "by-hand")
    tab.command("notebook:run-all-cells")
    tab.wait_for_words(PENDING)
    found = tab.page.locator(".gptoss-finding b").first
    lines = "() => [...document.querySelectorAll('.gptoss-live')].map(each => each.innerText).join(' ')"
    seen = list[str]()

    def has_found() -> bool:
        seen.append(tab.page.evaluate(lines))
        return found.count() > 0

    wait_until(has_found, "the finding is near the top")
    assert "of 24 requests completed" in found.inner_text() and not tab.says(PENDING)
    assert all(each.count(" left") <= 1 for each in seen) and " requests" in seen[-1], seen
    found.scroll_into_view_if_needed()
    tab.picture("by-hand")


@pytest.mark.slow  # test_live_overhead.py compares the same error bars without a browser
@pytest.mark.alone
def test_the_error_bar_with_the_panel_open_is_that_of_a_load_without_a_panel(where: Lab, browser, tmp_path):
    plan = {"concurrency": 8, "requests": 24, "warmup": 8, "max_tokens": 40}
    pairs = []
    with beside(serve_reference(ReferencePlan(tokens=40), tmp_path)) as endpoint:
        where.explore("watched", cells=PANEL, results_dir=tmp_path, url=endpoint.url, **plan)
        tab = Tab(browser, where, "watched")
        tab.command("notebook:run-all-cells")
        start = tab.page.get_by_role("button", name="Start", exact=True)
        start.wait_for()
        for _ in range(2):
            unwatched = LoadProcess(LoadPlan(**plan), ServerChoice(url=endpoint.url), results=tmp_path)
            wait_until(lambda load=unwatched: load.ended is not None, "the load had ended")
            start.click()
            wait_until(lambda: len(runs(tmp_path)) == 2 * len(pairs) + 2, "another run was begun")
            [watched_run, *_] = runs(tmp_path)
            wait_until(lambda path=watched_run.path: Run.load(path).manifest.status == "complete", "it is whole")
            pairs.append((unwatched.path, watched_run.path))
        tab.picture("explore-watched")
        assert tab.circles() > 0
    log = read_send_log(tmp_path / "send_log.parquet").events

    def level(path) -> CalibrationLevel:
        run = Run.load(path)
        planned = CalibrationLoad(plan["concurrency"], 40.0)
        sample = run_sample(run, log, planned.streams, run.load_summary.client.cpu_share)
        return summarise_level(path.name, planned, [sample])

    found = [[level(path) for path in pair] for pair in pairs]
    # A hiccup of the machine in one of them is no effect of watching.
    assert any(errors_agree(pair) and all(one.trusted is not False for one in pair) for pair in found), found
