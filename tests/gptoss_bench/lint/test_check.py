"""No rule without a run that trips it and one a step beside that does not; and all of them wherever a run is judged."""

import ast
import json
from pathlib import Path

import pytest
from tests.gptoss_bench.lint.rules import test_machine as test_lint_machine
from tests.gptoss_bench.lint.rules import test_results as test_lint
from tests.gptoss_bench.lint.rules import test_setup as test_lint_made

from gptoss_bench import paths
from gptoss_bench.cli.main import main
from gptoss_bench.lint.check import REASONS, RULES
from gptoss_bench.lint.results import judge_result, read_results
from gptoss_bench.lint.rules.machine import MACHINE_RULES
from gptoss_bench.lint.rules.results import RESULT_RULES
from gptoss_bench.lint.rules.setup import _CONDITIONS, SETUP_RULES
from gptoss_bench.runs.folder import Run
from gptoss_bench.session.evaluate import findings_document, rebuild_run
from published import folder

MODULES = ("results", "machine", "setup")


def ids() -> set[str]:
    """The id of every finding that the rooms of the linter can make, read from their source."""
    found = set()
    for module in MODULES:
        for node in ast.walk(ast.parse((paths.PACKAGE / "lint" / "rules" / f"{module}.py").read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding":
                found |= {one.value for one in node.args[:1] if isinstance(one, ast.Constant)}
    return found | {rule for rule, _, _ in _CONDITIONS}


def test_every_rule_has_a_run_that_trips_it_and_one_that_does_not() -> None:
    suites = (test_lint, test_lint_machine, test_lint_made)
    elsewhere = test_lint_made.ELSEWHERE
    tripped = {case[0] for suite in suites for case in suite.TRIPPED} | {
        rule for rule in elsewhere if any(elsewhere[rule])
    }
    beside = {case[0] for suite in suites for case in suite.BESIDE} | {
        rule for rule in elsewhere if not all(elsewhere[rule])
    }
    assert tripped == ids()
    assert beside == ids()


def test_every_finding_has_its_reason_for_the_reader(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(REASONS) == ids() | {"names-differ"}  # which an imported result has of its tool
    assert all(reason.endswith(".") for reason in REASONS.values())
    assert main(["lint", "--rules"]) == 0
    reported = capsys.readouterr().out
    assert all(f"{rule} " in reported and reason in reported for rule, reason in REASONS.items())
    assert main(["lint"]) == 2
    assert "--rules" in capsys.readouterr().err


def test_every_rule_of_every_module_is_among_those_that_a_result_is_held_against() -> None:
    assert set(RULES) == {*RESULT_RULES, *MACHINE_RULES, *SETUP_RULES}
    assert len(RULES) == len(set(RULES))
    assert len(ids()) >= 30


@pytest.mark.parametrize("scenario", ["vllm-h100", "ollama-a10"])
def test_a_run_made_again_holds_all_findings_that_lint_finds_in_it(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `lint RUN`, lint.json and `rebuild` say is one and the same."""
    run = Run.load(folder(scenario))
    rebuild_run(run, tmp_path)
    kept = json.loads((tmp_path / "lint.json").read_text())
    [result] = read_results(run.path)
    assert kept == findings_document(judge_result(result).findings)
    assert main(["lint", "--json", str(run.path)]) in (0, 3)
    assert json.loads(capsys.readouterr().out)[0]["findings"] == kept
