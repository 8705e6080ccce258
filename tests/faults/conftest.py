"""Print what the fault tests have counted: the figures of docs/reliability.md."""

from faults import FIGURES


def pytest_terminal_summary(terminalreporter) -> None:
    if FIGURES:
        terminalreporter.section("counted")
        for what, number in sorted(FIGURES.items()):
            terminalreporter.write_line(f"{number:>10,}  {what}")
