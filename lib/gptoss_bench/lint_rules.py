"""All rules that one result is held against, wherever it comes from: a run that ends, one on disk, another's file."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from gptoss_bench import lint, lint_machine, lint_made
from gptoss_bench.finding import Finding
from gptoss_bench.lint import Rule

RULES: tuple[Rule, ...] = (*lint.RULES, *lint_machine.RULES, *lint_made.RULES)


def findings(summary: Mapping[str, Any], requests: pd.DataFrame, manifest: Mapping[str, Any]) -> list[Finding]:
    """What makes a result untrustworthy, the gravest first. `manifest` holds what is known of how it was made."""
    return lint.lint({**summary, "manifest": manifest}, requests, RULES)
