"""Write docs/cli.md from the commands: `python -m gptoss_bench.cli.reference_page`."""

from textwrap import fill

from gptoss_bench import paths
from gptoss_bench.cli import main

PAGE = paths.ROOT / "docs" / "cli.md"
WIDTH = 120  # a block of code is not wrapped by a browser
HEAD = """# Commands

This page is written by `python -m gptoss_bench.cli.reference_page` from the definitions of the commands. `make setup` installs `gptoss-bench` into `.venv/bin`: call it there, or run `. .venv/bin/activate` once per shell. `python -m gptoss_bench` is the same. `gptoss-bench --install-completion` adds completion to the shell.

A bad command line or value is one line on stderr that starts with `gptoss_bench:`; a claims file has one line for each mistake. Severities and verdicts have colours on a terminal only; NO_COLOR and TERM=dumb turn them off.
"""  # noqa: E501


def reference_page() -> str:
    """Return the content of docs/cli.md: each command by group, with its options and example."""
    assert main.__doc__
    codes = " ".join(main.__doc__.partition("Exit codes: ")[2].split())
    lines = [HEAD, f"Exit codes: {codes}"]
    panel = None
    for name, (group, _) in main.COMMANDS.items():
        if group != panel:
            lines += ["", f"## {group}"]
            panel = group
        lines += ["", *_section(name)]
    return "\n".join(lines) + "\n"


def _section(name: str) -> list[str]:
    command = main.load_command(name)
    context = command.make_context(f"{main.PROGRAM} {name}", [], resilient_parsing=True)
    rows = [record for param in command.get_params(context) if (record := param.get_help_record(context))]
    usage = " ".join((f"{main.PROGRAM} {name}", *command.collect_usage_pieces(context)))
    return [
        f"### {name}",
        "",
        str(command.help),
        "",
        "```text",
        usage,
        "```",
        "",
        "| option | meaning |",
        "|---|---|",
        *(f"| `{_cell(option)}` | {_cell(text)} |" for option, text in rows),
        "",
        "```text",
        *(line if line.startswith(" ") else fill(line, WIDTH) for line in str(command.epilog).split("\n")),
        "```",
    ]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<run>", "RUN")


if __name__ == "__main__":
    PAGE.write_text(reference_page(), encoding="utf-8")
