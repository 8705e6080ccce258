"""Prepare the report on one run: result block, error bar, findings, verdicts, cost and energy; as Markdown and HTML."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gptoss_bench.claims import RunRecord, Verdict, decide_claims, load_write_up
from gptoss_bench.figures import figure_html, waiting_from_due
from gptoss_bench.runs import ChosenRun, Finding, LoadSummary, Manifest, Run, Summary, run_caption
from gptoss_bench.site.notebook_cells import Cell, NotebookPage
from gptoss_bench.site.render import Frame, escape_markdown, markdown_html, render, render_markdown
from gptoss_bench.site.run_figures import figure_cells, run_finding
from gptoss_bench.stats import client_text, open_loop_text, result_block


@dataclass(frozen=True, slots=True)
class HourlyPrice:
    """The price of the machine in US dollars per hour, and the day of that price."""

    usd_per_hour: float
    day: str


@dataclass(frozen=True, slots=True)
class Report:
    """What the report on a run shows.

    `problem` is why the run is not complete, "" if it is. `result_block`, `error_bar` and `client_bound` are "" where
    the summary has none. `open_loop` is what a closed loop would have hidden, and `picture` its figure as HTML: "" for
    a closed loop. `findings` is None if the run was not linted. The rows of the tables have the columns that
    site/templates/report.md.j2 names.
    """

    run_id: str
    title: str
    caption: str
    label: str
    problem: str
    origin: str
    result_block: str
    error_bar: str
    client_bound: str
    findings: Sequence[tuple[str, ...]] | None
    verdicts: Sequence[tuple[str, ...]]
    costs: Sequence[tuple[str, str]]
    open_loop: str = ""
    picture: str = ""

    def markdown(self) -> str:
        """Return the report as Markdown."""
        return render_markdown("report.md.j2", self)

    def html(self) -> str:
        """Return the report as one HTML file that opens without a network."""
        return render("report.html.j2", self, Frame(f"{self.run_id}.html", self.title))


def report_on(run: Run, price: HourlyPrice | None = None) -> Report:
    """Return the report on a run that was read from disk, with the verdicts that this run alone decides."""
    record = RunRecord.of(ChosenRun(run, run.scenario, "named"))
    verdicts = decide_claims(load_write_up(), [record]) if run.manifest.status == "complete" else []
    decided = [verdict for verdict in verdicts if verdict.run_id == run.run_id]
    made = make_report(run.manifest, run.summary, run.findings, decided, price)
    if not isinstance(run.summary, LoadSummary) or run.summary.rate_planned is None:
        return made
    text = open_loop_text(run.requests)
    picture = figure_html(waiting_from_due(run.requests, run.manifest), text) if text else ""
    return replace(made, open_loop=text, picture=picture)


def report_page(run: Run, pictures: Path, prefix: str, origin: str) -> NotebookPage:
    """Return the content of the page of a run without a notebook: its report, with the figures that its folder allows.

    The pictures are written to the folder `pictures` as <prefix>-<number>; `origin` ends each alternative text. What
    the page itself shows, labels, caption and claims, is left out.
    """
    report = report_on(run)
    cells = [Cell(markdown_html(render_markdown("page_top.md.j2", report, finding=run_finding(run))))]
    cells += figure_cells(run, pictures, prefix, origin)
    cells.append(Cell(markdown_html(render_markdown("page_end.md.j2", report))))
    return NotebookPage(report.title, markdown_html(f"# {escape_markdown(report.title)}"), cells)


def make_report(
    manifest: Manifest,
    summary: Summary,
    findings: Sequence[Finding] | None,
    verdicts: Sequence[Verdict],
    price: HourlyPrice | None = None,
) -> Report:
    """Return the report on a run.

    `findings` are those of lint.json, None if the run was not linted; `verdicts` are those decided by this run.
    """
    labels, code = ", ".join(manifest.labels), manifest.code
    version = f"{code.version} at {code.commit}" + (" with changes" if code.dirty else "")
    load = summary if isinstance(summary, LoadSummary) else LoadSummary()
    title = f"{manifest.server.model} with {manifest.server.engine}, run {manifest.run_id}"
    shown = result_block(load, title_line=f"{labels}: {title}" if labels else title) if load is summary else ""
    error_bar = client_text(load)
    complete = manifest.status == "complete"
    return Report(
        run_id=manifest.run_id,
        title=_title(manifest, load),
        caption=run_caption(manifest, labels=False),
        label=labels,
        problem="" if complete else f"{manifest.status}: {manifest.reason or 'it was interrupted'}",
        origin=f"Started {manifest.start_utc}, ended {manifest.end_utc or 'never'}; code {version}.",
        result_block=shown,
        error_bar=f"{error_bar[0].upper()}{error_bar[1:]}." if error_bar else "",
        client_bound="; ".join(load.client.bound) if error_bar else "",
        findings=None if findings is None else [_finding(one) for one in findings],
        verdicts=[_verdict(one) for one in verdicts],
        costs=_costs(load, price, labels),
    )


def _title(manifest: Manifest, load: LoadSummary) -> str:
    """Return what was measured, on what, and how: engine, hardware, load, labels."""
    hardware = " and ".join(dict.fromkeys(gpu.name for gpu in manifest.gpus or [])) or "a CPU"
    measured = f"{manifest.server.release} on {hardware}" if manifest.server.release else f"Run {manifest.run_id}"
    kind = "search for the capacity, " if load.capacity else "conversations, " if load.conversations else ""
    count = f": {kind}{load.requests} requests" if load.requests else ""
    slots = f", {load.concurrency_planned} at a time" if count and load.concurrency_planned else ""
    labels = f" ({', '.join(manifest.labels)})" if manifest.labels else ""
    return f"{measured}{count}{slots}{labels}"


def _finding(one: Finding) -> tuple[str, ...]:
    return one.severity, one.rule, one.evidence, one.advice


def _verdict(one: Verdict) -> tuple[str, ...]:
    return one.number, one.says, one.published, one.basis_text, one.text, one.evidence


def _costs(summary: LoadSummary, price: HourlyPrice | None, label: str) -> list[tuple[str, str]]:
    power, energy = summary.power_w, summary.energy_j_per_tok
    rows = [
        ("mean GPU power, all GPUs", "unknown: no GPU reported it" if power is None else f"{power:.1f} W"),
        ("energy per output token", "unknown: no GPU counted it" if energy is None else f"{energy:.3f} J"),
    ]
    if price is None:
        how = "make report RUN=… PRICE=…, in USD per hour"
        return [*rows, ("cost per million output tokens", f"unknown: no price was given ({how})")]
    usd = usd_per_mtok(price, summary.output_tok_s_total)
    basis = f"at {price.usd_per_hour:g} USD per hour on {price.day}, over the whole run"
    found = "unknown: no token rate" if usd is None else f"{usd:.3g} USD {basis}"
    return [*rows, ("cost per million output tokens", f"{label}: {found}" if label and usd is not None else found)]


def usd_per_mtok(price: HourlyPrice, output_tok_s: float | None) -> float | None:
    """Return US dollars per million output tokens at a rate in tokens per second; None without a rate."""
    return price.usd_per_hour / (output_tok_s * 3600) * 1e6 if output_tok_s else None
