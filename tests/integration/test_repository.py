"""Checks of the repository: dependencies, Makefile, notebook sources, figures of the README, no machine paths."""

import ast
import re
import subprocess
import sys
import tomllib

import nbformat
import papermill
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import published
from gptoss_bench import paths
from gptoss_bench.calibration.accuracy import KIT_CLIENT
from gptoss_bench.calibration.peers.table import load_peer_bench, peer_medians, short_number
from gptoss_bench.claims.schema import load_write_up
from gptoss_bench.claims.verdicts import counts_text, headline, verdicts_from_table
from gptoss_bench.cli.run import SCENARIO_NOTEBOOKS
from gptoss_bench.memory import architectures, parse_budget, weights_bytes
from gptoss_bench.notebook.profiles import check_parameters, notebook_parameters, read_profile
from gptoss_bench.runs.folder import Run
from gptoss_bench.site.findings import front_findings
from gptoss_bench.stats.client_bound import CLIENT_BOUND_CPU_SHARE

PROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [
    *PROJECT["dependencies"],
    *(one for name in ("dev", "memory") for one in PROJECT["optional-dependencies"][name]),
]
LOCK, MEMORY_LOCK, DEV_LOCK = (
    (paths.ROOT / f"requirements{part}.lock").read_text() for part in ("", "-memory", "-dev")
)
NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
SCENARIOS = {path.stem for path in NOTEBOOKS} - {"explore", "one_request"}


def locked(*locks: str) -> dict[str, set[str]]:
    pins: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", "\n".join(locks), re.MULTILINE):
        pins.setdefault(canonicalize_name(name), set()).add(version)
    return pins


def test_every_dependency_is_locked_within_its_range_and_torch_nowhere():
    pins = locked(LOCK, MEMORY_LOCK, DEV_LOCK)
    for text in REQUIREMENTS:
        wanted = Requirement(text)
        name = canonicalize_name(wanted.name)
        if name == "torch":
            assert name not in pins
            continue
        assert name in pins, f"{name} is not locked: make lock"
        assert all(wanted.specifier.contains(version) for version in pins[name]), f"{name}: make lock"


def test_setup_installs_only_what_runs_and_the_other_locks_repeat_nothing_of_it():
    base = locked(LOCK)
    assert not {"torch", "transformers", "playwright", "mypy", "ruff", "hypothesis"} & base.keys()
    assert not base.keys() & (locked(MEMORY_LOCK).keys() | locked(DEV_LOCK).keys())


@pytest.mark.parametrize("lock", [LOCK, MEMORY_LOCK, DEV_LOCK], ids=["base", "memory", "dev"])
def test_every_line_of_a_lock_is_hashed_and_names_no_address(lock):
    entries = re.split(r"\n(?=[a-z0-9])", lock)
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in lock
    assert [name for name in locked(lock) if name.startswith("nvidia")] in ([], ["nvidia-ml-py"])  # and no CUDA build


def test_the_version_of_torch_that_make_installs_satisfies_the_package():
    [version] = re.findall(r"^TORCH \?= torch==(\S+)$", (paths.ROOT / "Makefile").read_text(), re.MULTILINE)
    [wanted] = [Requirement(text) for text in REQUIREMENTS if Requirement(text).name == "torch"]
    assert wanted.specifier.contains(version)


def test_conda_installs_this_package_and_pins_nothing_of_its_own():
    environment = yaml.safe_load((paths.ROOT / "environment.yml").read_text())
    python, pip, by_pip = environment["dependencies"]
    assert python == f"python{PROJECT['requires-python']}"
    assert (pip, by_pip) == ("pip", {"pip": ["-e .[dev,memory]"]})


def test_every_dependency_says_why_it_is_there():
    text = (paths.ROOT / "pyproject.toml").read_text()
    for requirement in REQUIREMENTS:
        [line] = [line for line in text.splitlines() if line.strip().startswith(f'"{requirement}"')]
        assert re.search(r"# \S+ \S+", line), f"no reason beside {requirement}"


def test_make_alone_lists_every_target_with_a_line_of_words():
    makefile = (paths.ROOT / "Makefile").read_text()
    [phony] = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    shown = subprocess.run(["make"], cwd=paths.ROOT, capture_output=True, text=True, check=True).stdout
    listed = dict(re.findall(r"^  make (\S+)\s+(\S.*)$", shown, re.MULTILINE))
    assert set(listed) == set(phony.split())
    assert set(phony.split()) >= {
        "help",
        "setup",
        "doctor",
        "run",
        "run-a10",
        "run-h100",
        "run-bf16",
        "site",
        "report",
        "lab",
        "test",
        "lint",
        "bench",
        "clean",
    }


