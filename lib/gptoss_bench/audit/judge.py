"""Judge the results in a text by the rules of the linter, and say what is missing and what cannot be compared."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gptoss_bench.audit.published_text import FigureGroup, FoundFigure, find_figures
from gptoss_bench.importers import ImportedResult, ImportedSummary, find_results
from gptoss_bench.lint import Result, check_result, differing_conditions, reported_figures
from gptoss_bench.runs import Distribution, EndpointRecord, Finding, InstalledGpu, Manifest, TokenCounts, derive_tables
from gptoss_bench.stats import PrintedFigure
from gptoss_client import UsageError

_ENGINES = {
    "vllm": r"\bvllm\b",
    "sglang": r"\bsglang\b",
    "ollama": r"\bollama\b",
    "llama.cpp": r"\bllama\.cpp\b|\bllama-(?:bench|server)\b",
    "tensorrt-llm": r"\btensorrt[- ]llm\b|\btrt-?llm\b",
}
_VERSION = r"[^\w\n]{{0,4}}(?:version\s*)?v?(\d+\.\d+[\w.]*)"
_MODEL = re.compile(r"gpt[-_ ]?oss[-_: ]?(20b|120b)", re.I)
_GPU = re.compile(
    r"\b(A10|A100|H100|H200|B200|GB200|GB300|L4|L40S?|T4|MI300X|MI355X|RTX ?\w+(?: Ti)?|M\d (?:Max|Ultra|Pro))\b"
)
_BEST = re.compile(r"\bbest (?:out )?of \d+|\bbest run\b", re.I)
TIMES = ("ttft_s", "tpot_s", "itl_s", "done_s")


@dataclass(frozen=True, slots=True)
class AuditedResult:
    """One result of a text: its figures with their lines, the findings about them, and what it does not state.

    `engine`, `version`, `model` and `gpu` are what the text states once, None for what it does not.
    """

    name: str
    figures: tuple[FoundFigure, ...]
    findings: tuple[Finding, ...]
    missing: tuple[str, ...]
    engine: str | None = None
    version: str | None = None
    model: str | None = None
    gpu: str | None = None


@dataclass(frozen=True, slots=True)
class Audit:
    """All results of a text, and why some of them cannot be compared with others."""

    name: str
    results: tuple[AuditedResult, ...]
    not_comparable: tuple[str, ...]

    @property
    def impossible(self) -> bool:
        """Return whether a rule of severity error fired."""
        return any(finding.severity == "error" for result in self.results for finding in result.findings)


def audit_text(text: str, name: str) -> Audit:
    """Return the audit of a tool's file or of any text. Raises UsageError if it has no figure that can be named."""
    stated = _stated(text)
    groups = find_figures(text)
    with_lines = [_with_lines(one, name, stated, groups) for one in _imported(text, name)]
    seen = {(one.name, one.line) for _, figures in with_lines for one in figures}
    for group in groups:
        own = tuple(group.figures.values())
        if not all((one.name, one.line) in seen for one in own):
            with_lines.append((_result(group, name, stated), own))
    if not with_lines:
        raise UsageError(
            f"{name} has no figure that can be named: give a file of a benchmark tool, a table or its text"
        )
    audited = tuple(_audited(one, figures, _missing(one, text, stated)) for one, figures in with_lines)
    return Audit(name, audited, tuple(_not_comparable([one for one, _ in with_lines])))


def _audited(one: Result, figures: tuple[FoundFigure, ...], missing: tuple[str, ...]) -> AuditedResult:
    server, gpus = one.manifest.server, one.manifest.gpus or []
    return AuditedResult(
        one.name,
        figures,
        tuple(check_result(one).findings),
        missing,
        engine=server.engine,
        version=server.version,
        model=server.model.rpartition("/")[2] if server.model else None,
        gpu=gpus[0].name if len(gpus) == 1 else None,
    )


def _with_lines(
    one: ImportedResult, name: str, stated: "_Stated", groups: Sequence[FigureGroup]
) -> tuple[Result, tuple[FoundFigure, ...]]:
    """Return an imported result with the figures of its lines, and with what the text around it states."""
    manifest = one.manifest.model_copy(update={"endpoint": one.manifest.server.model_copy()})
    server = manifest.server
    server.model = server.model or stated.model
    if server.engine in (None, stated.engine):
        server.engine, server.version = stated.engine, server.version or stated.version
    if manifest.gpus is None and stated.gpu is not None:
        manifest.gpus = [InstalledGpu(name=stated.gpu)]
    result = Result(f"{name}: {one.title}", one.summary, one.requests, manifest, one.notes)
    figures = _matching(reported_figures(result), groups)
    return replace(result, printed={found.name: found.figure for found in figures}), figures


def _imported(text: str, name: str) -> list[ImportedResult]:
    try:
        return find_results(text, name)
    except UsageError:
        return []  # a text that resembles a tool's output: its figures are found one by one


def _matching(figures: Mapping[str, PrintedFigure], groups: Sequence[FigureGroup]) -> tuple[FoundFigure, ...]:
    """Return the figures of the group that has most values of an imported result."""

    def same(group: FigureGroup) -> list[FoundFigure]:
        return [
            one
            for one in group.figures.values()
            if (known := figures.get(one.name)) is not None and one.figure.overlaps(known.low, known.high)
        ]

    best = max(groups, key=lambda group: len(same(group)), default=None)
    return tuple(best.figures.values()) if best is not None and len(same(best)) >= 2 else ()


