"""All commands as processes: help, completion, colours, options made from fields, and one line for what is wrong."""

import json
import os
import re
import subprocess
import sys
from dataclasses import fields

import pytest

from folders import TESTS
from gptoss_bench import paths
from gptoss_bench.calibration import ReferencePlan
from gptoss_bench.cli import load, reference_page, reference_server
from gptoss_bench.cli.main import COMMANDS, load_command
from gptoss_bench.engines.registry import DIALECTS
from gptoss_bench.stats import SAME_MARGIN
from gptoss_client import LoadPlan
from terminal import KIT, on_a_terminal

HEAVY = {"numpy", "pandas", "pyarrow", "httpx", "pydantic", "matplotlib", "asyncio", "yaml", "tqdm"}
WRITE_UP = TESTS / "imported" / "write-up.txt"
ESCAPE = b"\x1b["


def kit(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "COLUMNS": "120", **environment}
    return subprocess.run([*KIT, *arguments], env=env, cwd=paths.ROOT, capture_output=True, text=True, check=False)


def test_help_lists_every_command_in_its_group_and_a_bare_call_prints_it():
    done = kit("--help")
    assert (done.returncode, done.stderr) == (0, "")
    places = [done.stdout.index(f"─ {group} ─") for group in dict.fromkeys(group for group, _ in COMMANDS.values())]
    assert places == sorted(places)
    assert all(re.search(rf"^│ {name} ", done.stdout, re.MULTILINE) for name in COMMANDS)
    bare = kit()
    assert (bare.returncode, bare.stdout.strip()) == (0, done.stdout.strip())


def test_the_version_is_printed():
    done = kit("--version")
    assert (done.returncode, bool(re.fullmatch(r"gptoss-bench \d+\.\d+\.\d+\n", done.stdout))) == (0, True)


@pytest.mark.parametrize("command", [*COMMANDS])
def test_help_has_an_example(command):
    assert re.search(rf"example.*gptoss-bench {command}\b", str(load_command(command).epilog), re.DOTALL)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_imports_neither_tables_nor_the_network(command):
    code = (
        "import sys, json; from gptoss_bench.cli.main import main; code = main(sys.argv[1:]); "
        "print(json.dumps([code, [*sys.modules]]), file=sys.stderr)"
    )
    arguments = [command, "--help"] if command else ["--help"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stderr)
    assert (code, HEAVY & {*modules}) == (0, set())
    assert f"Usage: gptoss-bench {command}" in done.stdout


def test_each_field_of_a_plan_is_an_option():
    """A field that is added to LoadPlan needs a line in PLAN_OPTIONS; the option follows from it."""
    found_out = {"salt", "replay_sha256", "prompts_file_sha256", "tokens_per_word"}
    assert {field.name for field in fields(LoadPlan)} - {*load.PLAN_OPTIONS} == {"options"} | found_out
    assert [field.name for field in fields(ReferencePlan)] == [*reference_server.PLAN_OPTIONS]
    shown = kit("load", "--help").stdout
    for flag in ("--timeout", "--connect-timeout", "--first-timeout", "--idle-timeout", "--sweep-waves"):
        assert re.search(rf" {flag} ", shown)


def test_load_offers_the_dialects_that_a_server_can_have():
    """`load` states them itself, because the definition of a server needs pydantic, which `--help` does not import."""
    [dialect] = [param for param in load_command("load").params if param.name == "dialect"]
    assert {*dialect.type_descriptor.choices} == {*DIALECTS, "auto"}


def test_the_page_of_the_commands_is_up_to_date():
    assert reference_page.PAGE.read_text(encoding="utf-8") == reference_page.reference_page()