def test_the_scenarios_are_there():
    assert {*SCENARIO_NOTEBOOKS, "endpoint", "capacity"} <= SCENARIOS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_a_source(path):
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert "widgets" not in book.metadata
    assert len(code) <= 14
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code) == 1
    for cell in code:
        tree = compile(cell.source, cell.id, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        assert not any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in tree.body)
        assert len(cell.source.splitlines()) <= 16 or "parameters" in cell.metadata.get("tags", []), cell.id
        for word in ("ipywidgets", "asyncio.run", "tqdm", "!pip", "%pip"):
            assert word not in cell.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_begins_with_time_hardware_and_links_and_reads_its_figures(path):
    book = nbformat.read(path, as_version=4)
    top = book.cells[0].source
    assert top.startswith("# ")
    for word in ("**Time:** ", "**Hardware:** ", "**See also:** "):
        assert word in top, f"{path.name}: the first cell needs a line that begins with {word}"
    links = re.findall(r"\]\((\w+\.ipynb)\)", top)
    assert len(links) >= 2 and all((paths.NOTEBOOKS / link).exists() for link in links)
    assert [cell.id for cell in book.cells if "finding" in cell.metadata.get("tags", [])]
    for cell in (cell for cell in book.cells if cell.cell_type == "code"):
        assert "assert " not in cell.source
        for figure in re.findall(r"figures\.([a-z_]+)\(", cell.source):  # its own numbers are read below it
            assert f"readings.{figure}(" in cell.source


