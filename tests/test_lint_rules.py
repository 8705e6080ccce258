"""No rule without a run that trips it and one a step beside that does not; and all of them wherever a run is judged."""

import ast
import json
from pathlib import Path

import pytest

import test_lint
import test_lint_machine
import test_lint_made
from gptoss_bench import __main__ as shell
from gptoss_bench import lint, lint_machine, lint_made, lint_rules, paths
from gptoss_bench.judged import judge, read
from gptoss_bench.lint_reasons import REASONS
from gptoss_bench.rebuild import findings_document, rebuild
from gptoss_bench.store import Run
from published import folder

ROOMS = ("lint", "lint_machine", "lint_made")


def ids() -> set[str]:
    """The id of every finding that the rooms of the linter can make, read from their source."""
    found = set()
    for room in ROOMS:
        for node in ast.walk(ast.parse((paths.PACKAGE / f"{room}.py").read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding":
                found |= {one.value for one in node.args[:1] if isinstance(one, ast.Constant)}
    return found | {rule for rule, _, _ in lint_made._CONDITIONS}


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
    assert shell.main(["lint", "--rules"]) == 0
    told = capsys.readouterr().out
    assert all(f"{rule} " in told and reason in told for rule, reason in REASONS.items())
    assert shell.main(["lint"]) == 2
    assert "--rules" in capsys.readouterr().err


def test_every_rule_of_every_room_is_among_those_that_a_result_is_held_against() -> None:
    assert set(lint_rules.RULES) == {*lint.RULES, *lint_machine.RULES, *lint_made.RULES}
    assert len(lint_rules.RULES) == len(set(lint_rules.RULES))
    assert len(ids()) >= 30


@pytest.mark.parametrize("scenario", ["vllm-h100", "ollama-a10"])
def test_a_run_made_again_holds_all_findings_that_lint_finds_in_it(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `lint RUN`, lint.json and `rebuild` say is one and the same."""
    run = Run.load(folder(scenario))
    rebuild(run, tmp_path)
    kept = json.loads((tmp_path / "lint.json").read_text())
    [result] = read(run.path)
    assert kept == findings_document(judge(result).findings)
    assert shell.main(["lint", "--json", str(run.path)]) in (0, 3)
    assert json.loads(capsys.readouterr().out)[0]["findings"] == kept
