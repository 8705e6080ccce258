"""`gptoss-bench run`: execute notebooks with a profile's parameters and print the verdicts."""

import io
import re
import shlex
import shutil
import sys
import textwrap
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gptoss_bench.cli.options import CaFile, Json, use_ca_file
from gptoss_bench.cli.output import coloured, print_findings, print_json
from gptoss_client import UsageError

if TYPE_CHECKING:
    from gptoss_bench.claims import Verdict
    from gptoss_bench.runs import LoadSummary, Run, VerdictsSummary
    from gptoss_bench.session import RunProgress

SCENARIO_NOTEBOOKS = ("calibration", "method_trial", "ollama_a10", "vllm_h100", "transformers_bf16", "verdicts")

EXAMPLE = """examples:
  gptoss-bench run --profile notebooks/profiles/local.yaml
  gptoss-bench run --profile notebooks/profiles/h100.yaml -p url=http://127.0.0.1:8000 vllm_h100 verdicts
  gptoss-bench run --profile notebooks/profiles/local.yaml --claims results/claims/gpustack-gpt-oss-20b-h100.yaml"""


def run(
    notebooks: Annotated[
        list[str] | None, typer.Argument(help=f"notebooks, by name (default: {' '.join(SCENARIO_NOTEBOOKS)})")
    ] = None,
    *,
    profile: Annotated[
        Path, typer.Option(metavar="FILE", help="YAML file of parameters, or its name in notebooks/profiles, as local")
    ],
    pairs: Annotated[
        list[str] | None, typer.Option("-p", metavar="NAME=VALUE", help="override one parameter; can be repeated")
    ] = None,
    claims: Annotated[
        Path | None, typer.Option(metavar="FILE", help="claims file that the verdicts are on (default: the write-up's)")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(metavar="DIR", help="folder that gets runs/<run> (default: results)")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="print every verdict and the evidence, not only counts")] = False,
    cacert: CaFile = None,
    as_json: Json = False,
) -> int:
    """Execute notebooks headlessly, each into a run folder with its HTML, and print the verdicts."""
    from gptoss_bench import paths
    from gptoss_bench.notebook import notebook_parameters, profile_path

    use_ca_file(cacert)
    profile = profile_path(profile)
    names = notebooks or list(SCENARIO_NOTEBOOKS)
    folder = (results or paths.RESULTS).absolute()
    given = _pairs(pairs or [])
    if claims is not None and claims.resolve() != paths.CLAIMS.resolve():
        file, root = claims.resolve(), paths.ROOT.resolve()
        given["claims_file"] = str(file.relative_to(root) if file.is_relative_to(root) else file)
    declared = {name: notebook_parameters(name) for name in names}
    parameters = _parameters(profile, given, declared.values())

    # What can be wrong on the command line was checked before papermill, nbconvert and pandas are imported.
    from gptoss_bench.claims import load_write_up, verdicts_from_table
    from gptoss_bench.notebook import execute_notebook
    from gptoss_bench.runs import LoadSummary, VerdictsSummary, new_run_id
    from gptoss_bench.session import RunProgress, run_seconds, showing_progress

    if claims is not None:
        load_write_up(claims)  # a mistake in it is reported before anything runs
    if results is not None:
        parameters["results_dir"] = str(folder)
    began_s, done = time.monotonic(), []
    out = sys.stderr if as_json else sys.stdout
    for number, name in enumerate(names, start=1):
        mine = {key: value for key, value in parameters.items() if key in declared[name]}
        scenario = name.replace("_", "-")
        run_id = new_run_id(scenario)
        step = _Step(
            f"[{number}/{len(names)}] {name}",
            RunProgress(folder / "runs" / run_id),
            run_seconds(paths.RESULTS, scenario, mine),
        )
        print(step.begun(), flush=True, file=out)
        with showing_progress(step.text, elapsed=False):
            output = step.printed if name == "calibration" else None
            profile_name = _profile_name(profile)
            done.append(
                execute_notebook(
                    name, mine, folder, profile=profile_name, run_id=run_id, output=output, report_cell=step.in_cell
                )
            )
        print(step.ended(), flush=True, file=out)
    verdicts = [
        verdicts_from_table(executed.run.table("verdicts")) for executed in done if executed.run.scenario == "verdicts"
    ]
    if as_json:
        shown = [
            {"scenario": one.run.scenario, "run": one.run.run_id, "notebook": one.notebook, "html": one.html}
            for one in done
        ]
        print_json({"notebooks": shown, "verdicts": [asdict(verdict) for some in verdicts for verdict in some]})
        return 0
    options = ["--profile", profile, *(word for pair in pairs or [] for word in ("-p", pair))]
    options += [*(("--claims", claims) if claims else ()), *(("--results", results) if results else ())]
    again = shlex.join(["gptoss-bench", "run", *map(str, options), "--all", "verdicts"])
    for some in verdicts:
        _print_verdicts(some, every=every, again=again)
    for executed in done:
        if every and isinstance(executed.run.summary, VerdictsSummary):
            print("\n" + _evidence_text(executed.run.summary))
        if not verdicts and isinstance(executed.run.summary, LoadSummary):
            _print_result(executed.run, executed.run.summary)
    print(f"\n{len(done)} notebook{'s' * (len(done) > 1)} in {clock_text(time.monotonic() - began_s)}; open:")
    for executed in done:
        print(f"  {executed.run.scenario:<18} {executed.html.as_uri()}")
    return 0


