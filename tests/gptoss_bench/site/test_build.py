"""The site of the committed runs in a real browser: it opens from disk, loads nothing, and every link works."""

import base64
import contextlib
import io
import re
import shutil
import socketserver
import threading
from inspect import isfunction
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

import published
from browser import a_browser
from gptoss_bench import figures, paths, readings
from gptoss_bench.claims.schema import load_write_up
from gptoss_bench.claims.verdict_words import BASES, NO_BASIS, VERDICTS
from gptoss_bench.claims.verdicts import verdicts_from_table
from gptoss_bench.cli.main import main
from gptoss_bench.cli.site import _fronts, _published_runs
from gptoss_bench.figures.style import new_figure
from gptoss_bench.runs.evidence import named_runs
from gptoss_bench.runs.folder import Run
from gptoss_bench.site.build import build_site, with_evidence
from gptoss_bench.site.notebook_cells import figure_description, read_notebook
from gptoss_bench.site.render import Frame, html_fragment, link_words, markdown_html, render
from gptoss_bench.site.views import GROUPS, RunView
from gptoss_client.errors import RunFailed, UsageError
from site_pages import Page, browse, console, look_at, needs_browser

PUBLISHED = published.VERDICTS
WIDTHS = [400, 800, 1400]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("made") / "site"
    assert main(["site", *_fronts(_published_runs()), "--out", str(made)]) == 0
    return made


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    return {file.name: Page(file) for file in sorted(site.glob("*.html"))}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browser") / "profile"


def page_of(run: Run) -> str:
    scenarios = [shown.scenario for shown in shown_runs()]
    return f"{run.scenario if scenarios.count(run.scenario) == 1 else run.run_id}.html"


def shown_runs() -> list[Run]:
    return with_evidence(named_runs(paths.RESULTS, _fronts(_published_runs())), paths.RESULTS)


def test_the_site_has_a_page_for_each_run_and_is_small_enough_to_clone(site, pages):
    runs = shown_runs()
    assert set(pages) == {"index.html", "lines.html", "method.html", "appendix.html", *map(page_of, runs)}
    assert sum(file.stat().st_size for file in site.rglob("*") if file.is_file()) < 3e6


def test_the_published_site_is_that_of_the_committed_runs(site):
    made, kept = ({file.relative_to(top) for file in top.rglob("*") if file.is_file()} for top in (site, paths.SITE))
    assert made == kept
    for name in made:
        if name.suffix not in (".png", ".svg", ".gz"):  # their bytes depend on the version of the library
            assert (site / name).read_bytes() == (paths.SITE / name).read_bytes(), f"{name}: make publish"


def test_every_link_has_its_file_and_anchor(site, pages):
    for name, page in pages.items():
        assert len(page.ids) == len(set(page.ids)), name
        for link in page.links:
            assert not re.match(r"https?://(127\.|localhost)", link), (name, link)
            if "://" in link:
                continue
            file, _, place = link.partition("#")
            target = file or name
            assert (site / target).is_file(), (name, link)
            assert not place or unquote(place) in pages[target].ids, (name, link)


def test_no_page_holds_a_script_or_a_formula_that_needs_one(pages):
    for name, page in pages.items():
        assert not {"script", "iframe", "object", "embed", "base"} & set(page.tags), name
        assert not re.search(r"\$\$|\\\(|\\frac", page.text), name
    assert "math" in pages["method.html"].tags


def test_every_picture_has_an_alt_text(site, pages):
    pictures = [picture for page in pages.values() for picture in page.pictures]
    assert len(pictures) > 10
    for picture in pictures:
        assert (site / str(picture["src"])).stat().st_size < 200e3
        assert re.search(r"\w+ \w+ .*Of run 2\d+T\d+Z-", str(picture["alt"])), picture
    labelled = [picture for picture in pages["ollama-a10.html"].pictures if "TINY MODEL" in str(picture["alt"])]
    assert labelled == pages["ollama-a10.html"].pictures


