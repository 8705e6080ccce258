"""`gptoss-bench audit FILE…|-`: judge a benchmark that anyone published, from its file or its text."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gptoss_bench.cli.options import Json, ResultsFolder
from gptoss_bench.cli.output import coloured, print_json
from gptoss_client import UsageError, one_line

if TYPE_CHECKING:
    from gptoss_bench.audit import Audit
    from gptoss_bench.claims import Verdict

EXAMPLE = """examples, a file, a page, pasted text, and the verdicts on a claims file:
  gptoss-bench audit bench.json README.md
  xclip -o | gptoss-bench audit - --draft claims.yaml
  gptoss-bench audit results/claims/gpustack-gpt-oss-20b-h100.yaml

It prints each figure with its line, what cannot be true, what is missing and what cannot be compared. Exit code 3 if a
rule of severity error fires."""


def audit(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="file of a benchmark tool, page or text (- is stdin), or claims files"),
    ],
    *,
    draft: Annotated[
        Path | None, typer.Option(metavar="CLAIMS.yaml", help="write a claims file with the figures found")
    ] = None,
    results: ResultsFolder = None,
    as_json: Json = False,
) -> int:
    """Judge results that anyone published: what cannot be true, what is missing, what cannot be compared."""
    claims_files = [name for name in files if name.endswith((".yaml", ".yml"))]
    if claims_files and (draft is not None or len(claims_files) < len(files)):
        raise UsageError(f"{claims_files[0]} is a claims file: judge claims files alone, and without --draft")
    if claims_files:
        return _judge(claims_files, results, as_json)
    if draft is not None and len(files) > 1:
        raise UsageError("--draft takes one file: each claims file is about one text")
    texts = [_text(name) for name in files]

    from gptoss_bench.audit import audit_text, draft_claims

    audits = [
        audit_text(text, "stdin" if name == "-" else Path(name).name) for name, text in zip(files, texts, strict=True)
    ]
    if draft is not None:
        if draft.exists():
            raise UsageError(f"{one_line(str(draft))} exists: name another file, or remove it")
        draft.write_text(draft_claims(audits[0]), encoding="utf-8")
    if as_json:
        print_json([asdict(one) for one in audits])
    else:
        print("\n\n".join("\n".join(_lines(one)) for one in audits))
        if draft is not None:
            print(f"\nclaims written: {draft}")
    return 3 if any(one.impossible for one in audits) else 0


def _text(name: str) -> str:
    if name == "-":
        return sys.stdin.read()
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {one_line(name)}: {getattr(error, 'strerror', None) or error}") from error


def _lines(found: "Audit") -> Iterator[str]:
    for at, result in enumerate(found.results):
        yield ("\n" if at else "") + result.name
        for figure in result.figures:
            yield f"  line {figure.line}: {figure.printed}"
        for finding in result.findings:
            yield f"  {coloured(finding.severity)}: {finding.evidence} [{finding.rule}]"
            yield f"    {finding.advice}"
        if result.missing:
            yield f"  missing: {'; '.join(result.missing)}"
    for words in found.not_comparable:
        yield f"\nnot comparable: {words}"
    errors = sum(finding.severity == "error" for result in found.results for finding in result.findings)
    yield f"\n{len(found.results)} result{'s' * (len(found.results) != 1)}, {errors} error{'s' * (errors != 1)}"


def _judge(files: list[str], results: Path | None, as_json: bool) -> int:
    from gptoss_bench import claims, paths

    judged: dict[str, list[Verdict]] = {}
    for name in files:
        write_up = claims.load_write_up(Path(name))
        evidence = claims.evidence_for(write_up, results or paths.RESULTS, [])
        judged[name] = claims.decide_claims(write_up, [claims.RunRecord.of(chosen) for chosen in evidence.chosen])
    if as_json:
        print_json({name: [asdict(verdict) for verdict in verdicts] for name, verdicts in judged.items()})
        return 0
    for name, verdicts in judged.items():
        print(name)
        for verdict in verdicts:
            print(f"  line {verdict.lines}: {verdict.says} {verdict.published}")
            print(f"    {coloured(verdict.verdict)} ({verdict.basis_text}): {verdict.evidence}")
    return 0