@pytest.mark.parametrize("path", sorted(paths.PROFILES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_profile_fits_the_notebooks(path):
    declared = [notebook_parameters(name) for name in SCENARIOS]
    check_parameters(read_profile(path), declared, path.name)


def test_one_name_means_one_type_in_all_notebooks():
    types: dict[str, type] = {}
    for name in SCENARIOS:
        for parameter, default in notebook_parameters(name).items():
            assert types.setdefault(parameter, type(default)) is type(default), parameter


def test_no_path_of_a_machine_and_no_registry_is_in_the_tree():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=paths.ROOT, capture_output=True, check=True).stdout
    foreign = re.compile(rb"/home/\w+/|/roo[t]/|/Users/\w+/|://[^ ]*/(simple|packages)/")
    guilty = []
    for name in listed.decode().split("\0"):
        file = paths.ROOT / name
        if name and file.is_file() and foreign.search(file.read_bytes()):
            guilty.append(name)
    assert guilty == []


def test_papermill_reads_the_parameters_of_every_notebook():
    for path in NOTEBOOKS:
        assert {"run_id", "results_dir"} <= set(papermill.inspect_notebook(str(path)))


def section_of(document: str, heading: str) -> str:
    text = (paths.ROOT / document).read_text() + "\n## "
    [found] = re.findall(rf"^## {heading}\n.*?(?=^## )", text, re.DOTALL | re.MULTILINE)
    return str(found)


def table_rows(section: str) -> list[tuple[str, ...]]:
    """Return the cells of the rows of the one Markdown table in a section, without its head."""
    [rows] = re.findall(r"^\|[-|]+\|\n((?:\|.+\|\n)+)", section, re.MULTILINE)
    return [tuple(cell.strip() for cell in row.strip("|").split("|")) for row in rows.splitlines()]


def test_the_readme_is_short_and_counts_the_verdicts_of_the_run_that_it_links():
    text = published.README.read_text()
    assert len(text.splitlines()) <= 150
    prose = re.sub(r"```.*?```|\]\([^)]*\)|<picture>.*?</picture>", "", text, flags=re.DOTALL)
    assert len(prose.split()) <= 1000
    found = Run.load(paths.RUNS / published.VERDICTS)
    verdicts = verdicts_from_table(found.table("verdicts"))
    assert text.splitlines()[4] == f"**{headline(verdicts)}.** {counts_text(verdicts)}."
    assert found.summary.headline == headline(verdicts)
    evidence = [Run.load(paths.RUNS / name) for name in found.summary.runs]
    assert {run.scenario for run in evidence} == {
        "calibration",
        "method-trial",
        "ollama-a10",
        "vllm-h100",
        "transformers-bf16",
        "load",
    }
    assert {run.manifest.status for run in [found, *evidence]} == {"complete"}
    source = load_write_up().source
    assert source.url in text and source.commit in source.url


def test_the_findings_of_the_readme_are_those_of_the_site():
    known = [Run.load(folder) for folder in paths.RUNS.glob("*-method-trial-*")]
    runs = [(run, "") for run in known if run.run_id in published.README.read_text()]
    text = " ".join(published.README.read_text().split())
    found = front_findings(runs, load_write_up(), "")
    assert len(found) == 3
    for finding in found:
        assert f"**{finding.title}.**" in text
        assert finding.number in text
    [trial] = [run.summary for run, _ in runs]
    first, slow = (
        next(row for row in trial.rows if row.case == case) for case in ("as published", "first token after 1 s")
    )
    assert f"came after {first.first_token_s:.3f} s it printed a TTFT of {first.printed_ttft_s.p50:.2f} s" in text
    assert f"where it came after {slow.first_token_s:.3f} s, {slow.printed_ttft_s.p50:.2f} s" in text
    need, has = weights_bytes(architectures()["gpt-oss-20b"], "bf16"), parse_budget("A10").bytes
    assert f"are {need / 1e9:.2f} GB, {need / has:.0%} of its {has / 1e9:.2f} GB" in text


def test_the_published_calibration_is_that_of_the_run_that_it_links():
    section = section_of("docs/calibration.md", "The published calibration")
    [run_id] = re.findall(r"results/runs/([^/]+)/notebook.ipynb", section)
    levels = Run.load(paths.RUNS / run_id).table("levels")
    kit = levels[levels["client"] == KIT_CLIENT]
    [bound] = kit[kit["client_bound"].eq(True)].itertuples()
    assert f"trusted at all {kit['trusted'].sum()} loads; at {bound.streams} × {bound.tokens_s:g} it was" in section
    assert kit["trusted"].all() and bound.cpu_share < CLIENT_BOUND_CPU_SHARE
    measured = {
        (
            f"{one.streams} × {one.tokens_s:g}",
            "this kit" if one.client == KIT_CLIENT else one.client,
            short_number(one.ttft_error_p50_ms),
            short_number(one.ttft_error_p99_ms),
            short_number(one.itl_error_p99_ms),
            f"{one.cpu_share:.0%}",
        )
        for one in levels.itertuples()
    }
    rows = table_rows(section)
    assert len(rows) == 5 and measured >= set(rows)
    most = kit.loc[kit["events_s"].idxmax()]
    carried = most["events_s"] * CLIENT_BOUND_CPU_SHARE / most["cpu_share"]
    scale = (paths.ROOT / "docs" / "scale.md").read_text()
    assert f"received {most['events_s']:,.0f} events (messages of a stream) a second" in scale
    assert f"with {most['cpu_share']:.0%} of a core" in scale and f"about {carried:,.0f}"[:-3] + "000" in scale


def test_the_published_comparison_is_that_of_the_bench_that_it_links():
    section = section_of("docs/comparison.md", "The published comparison")
    [bench_id] = re.findall(r"\(\.\./results/bench/([^/]+)/tables.md\)", section)
    found = load_peer_bench(paths.RESULTS / "bench" / bench_id)
    assert (found.path / "tables.md").read_text() == found.markdown() + "\n"
    assert found.manifest.code.dirty is False
    medians = peer_medians(found.rows)
    [load] = re.findall(r"^(.+?), of the four loads in", section, re.MULTILINE)
    numbers = ["ttft_p99_ms", "itl_p99_ms", "cpu_us", "memory_mib"]
    expected = [
        ("this kit" if client == KIT_CLIENT else client, *map(short_number, row))
        for client, row in medians.loc[load][numbers].iterrows()
    ]
    assert table_rows(section) == expected
    more = medians.xs("aiohttp", level="client") < medians.xs(KIT_CLIENT, level="client")
    assert (len(more), more["cpu_us"].sum(), more["memory_mib"].sum()) == (4, 2, 4)


def test_no_published_page_holds_a_warning_or_a_path_of_the_machine_it_was_made_on():
    for book in (file for folder in published.folders() for file in folder.glob("notebook.ipynb")):
        outputs = [output for cell in nbformat.read(book, as_version=4).cells for output in cell.get("outputs", [])]
        printed = [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
        assert printed == [], book.parent.name
        assert str(paths.ROOT) not in book.read_text(), book.parent.name


def test_the_shell_begins_without_what_only_pictures_and_pages_need():
    heavy = ("matplotlib", "seaborn", "IPython", "ipywidgets", "nbformat", "nbconvert", "PIL", "torch")
    code = f"import sys, gptoss_bench.__main__; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"[]"


def test_the_figures_from_a_gpu_are_those_of_the_runs_and_have_their_label() -> None:
    section = (paths.ROOT / "docs" / "h100-random-weights.md").read_text()
    names = re.findall(r"`(2026\d+T\d+Z-[a-z0-9-]+)`", section)
    load, hot, sweep, bf16 = (Run.load(paths.RUNS / name) for name in names)
    assert [run.manifest.labels for run in (load, hot, sweep, bf16)] == [["RANDOM WEIGHTS"]] * 4
    found, parts = load.summary, bf16.summary.parts
    whole_card = parts[1]
    for words in (
        f"| {found.output_tok_s_total:,.0f} |",
        f"| {found.request_s:.1f} |",
        f"was {hot.summary.output_tok_s_total:,.0f} tokens per second",
        f"{found.ttfc_s.mean:.3f} s to the first event",
        f"has {found.server_metrics.times['ttft_s'].mean:.3f} s",
        f"queue {found.server_metrics.times['queue_s'].mean:.4f} s",
        f"used {found.client.cpu_share:.0%} of a core",
        f"{found.client.lag_s.p50 * 1000:.3f} ms",
        f"{whole_card['bytes'] / 1e9:.1f} GB",
        f"decoded in {whole_card['decode'][-1]['s']:.1f} s",
        f"with {parts[2]['budget_gib']} GiB allowed",
    ):
        assert words in section
    assert parts[0]["first_elsewhere"] == "model.layers.5.mlp.experts.gate_up_proj"
    assert "Tried to allocate 38.96 GiB" in parts[2]["error"]
    assert max(row.concurrency for row in sweep.summary.sweep) == 256
    assert f"at {found.output_tok_s_total:,.0f} tokens per second, where 7,645 were published" in (
        published.README.read_text()
    )