def test_a_figure_is_drawn_from_the_run_folder_with_colours_for_a_dark_page(site, pages):
    run_id = next(run_id for run_id in Run.load(paths.RUNS / PUBLISHED).summary.runs if "vllm-h100" in run_id)
    run = Run.load(paths.RUNS / run_id)
    page = pages[page_of(run)]
    files = [site / str(picture["src"]) for picture in page.pictures]
    texts = [file.read_text() for file in files]
    for file, text in zip(files, texts, strict=True):
        assert "prefers-color-scheme: dark" in text and run_id in text  # its texts are texts
        assert f"pictures/{file.name}" in page.links
    [dots] = [text for text in texts if "14.755" in text]
    assert ("this run" in dots) is bool(run.manifest.labels)  # a toy has axes of its own


def test_code_is_folded_and_all_of_the_notebook_is_there(pages):
    book = nbformat.read(paths.RUNS / PUBLISHED / "notebook.ipynb", as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    page = pages["verdicts.html"]
    assert page.text.count('<div class="code"') == len(code)
    assert "open" not in re.findall(r"<details([^>]*)>", page.text)
    shown = "".join("".join(page.words).split())
    for cell in code:
        assert "".join(cell.source.split()) in shown


def test_claim_and_evidence_link_to_each_other(pages):
    verdicts = verdicts_from_table(Run.load(paths.RUNS / PUBLISHED).table("verdicts"))
    front = pages["index.html"]
    for verdict in verdicts:
        [row] = re.findall(
            rf'<details class="claim (?:(?!</details>).)*<dl id="{verdict.number}">.*?</details>', front.text, re.DOTALL
        )
        assert f">{verdict.verdict}<" in row
        assert verdict.basis in row
        if verdict.basis == NO_BASIS:
            continue
        name = page_of(Run.load(paths.RUNS / verdict.run_id)) if verdict.run_id else "verdicts.html"
        assert f'href="{name}"' in row
        assert f"index.html#{verdict.number}" in pages[name].links
    assert any(verdict.run_id for verdict in verdicts)


def test_every_verdict_is_reachable_from_its_lines_in_the_write_up(pages):
    lines = pages["lines.html"]
    for claim in load_write_up().claims:
        for one in claim.lines.split(", "):
            [row] = re.findall(rf'<tr id="L{one}">.*?</tr>', lines.text, re.DOTALL)
            assert f'href="index.html#{claim.claim_id[:3]}"' in row
            assert f"lines.html#L{one}" in pages["index.html"].links


def test_the_front_page_says_first_what_was_measured_and_what_is_withdrawn(pages):
    words = " ".join("".join(pages["index.html"].words).split())
    assert "gpt-oss, measured again Measured on the published hardware: 0 of 11 performance figures." in words
    [withdrawn] = load_write_up().withdrawn
    assert f"Withdrawn: run {withdrawn.run}, because {withdrawn.because}" in words
    listed = pages["index.html"].text.partition('<h2 id="runs">')[2].partition('<h2 id="derived">')[0]
    assert {f'href="{page_of(run)}"' in listed for run in shown_runs()} == {True}
    assert "<img" not in listed


def test_the_page_of_a_load_without_a_notebook_has_its_finding_its_figures_and_what_reads_them(pages):
    [run] = [run for run in shown_runs() if run.scenario == "load" and run.load_summary.requests == 2000]
    page = pages[page_of(run)]
    titles = re.findall(r"<h2[^>]*>([^<]+)<a class", page.text)
    drawn = ["First token, first answer token, end", "Between the tokens", "Client against server"]
    assert titles[:5] == ["Result block", *drawn, "The machine during the run"]
    assert [str(picture["src"]) for picture in page.pictures] == [
        f"pictures/{run.run_id}-{number}.svg" for number in range(1, 5)
    ]
    words = " ".join("".join(page.words).split())
    assert f"RANDOM WEIGHTS: {readings.latency_distributions(run.requests)}" in words
    assert "show the code" not in words
    assert page.text.count("Data:") == 4


def test_a_site_of_runs_that_are_not_about_the_write_up_has_their_title_and_no_claim(tmp_path):
    run, said = Run.load(paths.RUNS / "20261127T030946Z-load-281d07"), list[str]()
    front = build_site([run], tmp_path / "site", said.append)
    assert said == ["page 1 of 1: load.html", "front page, method and data"]
    made = {file.name: file.read_text() for file in front.parent.glob("*.html")}
    assert set(made) == {"index.html", "load.html", "method.html", "appendix.html"}
    server = run.manifest.server
    assert f"<h1>Measured: {server.model} with {server.release}</h1>" in made["index.html"]
    assert f"{run.load_summary.output_tok_s_total:,.0f} tokens/s" in made["index.html"]
    assert f"RANDOM WEIGHTS: {run.load_summary.output_tok_s_total:,.1f} output tokens/s" in made["index.html"]
    for name, text in made.items():
        assert load_write_up().source.url not in text, name
        assert name == "method.html" or not re.search(r"\bC\d\d\b|[Cc]laim", text), name


@needs_browser
def test_a_link_to_a_claim_leads_into_its_row_so_that_a_browser_opens_it(site):
    with a_browser() as browser:
        tab = browser.new_page()
        tab.goto(f"{(site / 'index.html').as_uri()}#C47")
        tab.locator("#C47").wait_for(state="visible")
        assert tab.locator(".claim[open]").count() == 1


def test_the_front_page_has_three_findings_each_with_its_number_and_its_basis(pages):
    front = pages["index.html"].text
    found = re.findall(r'<li class="finding">(.*?)</li>', front, re.DOTALL)
    numbers = [re.search(r'class="number">([^<]+)<', one)[1] for one in found]
    trial = Run.load(paths.RUNS / _fronts(_published_runs())[1]).summary.rows[0]
    assert numbers == [f"{trial.printed_ttft_s.p50:.2f} s", "0.2558", "173%"]
    assert f"after {trial.first_token_s:.3f} s" in found[0]
    assert all("Basis: " in one for one in found)


def test_the_front_page_says_in_short_what_was_claimed_and_found_and_how_to_run_it_again(pages):
    verdicts = {
        each.claim_id[:3]: each for each in verdicts_from_table(Run.load(paths.RUNS / PUBLISHED).table("verdicts"))
    }
    [intro] = re.findall(r'<div class="intro">(.*?)</table>', pages["index.html"].text, re.DOTALL)
    rows = re.findall(r'<tr><td><a href="#(C\d\d)">.*?<span class="badge [^"]*">([^<]+)<', intro)
    assert [number for number, _ in rows] == ["C20", "C37", "C44", "C16"]
    assert [word for _, word in rows] == [verdicts[number].verdict for number, _ in rows]
    targets = set(re.findall(r"^([a-z0-9-]+):", (paths.ROOT / "Makefile").read_text(), re.MULTILINE))
    [again] = re.findall(r'<section class="rerun">(.*?)</section>', pages["index.html"].text, re.DOTALL)
    assert (
        set(re.findall(r"<code>make ([a-z0-9-]+)", again)) == {"run", "run-a10", "run-h100", "run-endpoint"} <= targets
    )


def test_no_page_names_the_version_of_an_emulator_outside_its_manifest(pages):
    for name, page in pages.items():
        if name != "appendix.html":
            assert "-embedded" not in page.text, name


def test_what_has_many_cells_is_a_table_with_its_numbers_as_text(pages):
    page = pages["transformers-bf16.html"]
    tables = re.findall(r'<table[^>]*class="heat".*?</table>', page.text, re.DOTALL)
    assert [table.count("<td style") > 100 for table in tables] == [True, True]
    cells = re.findall(r'<td style="background:rgba\((\d+),[^"]*">([^<]+)<br', tables[0].replace("<br/>", "<br>"))
    assert {(colour == "0") == text.startswith("+") for colour, text in cells} == {True}


def test_every_claim_is_in_one_section_and_one_group_of_the_filter(pages):
    front = pages["index.html"].text
    verdicts = verdicts_from_table(Run.load(paths.RUNS / PUBLISHED).table("verdicts"))
    assert sorted(re.findall(r'<dl id="(C\d\d)">', front)) == sorted(verdict.number for verdict in verdicts)
    counts = {group: len(re.findall(rf'class="claim group-{group}"', front)) for group in GROUPS}
    chips = {group: int(count) for group, count in re.findall(r'for="show-(\w+)">[^<]*?(\d+)</label>', front)}
    assert chips == {"all": len(verdicts)} | {group: count for group, count in counts.items() if count}
    assert sorted(word for _, words in GROUPS.values() for word in words) == sorted(VERDICTS)


@needs_browser
def test_a_chip_shows_its_claims_alone_and_a_switch_shows_the_code(site):
    with a_browser() as browser:
        tab = browser.new_page()
        tab.goto((site / "index.html").as_uri())
        every = tab.locator(".claim:visible").count()
        tab.get_by_text("does not hold", exact=False).click()
        shown = tab.locator(".claim:visible")
        assert 0 < shown.count() < every
        assert shown.count() == tab.locator(".claim.group-fails").count()
        shown.first.locator("summary").click()
        assert shown.first.locator("dl").is_visible()
        tab.goto((site / "verdicts.html").as_uri())
        assert tab.locator(".code:visible").count() == 0
        tab.get_by_label("show the code of this page").check()
        assert tab.locator(".code:visible").count() > 3


def test_every_page_names_the_write_up(pages):
    source = load_write_up().source
    for name, page in pages.items():
        assert source.url in page.links, name
        footer = " ".join(re.sub("<[^>]+>", "", page.text.partition("<footer>")[2]).split())
        assert f"{source.title} by {source.author}, {source.written}, commit {source.commit}" in footer, name


def test_the_appendix_links_the_files_of_the_run_folders(site, pages):
    for run_id in Run.load(paths.RUNS / PUBLISHED).summary.runs:
        folder, run = site / "tables" / run_id, Run.load(paths.RUNS / run_id)
        assert (folder / "manifest.json").read_bytes() == (run.path / "manifest.json").read_bytes()
        assert not [*folder.glob("*.parquet")]
        large = len(run.table("requests")) > 500 if (run.path / "requests.parquet").exists() else True
        assert large or [*folder.glob("requests.csv*")]
        for file in folder.glob("requests.csv*"):
            written = pd.read_csv(file)
            assert written.ttft_s.tolist() == run.requests.ttft_s.tolist()
        assert {f"tables/{run_id}/{file.name}" for file in folder.iterdir()} <= set(pages["appendix.html"].links)


class Proxy(socketserver.ThreadingTCPServer):
    """A listening socket that keeps the first line of each request and answers none."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), socketserver.StreamRequestHandler)

    def finish_request(self, request, client_address) -> None:
        request.settimeout(10)
        with contextlib.suppress(OSError):
            if received := request.recv(4096):  # Chromium opens connections ahead and may close them unused
                self.asked.append(received.decode("latin-1").partition("\r\n")[0])


@pytest.fixture
def proxy():
    with Proxy() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.05,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def of_pages(asked: list[str]) -> list[str]:
    """Return the requests of the pages, without those that Chromium itself sends to Google."""
    return [line for line in asked if not re.match(r"\w+ (https?://)?[\w.-]+\.(google|googleapis|gvt1)\.com[:/]", line)]


def through(proxy: Proxy) -> tuple[str, str]:
    return f"--proxy-server=127.0.0.1:{proxy.server_address[1]}", "--proxy-bypass-list=<-loopback>"


@needs_browser
def test_a_request_and_a_console_message_would_be_seen(home, proxy, tmp_path):
    control = tmp_path / "control.html"
    control.write_text('<img src="http://pictures.invalid/a.png"><script>console.error("seen")</script>')
    done = browse(control, home, *through(proxy), "--dump-dom")
    assert [line for line in console(done) if "seen" in line]
    assert [line for line in of_pages(proxy.asked) if "pictures.invalid" in line]


@needs_browser
def test_the_front_page_opens_from_disk(site, home, proxy, pages):
    done = browse(site / "index.html", home, *through(proxy), "--dump-dom")
    assert "</footer>" in done.stdout, done.stderr[-1000:]
    assert console(done) == []
    assert of_pages(proxy.asked) == []
    assert not [name for name, page in pages.items() if re.search(r"(google|googleapis|gvt1)\.com", page.text)]


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_legible_on_a_phone_and_a_wide_screen_and_loads_nothing(site, home, proxy, scheme):
    preferred = f"--blink-settings=preferredColorScheme={['dark', 'light'].index(scheme)}"
    files = sorted(site.glob("*.html"))
    seen, messages = look_at(files, WIDTHS, home, preferred, *through(proxy))
    assert messages == []
    assert of_pages(proxy.asked) == []
    assert len(seen) == len(WIDTHS) * len(files)
    for one in seen:
        assert one["letters"] > 500, one
        assert one["wide"] <= 0, one  # what is wide scrolls in its own box
        assert one["smallest"] >= 12, one
        assert one["faintest"] >= 4.5, one
        assert one["broken"] == [], one
        assert (one["ground"] > 0.5) is (scheme == "light")


@needs_browser
def test_a_page_prints(site, home, tmp_path):
    target = tmp_path / "page.pdf"
    browse(site / "index.html", home, f"--print-to-pdf={target}")
    assert target.read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    "html",
    [
        "<script>alert(1)</script>",
        '<img src="https://example.org/a.png">',
        '<img src="//example.org/a.png">',
        '<img src="a.png" srcset="a.png 1x, https://example.org/a.png 2x">',
        "<style>@import 'a.css';</style>",
        '<p style="background: url(https://example.org/a.png)">',
        '<p onclick="alert(1)">',
        '<a href=" JavaScript:alert(1)">a</a>',
        '<iframe src="a.html"></iframe>',
        '<svg><image href="https://example.org/a.png"/></svg>',
        '<link rel="stylesheet" href="a.css">',
    ],
)
def test_html_that_would_load_or_run_something_becomes_no_page(html):
    with pytest.raises(RunFailed, match=r"a\.html would not open without a network"):
        html_fragment(html, {}, "a.html")


def test_html_that_loads_nothing_stays_as_it_is():
    html = '<p>a &lt;script&gt; <a href="https://example.org">b</a> <img alt="" src="data:image/png;base64,//8="/></p>'
    assert html_fragment(html, {}, "a.html") == html


def test_every_kind_of_output_is_shown(tmp_path):
    figure, axes = new_figure(1, 1)
    axes.set_title("a picture")
    figure.savefig(svg := io.StringIO(), format="svg")
    figure.savefig(png := io.BytesIO(), format="png")
    data = [
        {"image/svg+xml": svg.getvalue(), "text/plain": "Figure"},
        {"image/png": base64.b64encode(png.getvalue()).decode(), "text/plain": "Figure"},
        {"application/javascript": "alert(1)", "text/html": "<b>bold</b>", "text/plain": "plain"},
        {"text/markdown": "**strong**", "text/plain": "plain"},
        {"text/plain": "1 < 2"},
    ]
    outputs = [nbformat.v4.new_output("display_data", data=one) for one in data[:3]]
    outputs += [nbformat.v4.new_output("execute_result", data=one, execution_count=1) for one in data[3:]]
    outputs.append(nbformat.v4.new_output("stream", text="printed \x1b[31mred\x1b[0m"))
    outputs.append(nbformat.v4.new_output("error", ename="ValueError", evalue="bad <b>", traceback=["a", "b"]))
    cells = [
        nbformat.v4.new_markdown_cell("# Title\n\nSome `<script>`."),
        nbformat.v4.new_raw_cell("<raw>"),
        nbformat.v4.new_code_cell("x", outputs=outputs, metadata={"alt": "A picture of a test."}),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "notebook.ipynb")
    notebook = read_notebook(tmp_path / "notebook.ipynb", tmp_path / "pictures", "a", "Of run 1.")
    view = RunView("1", notebook.heading, "", "", "", notebook.cells, "Claims", [])
    (tmp_path / "a.html").write_text(render("run.html.j2", view, Frame("a.html", notebook.title)))
    page = Page(tmp_path / "a.html")
    assert notebook.title == "Title"
    assert [picture["src"] for picture in page.pictures] == ["pictures/a-1.svg", "pictures/a-2.png"]
    assert {picture["alt"] for picture in page.pictures} == {"A picture of a test. Of run 1."}
    assert [(picture.file, picture.width is None) for picture in notebook.pictures] == [
        ("pictures/a-1.svg", True),
        ("pictures/a-2.png", False),
    ]
    assert (tmp_path / "pictures" / "a-1.svg").read_text() == svg.getvalue()
    for words in (
        *("<b>bold</b>", "<strong>strong</strong>", "1 &lt; 2", "printed ", "ValueError: bad &lt;b&gt;"),
        *("<code>&lt;script&gt;</code>", "<pre>&lt;raw&gt;</pre>"),
    ):
        assert words in page.text
    assert page.text.count("ValueError") == 1
    assert "plain" not in page.words


def test_every_verdict_that_there_is_has_its_meaning_in_the_method(pages):
    for word in (*VERDICTS, *BASES):
        assert re.search(rf"<td>{word}</td>\s*<td>\w", pages["method.html"].text), word


PIECES = ["C01", "C011", "-", " ", "<b>", "</b>", "<a href='C01'>", "</a>", "<i id='C01'>", "&lt;", "x"]


@given(st.text())
def test_linked_text_reads_as_before(text):
    made = link_words(f"{text} C01", {"C01": "index.html#C01"})
    assert made.endswith(' <a href="index.html#C01">C01</a>')
    assert made.replace('<a href="index.html#C01">C01</a>', "C01") == escape(f"{text} C01")


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_links_in_html_change_no_text_and_no_tag(html):
    made = str(html_fragment(html, {"C01": "index.html#C01"}, "a.html"))
    plain = re.sub(r'<a href="index.html#C01">C01</a>', "C01", made)
    assert plain == html_fragment(html, {}, "a.html")


def test_no_word_of_a_summary_becomes_a_link():
    html = "<details><summary>C01</summary>C01</details>"
    made = html_fragment(html, {"C01": "index.html#C01"}, "a.html")
    assert made == '<details><summary>C01</summary><a href="index.html#C01">C01</a></details>'


def test_only_a_whole_word_becomes_a_link():
    html = "<p id='C01'>C01, C01-x, C011</p><a href='b'>C01 <b>C01</b></a><style>C01</style><!-- C01 --><br/>C01"
    assert html_fragment(html, {"C01": "f"}, "a.html").count('<a href="f">') == 2


def test_a_link_to_the_measured_machine_becomes_text():
    html = '<a href="http://127.0.0.1:8000/v1">one</a> <a href="http://localhost">two</a>'
    assert html_fragment(html, {}, "a.html") == "one two"


def test_a_link_to_a_notebook_leads_to_its_page_or_becomes_text():
    html = '<a href="method_trial.ipynb">one</a> <a href="../../../notebooks/explore.ipynb">two</a>'
    found = html_fragment(html, {"a-run": "method-trial.html"}, "a.html")
    assert found == '<a href="method-trial.html">one</a> two'


def test_an_address_at_the_end_of_a_strong_text_does_not_take_its_stars():
    assert "<strong>The client talks to <a" in markdown_html("**The client talks to http://127.0.0.1:8000.**")


def test_a_long_name_in_a_cell_may_break():
    html = "<table><tr><td>vllm:time_to_first_token_seconds, short_name</td></tr></table>"
    found = html_fragment(html, {}, "a.html")
    assert "<td>vllm:<wbr/>time_<wbr/>to_<wbr/>first_<wbr/>token_<wbr/>seconds, short_" in found


def test_a_figure_is_described_by_its_docstring():
    assert "first token" in figure_description(
        "x = 1\nfigures.latency_distributions(session.requests, session.manifest)"
    )
    asked = figure_description("figures.published_and_measured(published, summary, session.manifest)")
    assert asked == "The published latency and TTFT beside the measured ones, by percentile."
    assert "memory" in figure_description("open_fit_panel(models, gpus)")
    reading = "readings.gap_distribution(summary)"
    shown = f"show_figure(\n    figures.gap_distribution(events, summary, m),\n    {reading},\n    m,\n)"
    assert figure_description(shown) == "The distribution of the inter-token latency."
    two = "show_figure(figures.sink_shares(effect, m), readings.sink_shares(effect), m)\n" + shown
    assert "sink" in figure_description(two, 0)
    assert "inter-token" in figure_description(two, 1)
    assert "inter-token" in figure_description(two, 2)


@pytest.mark.parametrize(
    "source", ["", "1 +", "print(1)", "readings.gap_distribution(x)", "page(table)", "figures.nothing(1)", "%config X"]
)
def test_a_picture_without_a_description_is_refused(source):
    with pytest.raises(UsageError, match=r"no description: end the cell .* or set `alt`"):
        figure_description(source)


@pytest.mark.parametrize("name", [name for name in figures.__all__ if isfunction(getattr(figures, name))])
def test_every_figure_has_a_description(name):
    assert re.match(r"[A-Z].+\.$", figure_description(f"figures.{name}()"))


def test_a_folder_that_is_no_site_is_left_alone_and_a_site_is_replaced(tmp_path):
    runs = [run for run in named_runs(paths.RESULTS, [PUBLISHED])]
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty and has no list of the files of a site"):
        build_site(runs, tmp_path)
    front = build_site(runs, tmp_path / "site")
    before = {file: file.read_bytes() for file in front.parent.rglob("*") if file.is_file()}
    for name in ("old.html", "mine.html"):
        (front.parent / name).write_text(name)
    with (front.parent / "files.txt").open("a") as listed:
        listed.write("old.html\n")
    build_site(runs, tmp_path / "site")
    assert before == {file: file.read_bytes() for file in before}
    assert not (front.parent / "old.html").exists() and (front.parent / "mine.html").read_text() == "mine.html"
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith("site")] == ["site"]


def test_runs_without_a_notebook_or_verdicts_get_a_site_and_an_empty_folder_gives_one_line(tmp_path, folder, capsys):
    results = str(folder.path.parents[1])
    assert main(["site", "--results", str(tmp_path / "none"), "--out", str(tmp_path / "site")]) == 2
    assert "make run" in capsys.readouterr().err
    run = folder.finish(None, "incomplete", "stopped before its end")
    assert main(["site", "--results", results, "--out", str(tmp_path / "site")]) == 0
    assert "Findings of the linter" in (tmp_path / "site" / f"{run.scenario}.html").read_text()
    shutil.rmtree(tmp_path / "site")
    capsys.readouterr()
    (tmp_path / "file").write_text("mine")
    assert main(["site", PUBLISHED, "--out", str(tmp_path / "file")]) == 2
    reported = capsys.readouterr().err
    assert "name another folder" in reported
    assert len(reported.splitlines()) == 1
    assert not list(tmp_path.glob("site*"))


def test_two_runs_of_one_scenario_get_a_page_each_and_one_that_was_interrupted_is_marked(tmp_path):
    [scenario] = [run for run in named_runs(paths.RESULTS, Run.load(paths.RUNS / PUBLISHED).summary.runs)
                  if run.scenario == "transformers-bf16"]  # fmt: skip
    twin = tmp_path / "runs" / "20260101T000000Z-transformers-bf16-000000"
    shutil.copytree(scenario.path, twin)
    manifest = (twin / "manifest.json").read_text().replace(scenario.run_id, twin.name)
    manifest = manifest.replace('"status": "complete"', '"status": "running"')
    (twin / "manifest.json").write_text(manifest)
    front = build_site([scenario, Run.load(twin)], tmp_path / "site")
    names = {file.stem for file in front.parent.glob("*.html")}
    assert names == {"index", "lines", "method", "appendix", scenario.run_id, twin.name}
    assert "incomplete" in (front.parent / f"{twin.name}.html").read_text()
    assert "incomplete" not in (front.parent / f"{scenario.run_id}.html").read_text()
    assert f"{len(load_write_up().claims)} claims" in " ".join(front.read_text().split())


def test_evidence_that_was_deleted_is_left_out(tmp_path, caplog):
    verdicts = Run.load(paths.RUNS / PUBLISHED)
    shutil.copytree(verdicts.path, tmp_path / "runs" / verdicts.run_id)
    [copied] = named_runs(tmp_path, [verdicts.run_id])
    assert [run.run_id for run in with_evidence([copied], tmp_path)] == [verdicts.run_id]
    assert len(caplog.records) == len(verdicts.summary.runs)


def test_published_means_the_runs_that_git_knows(capsys):
    known = _published_runs()
    assert max(name for name in known if "-verdicts-" in name) == PUBLISHED
    assert all((paths.RUNS / name / "manifest.json").exists() for name in known)
    assert main(["site", "--published", PUBLISHED]) == 2
    assert "--published takes the runs that git knows" in capsys.readouterr().err