def test_the_margin_in_the_help_of_compare_is_the_one_that_is_used():
    assert f"(default: {SAME_MARGIN:.0%})" in reference_page.reference_page()


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("gptoss-bench do", "doctor"),
        ("gptoss-bench load --connect-", "--connect-timeout"),
        ("gptoss-bench load --dialect oll", "ollama"),
        ("gptoss-bench doctor h", "h100"),
        ("gptoss-bench report {run}", "{run}"),
    ],
)
def test_a_shell_completes_commands_options_values_and_runs(words, completed):
    run = sorted(paths.RUNS.glob("*-verdicts-*"))[-1].name
    words, completed = words.format(run=run), completed.format(run=run)
    number = str(len(words.split()) - 1)
    done = kit(_GPTOSS_BENCH_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=number)
    assert (done.returncode, done.stdout.split()) == (0, [completed])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["lod"], "no such command 'lod'. Did you mean 'load'?"),
        (["frobnicate"], "no such command 'frobnicate'"),
        (["--nothing"], "there is no option --nothing"),
        (["load", "--num-prompts", "8"], "load: there is no option --num-prompts: did you mean -n?"),
        (["load", "--goodput", "ttft:500"], "load: there is no option --goodput: did you mean --slo?"),
        (["load", "--concurency", "3"], "load: there is no option --concurency: did you mean --concurrency?"),
        (["load", "--url", "http://127.0.0.1:9"], "nothing answers at http://127.0.0.1:9"),
        (["load", "--model"], "--model needs a value"),
        (["load", "--model", "m", "x"], "load: got unexpected extra argument(s) (x)"),
        (["load", "--model", "m", "-c", "4.5"], "load: --concurrency '4.5' is not a whole number"),
        (["load", "--model", "m", "--timeout", "soon"], "load: --timeout 'soon' is not a number"),
        (
            ["load", "--model", "m", "--dialect", "opnai"],
            "load: --dialect 'opnai': did you mean openai? Choose one of auto, openai, ollama",
        ),
        (["load", "--model", "m", "--until", "4"], "load: --until '4': it is not a share: write 3% or 0.03"),
        (["load", "--model", "m", "--connect-timeout", "0"], "--connect-timeout must be a number of seconds above 0"),
        (["reference-server", "--tokens", "0"], "--tokens must be 1 or more, not 0"),
        (["reference-server", "--tokens-per-event", "0"], "--tokens-per-event must be 1 or more, not 0"),
        (["load", "--repeats", "0"], "load: --repeats '0': it has to be greater than or equal to 1"),
        (
            ["reference-server", "--port", "99999"],
            "reference-server: --port '99999': it has to be less than or equal to",
        ),
        (["doctor", "h10"], "there is no scenario 'h10': did you mean h100?"),
        (["compare", str(WRITE_UP)], "name two sides: FIRST and SECOND"),
        (["draw", str(WRITE_UP)], "draw: --out is missing"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_nearest_right_word(arguments, line):
    done = kit(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"gptoss_bench: {line}")


def test_what_is_wrong_is_said_without_pandas():
    """Importing it takes a second, which a typing mistake should not cost."""
    local = f"run --profile {paths.PROFILES / 'local.yaml'}"
    wrong = [
        *("load --concurrency x", "load --concurrency 0", "load --nope", "load --url foo", "load --sweep 4,x"),
        *("load --slo x", "load --prompts-file nope", "load --requests 4 --duration 4"),
        *("capacity --slo x", "capacity --slo ttft=1s --url foo", f"{local} -p requests=abc", f"{local} nope"),
        *("run --profile nope.yaml", "lint nope", "audit nope", "compare a b", "verify nope", "report nope"),
        *("site nope", "draw nope --out x.svg", "rebuild nope", "decode nope", "lod", "runs --nope"),
    ]
    code = (
        "import sys, json; from gptoss_bench.cli.main import main; codes = {line: main(line.split()) for line in "
        f"{wrong}}}; print(json.dumps([codes, [*sys.modules]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT, capture_output=True, text=True, check=True)
    codes, modules = json.loads(done.stdout)
    assert codes == dict.fromkeys(wrong, 2), done.stderr
    assert {"pandas", "pyarrow", "numpy", "papermill", "matplotlib"} & {*modules} == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ["lint", "{run}"],
        ["rebuild", "--check", "{run}"],
        ["report", "{run}"],
        ["site", "{run}"],
        ["draw", "{run}", "--out", "x.svg"],
        ["compare", "{run}", "{run}"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_wrong_run_id_names_the_five_nearest(arguments):
    ids = {file.parent.name for file in paths.RUNS.glob("*/manifest.json")}
    right = sorted(name for name in ids if "-verdicts-" in name)[-1]
    done = kit(*(word.format(run=right[:-1] + "_") for word in arguments))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    nearest = done.stderr.rpartition("nearest runs: ")[2].strip().split(", ")
    assert (nearest[0], len(nearest), {*nearest} <= ids) == (right, 5, True)


def test_a_run_is_found_by_its_id():
    run = sorted(paths.RUNS.glob("*-vllm-h100-*"))[-1]
    assert kit("lint", run.name).stdout == kit("lint", str(run)).stdout == kit("lint", run.name[-6:]).stdout


def test_severities_have_colours_on_a_terminal_only():
    piped = subprocess.run([*KIT, "lint", str(WRITE_UP)], capture_output=True, check=False)
    shown = on_a_terminal(*KIT, "lint", str(WRITE_UP))
    assert piped.returncode == 3
    assert b"  error: TTFT" in piped.stdout and ESCAPE not in piped.stdout
    assert b"  \x1b[31m\x1b[1merror\x1b[0m: TTFT" in shown
    plain = re.sub(rb"\x1b\[\d+m", b"", shown).replace(b"\r\n", b"\n")
    assert plain == piped.stdout


def test_a_long_command_says_on_a_terminal_what_it_does_and_for_how_long():
    run = sorted(paths.RUNS.glob("*-vllm-h100-*"))[-1].name
    shown = on_a_terminal("bash", "-c", f"{sys.executable} -m gptoss_bench rebuild --check {run} 2>&1").decode()
    assert re.search(rf"\d:\d\d +{run}: ", shown)
    assert shown.rstrip().endswith("lint.json: the same")


def test_verdicts_have_colours_on_a_terminal():
    text = "C01  contradicted        It is contradicted  here"
    code = f"from gptoss_bench.cli.run import coloured_verdicts; print(coloured_verdicts({text!r}))"
    shown = on_a_terminal(sys.executable, "-c", code)
    assert shown.strip() == text.replace("contradicted", "\x1b[31m\x1b[1mcontradicted\x1b[0m", 1).encode()


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_colours_can_be_turned_off(environment):
    assert ESCAPE not in on_a_terminal(*KIT, "lint", str(WRITE_UP), **environment)


def test_tables_are_printed_as_json_too():
    first, second = (str(run) for run in sorted(paths.RUNS.glob("*-vllm-h100-*"))[:2])
    compared = json.loads(kit("compare", first, second, "--json").stdout)
    assert {"ttft_s", "itl_s", "output_tok_s_total"} <= {one["name"] for one in compared["differences"]}
    [local] = json.loads(kit("doctor", "local", "--json").stdout)
    assert (local["scenario"], {"check", "state", "words", "fix"}) == ("local", {*local["checks"][0]})
    assert "ttft-is-a-fraction" in str(json.loads(kit("lint", "--rules", "--json").stdout))
    rebuilt = json.loads(kit("rebuild", "--check", first, "--json").stdout)
    assert rebuilt["requests.parquet"] == "the same"
