"""Every rule has a result that breaks it and a similar one that does not, and all rules are applied everywhere."""

import json
from pathlib import Path

import pytest
from tests.gptoss_bench.lint.rules import (
    test_arithmetic,
    test_design,
    test_fleet,
    test_machine,
    test_open_loop,
    test_results,
    test_setup,
)

from gptoss_bench.cli.main import main
from gptoss_bench.lint.check import RULES, check_result
from gptoss_bench.lint.results import read_results
from gptoss_bench.lint.rules.setup import NAMES_DIFFER
from gptoss_bench.runs.folder import Run
from gptoss_bench.session.evaluate import findings_document, rebuild_run
from published import folder

IDS = [rule.id for rule in RULES]


def test_every_rule_has_a_result_that_breaks_it_and_one_that_does_not() -> None:
    suites = (test_arithmetic, test_design, test_results, test_machine, test_open_loop, test_fleet, test_setup)
    elsewhere = test_setup.ELSEWHERE | test_design.ELSEWHERE | test_results.ELSEWHERE
    broken = {case[0] for suite in suites for case in suite.BROKEN} | {id for id in elsewhere if any(elsewhere[id])}
    kept = {case[0] for suite in suites for case in suite.WITHIN} | {id for id in elsewhere if not all(elsewhere[id])}
    assert broken == kept == set(IDS) - {NAMES_DIFFER.id}  # which follows from the notes of an imported result


def test_rules_are_listed_once_each_with_reason_and_advice_errors_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(IDS) == len(set(IDS)) >= 30
    severities = [rule.severity for rule in RULES]
    assert severities == sorted(severities, key=("error", "warning", "note").index)
    assert all(rule.reason.endswith(".") and rule.advice for rule in RULES)
    assert main(["lint", "--rules"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == IDS
    assert all(line.endswith(rule.reason) for line, rule in zip(listed, RULES, strict=True))
    assert main(["lint"]) == 2
    assert "--rules" in capsys.readouterr().err


@pytest.mark.parametrize("scenario", ["vllm-h100", "ollama-a10"])
def test_a_rebuilt_run_has_the_findings_that_lint_finds_in_it(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`lint RUN`, lint.json and `rebuild` give the same findings."""
    run = Run.load(folder(scenario))
    rebuild_run(run, tmp_path)
    rebuilt = json.loads((tmp_path / "lint.json").read_text())
    [result] = read_results(run.path)
    assert rebuilt == findings_document(check_result(result).findings)
    assert main(["lint", "--json", str(run.path)]) in (0, 3)
    assert json.loads(capsys.readouterr().out)[0]["findings"] == rebuilt