@dataclass(frozen=True, slots=True)
class _Stated:
    """What a text says of how its figures were made: only what it says once, not what it compares."""

    engine: str | None
    version: str | None
    model: str | None
    gpu: str | None
    notes: tuple[str, ...]


def _stated(text: str) -> _Stated:
    engines = [name for name, pattern in _ENGINES.items() if re.search(pattern, text, re.I)]
    engine = engines[0] if len(engines) == 1 else None
    versions = (
        set(re.findall(rf"(?:{_ENGINES[engine]}){_VERSION.format()}", text, re.I)) if engine is not None else set[str]()
    )
    models = {f"gpt-oss-{size.lower()}" for size in _MODEL.findall(text)}
    gpus = set(_GPU.findall(text))
    return _Stated(
        engine,
        versions.pop() if len(versions) == 1 else None,
        models.pop() if len(models) == 1 else None,
        gpus.pop() if len(gpus) == 1 else None,
        tuple(match[0] for match in _BEST.finditer(text)),
    )


def _result(group: FigureGroup, name: str, stated: _Stated) -> Result:
    """Return the figures of a text as a result that the rules can check."""
    values = {one.name: one.figure.value for one in group.figures.values()}
    completed = int(values.get("completed", values.get("requests", 0)))
    fields: dict[str, object] = {
        field: values[field]
        for field in ("wall_s", "request_s", "output_tok_s_total", "total_tok_s")
        if field in values
    }
    for quantity in TIMES:
        mean, p50, p90, p99 = (values.get(f"{quantity}.{at}") for at in ("mean", "p50", "p90", "p99"))
        if any(value is not None for value in (mean, p50, p90, p99)):
            fields[quantity] = Distribution(n=completed, mean=mean, p50=p50, p90=p90, p99=p99)
    if "concurrency_planned" in values:
        fields["concurrency_planned"] = int(values["concurrency_planned"])
    summary = ImportedSummary.model_validate(
        {
            "requests": int(values.get("requests", completed + values.get("failed", 0))),
            "completed": completed,
            "failed": int(values.get("failed", 0)),
            "completion_tokens": TokenCounts(
                sum=int(values["completion_tokens.sum"]) if "completion_tokens.sum" in values else None,
                mean=values.get("completion_tokens.mean"),
            ),
            **fields,
        }
    )
    manifest = Manifest(
        endpoint=EndpointRecord(engine=stated.engine, version=stated.version, model=stated.model),
        gpus=None if stated.gpu is None else [InstalledGpu(name=stated.gpu)],
        parameters={at: values[at] for at in ("max_tokens", "request_rate") if at in values},
        notes=list(stated.notes),
    )
    line = min(one.line for one in group.figures.values())
    title = f", {group.title}" if group.title.strip() else ""
    printed = {one.name: one.figure for one in group.figures.values()}
    return Result(f"{name}, line {line}{title}", summary, derive_tables([])[0], manifest, printed=printed)


def _missing(result: Result, text: str, stated: _Stated) -> tuple[str, ...]:
    """Return what a reader has to know to repeat the measurement and is not stated."""
    summary, server = result.summary, result.manifest.server
    figures = reported_figures(result)
    times = [name for name in TIMES if any(key.startswith(name) for key in figures)]
    loose = [name.removesuffix("_s").upper() for name in times if name in result.printed]
    found = [
        (not (server.engine and server.version), "the engine and its version"),
        (not (server.model or stated.model), "the model"),
        (not (result.manifest.gpus or stated.gpu or _GPU.search(text)), "the hardware"),
        (not summary.completed, "the number of requests"),
        (
            summary.concurrency_planned is None and "request_rate" not in result.manifest.parameters,
            "the load: requests in flight, or the rate at which they were sent",
        ),
        ("total_tok_s" in figures and "output_tok_s_total" not in figures, "the rate of output tokens alone"),
        (summary.completion_tokens.sum is None and summary.completion_tokens.mean is None, "the length of answers"),
        (bool(loose), f"which statistic {', '.join(loose)} is"),
        (not any(name in times for name in ("ttft_s", "done_s")), "a time that a user sees: TTFT or latency"),
    ]
    return tuple(words for is_missing, words in found if is_missing)


def _not_comparable(results: Sequence[Result]) -> list[str]:
    """Return why the results of a text differ in more than one thing."""
    found = [finding.evidence for finding in differing_conditions((one.name, one.manifest) for one in results)]
    loads = sorted({slots for one in results if (slots := one.summary.concurrency_planned) is not None})
    if len(loads) > 1:
        found.append(f"requests in flight: {', '.join(map(str, loads))}")
    figures = [reported_figures(one) for one in results]
    total = [one for one in figures if "total_tok_s" in one and "output_tok_s_total" not in one]
    output = [one for one in figures if "output_tok_s_total" in one and "total_tok_s" not in one]
    if total and output:
        found.append("some rates count prompt and output tokens, others output tokens alone")
    return found
