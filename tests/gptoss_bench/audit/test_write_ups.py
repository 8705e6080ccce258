"""Every claims file of the repository is valid, and its claims get the words of their bases."""

from pathlib import Path

import pytest

from gptoss_bench import paths
from gptoss_bench.claims import decide_claims, load_write_up
from gptoss_bench.cli.main import main

FILES = sorted(paths.CLAIMS.parent.glob("*.yaml"))
OTHERS = [file for file in FILES if file != paths.CLAIMS]


def test_there_are_several_write_ups() -> None:
    assert len(OTHERS) >= 5


@pytest.mark.parametrize("file", OTHERS, ids=lambda file: file.stem)
def test_without_a_run_only_arithmetic_decides(file: Path) -> None:
    verdicts = decide_claims(load_write_up(file), [])
    assert {verdict.basis for verdict in verdicts} <= {"computed", "published figures against each other", "none"}
    assert any(verdict.basis != "none" for verdict in verdicts)


def test_a_table_and_the_block_below_it_disagree(capsys: pytest.CaptureFixture[str]) -> None:
    """The baseline in the conclusion is not the one that the block prints: its gain is 14.5 %, the block's 16.0 %."""
    [file] = [file for file in FILES if file.stem == "gpustack-gpt-oss-20b-h100"]
    found = {verdict.claim_id: verdict.verdict for verdict in decide_claims(load_write_up(file), [])}
    assert found["C06-total-rate"] == "consistent"
    assert found["C07-total-rate-in-summary"] == "inconsistent"
    assert main(["audit", str(file)]) == 0
    assert "line 18: Prompt and output tokens a second of the same baseline" in capsys.readouterr().out
