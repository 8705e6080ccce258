"""Print what the fault tests have counted, and keep the figures of a long run for docs/reliability.md."""

from faults import FIGURES, LONG, write_figures


def pytest_terminal_summary(terminalreporter, exitstatus) -> None:
    if FIGURES:
        terminalreporter.section("counted")
        for what, number in sorted(FIGURES.items()):
            terminalreporter.write_line(f"{number:>10,}  {what}")
    if FIGURES and LONG:
        stats = terminalreporter.stats
        outcomes = {name: len(stats.get(name, ())) for name in ("passed", "failed", "error", "skipped")}
        terminalreporter.write_line(f"figures: {write_figures(outcomes)}")