def _parameters(profile: Path, given: dict[str, Any], declared: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the parameters of a profile and those given in their place, all checked."""
    from gptoss_bench.notebook import check_parameters, notebook_parameters, read_profile
    from gptoss_bench.stats import parse_slo

    known = [*declared, *(notebook_parameters(name) for name in SCENARIO_NOTEBOOKS)]
    parameters = check_parameters(read_profile(profile), known, profile.name)
    parameters |= check_parameters(given, known, "-p")
    if parameters.get("slo"):
        parse_slo(str(parameters["slo"]))  # so is one in its limits
    return parameters


def _print_verdicts(verdicts: "list[Verdict]", *, every: bool, again: str) -> None:
    """Print all verdicts, or those to read first and the command `again` that prints all."""
    from gptoss_bench.claims import verdict_text

    width = min(shutil.get_terminal_size((120, 24)).columns, 140)
    text = verdict_text(verdicts, width=width) if every else _short_text(verdicts, width)
    print("\n" + coloured_verdicts(text))
    if not every:
        print(f"\nAll of them are in the verdicts notebook. To print them: {again}")


def _print_result(run: "Run", summary: "LoadSummary") -> None:
    """Print the result block of a load, what its search for a capacity found, and the findings of the linter."""
    from gptoss_bench.readings import capacity_finding, findings_text
    from gptoss_bench.stats import result_block

    print("\n" + result_block(summary, title_line=_title(run)))
    if summary.capacity is not None:
        print("\n" + capacity_finding(summary, run.manifest))
    findings = run.findings or []
    print_findings(findings)
    if any(finding.severity == "error" for finding in findings):
        print(coloured(findings_text(findings), "error"))


class _Step:
    """One notebook of several: what it does now, its time, and about how long it takes.

    That is how long the last run with these parameters took; without one, or when it has passed, the load says it.
    """

    def __init__(self, name: str, seen: "RunProgress", expected_s: float | None) -> None:
        self._name, self._seen, self._expected_s = name, seen, expected_s or 0.0
        self._began_s, self._cell = time.monotonic(), ""
        self.printed = _LastLine()

    def begun(self) -> str:
        return f"{self._name} ...{f' about {clock_text(self._expected_s)}' if self._expected_s else ''}"

    def in_cell(self, cell: str) -> None:
        self._cell, self.printed.text = cell, ""

    def text(self) -> str:
        is_known = time.monotonic() - self._began_s < self._expected_s and not self.printed.text
        about = f" of about {clock_text(self._expected_s)}" if is_known else ""
        doing = self.printed.text or self._seen.text(time_left=not is_known, otherwise=self._cell)
        return f"{self._name} {self._elapsed()}{about}  {doing}"

    def ended(self) -> str:
        return f"{self._name}: done in {self._elapsed()}"

    def _elapsed(self) -> str:
        return clock_text(time.monotonic() - self._began_s)


class _LastLine(io.StringIO):
    """Keep the last line that a notebook printed."""

    text = ""

    def write(self, text: str) -> int:
        self.text = next((line for line in reversed(text.splitlines()) if line.strip()), self.text)
        return len(text)


def clock_text(seconds: float) -> str:
    """Return seconds as minutes and seconds."""
    from gptoss_bench.session import clock

    return clock(seconds)


def _title(run: "Run") -> str:
    """Return label, model, engine and run id of a run in one line."""
    labels, server = ", ".join(run.manifest.labels), run.manifest.server
    return f"{f'{labels}: ' if labels else ''}{server.model} with {server.engine}, run {run.run_id}"


def _short_text(verdicts: "list[Verdict]", width: int) -> str:
    """Return headline, counts, and the verdicts to read first, one line each."""
    from gptoss_bench.claims import counts_text, headline, notable_verdicts

    notable = notable_verdicts(verdicts)
    lines = [f"{headline(verdicts)}.", *textwrap.wrap(f"{counts_text(verdicts)}.", width)]
    lines += ["", "Read these first:"] if notable else []
    for verdict in notable:
        line = f"{verdict.number:<5}{verdict.verdict:<18}{verdict.says}"
        lines.append(line if len(line) <= width else f"{line[: width - 1]}…")
    return "\n".join(lines)


def _evidence_text(summary: "VerdictsSummary") -> str:
    """Return which runs decided, and which did not and why."""
    lines = ["Evidence:", *(f"  {run_id}: {because}" for run_id, because in summary.chosen.items())]
    if summary.refused:
        lines += ["No evidence:", *(f"  {run_id}: {reason}" for run_id, reason in summary.refused.items())]
    return "\n".join(lines)


def _profile_name(profile: Path) -> str:
    """Return the name of a profile of notebooks/profiles, and the path of another one, whose runs are ad hoc."""
    from gptoss_bench import paths

    return profile.stem if profile.resolve().parent == paths.PROFILES.resolve() else str(profile.name)


def coloured_verdicts(text: str) -> str:
    """Colour the second column, the verdict, of each line that begins with the number of a claim."""
    return re.sub(r"(?m)^(C\d\d +)(\S+(?: \S+)*)(?=  )", lambda match: match[1] + coloured(match[2]), text)


def _pairs(pairs: list[str]) -> dict[str, Any]:
    """Parse NAME=VALUE pairs; a value is YAML, as in a profile."""
    import yaml

    parameters = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"-p {pair}: write NAME=VALUE")
        try:
            parameters[name] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise UsageError(f"-p {pair}: the value is not YAML") from error
    return parameters
