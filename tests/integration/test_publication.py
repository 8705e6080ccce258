"""The publication kit: versions and licences agree, workflows are pinned, every command that a file names exists."""

import csv
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gptoss_bench import paths
from gptoss_bench.claims.schema import load_write_up
from gptoss_bench.cli.main import COMMANDS

ROOT = paths.ROOT
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
ZENODO = json.loads((ROOT / ".zenodo.json").read_text())
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = [file for file in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if file.stem != "config"]
TASKS = {gpu: ROOT / "cloud" / f"{gpu}.sky.yaml" for gpu in ("a10", "h100")}
CLOUD_INIT = ROOT / "cloud" / "cloud-init.yaml"
SCRIPTS = [ROOT / "cloud" / "launch.sh", ROOT / "binder" / "postBuild", ROOT / ".ci" / "run"]
WITH_COMMANDS = [
    *WORKFLOWS,
    *TASKS.values(),
    CLOUD_INIT,
    *SCRIPTS,
    ROOT / "cloud" / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / ".github" / "SECURITY.md",
    ROOT / ".devcontainer" / "devcontainer.json",
]


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def steps(workflow: Path) -> Iterator[dict[str, Any]]:
    for job in yaml.safe_load(workflow.read_text())["jobs"].values():
        yield from job["steps"]


def test_the_version_is_one_and_the_newest_of_the_changelog():
    [newest, *_] = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest in (PROJECT["version"], "Unreleased")
    assert PROJECT["version"] == CITATION["version"] == ZENODO["version"]


def test_code_and_results_have_a_licence_and_every_file_says_the_same():
    assert (ROOT / "LICENSE").read_text().startswith("MIT License\n")
    assert "CC-BY-4.0" in (paths.RESULTS / "LICENSE.md").read_text()
    assert PROJECT["license"] == CITATION["license"] == ZENODO["license"] == "MIT"


def test_the_citation_names_the_write_up_that_is_judged():
    source = load_write_up().source
    [reference] = CITATION["references"]
    assert (reference["title"], reference["url"]) == (source.title, source.url)
    assert reference["authors"] == [{"alias": source.author}]
    assert [one["identifier"] for one in ZENODO["related_identifiers"]] == [source.url]
    assert CITATION["cff-version"] == "1.2.0" and CITATION["message"] and CITATION["authors"]
    assert [one["name"] for one in ZENODO["creators"]] == [one["name"] for one in CITATION["authors"]]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=name_of)
def test_actions_are_pinned_by_hash_and_a_workflow_may_only_read(workflow):
    used = re.findall(r"uses: (.*)", workflow.read_text())
    assert used and all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one) for one in used), used
    content = yaml.safe_load(workflow.read_text())
    assert content["permissions"] in ({"contents": "read"}, {})
    assert all("timeout-minutes" in job for job in content["jobs"].values())
    checkouts = [step for step in steps(workflow) if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts and all(step["with"]["persist-credentials"] is False for step in checkouts)
    scripts = [step["run"] for step in steps(workflow) if "run" in step]
    assert not any("${{" in script for script in scripts)  # a title of a pull request would be run
    for script in scripts:
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_the_site_is_published_as_it_is_committed():
    [upload] = [step for step in steps(ROOT / ".github/workflows/pages.yml") if "path" in step.get("with", {})]
    assert (ROOT / upload["with"]["path"] / "index.html").exists()
    assert not any("run" in step for step in steps(ROOT / ".github/workflows/pages.yml"))


def test_a_submitted_run_is_verified_by_the_code_of_the_main_branch():
    checkout, *_ = steps(ROOT / ".github/workflows/verify-run.yml")
    assert checkout["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"


@pytest.mark.parametrize("form", FORMS, ids=name_of)
def test_an_issue_form_has_what_github_asks_for(form):
    content = yaml.safe_load(form.read_text())
    assert content["name"] and content["description"]
    fields = [field for field in content["body"] if field["type"] != "markdown"]
    assert {field["type"] for field in fields} <= {"input", "textarea", "dropdown", "checkboxes"}
    names = [field["id"] for field in fields]
    assert len(names) == len(set(names))
    assert all(field["attributes"]["label"] for field in fields)
    assert f'"{content["name"]}"' in (ROOT / "CONTRIBUTING.md").read_text() or form.stem != "dispute-a-verdict"


@pytest.mark.parametrize("file", WITH_COMMANDS, ids=name_of)
def test_every_target_and_command_that_is_named_exists(file):
    [phony] = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    text = file.read_text()
    code = "\n".join(re.findall(r"`([^`\n]+)`", text)) if file.suffix == ".md" else text
    targets = {word for words in re.findall(r"(?<![\w-])make ([a-z0-9 -]+)", code) for word in words.split()}
    assert targets <= set(phony.split())
    assert set(re.findall(r"gptoss-bench ([a-z][a-z-]+)", code)) <= set(COMMANDS)


def test_the_commands_of_other_files_are_seen():
    assert "make setup" in SCRIPTS[2].read_text() and "verify" in COMMANDS


@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_a_script_is_one_that_bash_reads(script):
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert script.stat().st_mode & 0o111


def test_the_container_and_binder_install_what_make_setup_installs():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert container["postCreateCommand"] == "make setup"
    assert container["hostRequirements"]["gpu"] == "optional"
    installed = (ROOT / "binder" / "postBuild").read_text()
    assert "--require-hashes -r requirements.lock" in installed and "-e ." in installed
    python = (ROOT / "binder" / "runtime.txt").read_text().strip()
    assert re.fullmatch(r"python-3\.1[1-4]", python)


def test_hooks_run_the_tools_of_the_lock():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"]
    lint = subprocess.run(["make", "-n", "lint"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for hook in hooks[0]["hooks"]:
        assert hook["entry"] in lint.replace(" --check", "")


@pytest.mark.parametrize(("gpu", "task"), TASKS.items(), ids=list(TASKS))
def test_a_rented_machine_has_one_whole_card_of_the_catalogue(gpu, task):
    content = yaml.safe_load(task.read_text())
    size = content["resources"]["instance_type"]
    with paths.GPUS.open() as file:
        [row] = [row for row in csv.DictReader(file) if size in re.split(r"; ", row["azure_sizes"])]
    assert gpu.upper() in row["name"] and "fraction" not in row["name"] and float(row["memory_gib"]) > 20
    assert content["resources"]["autostop"] == {"idle_minutes": 20, "down": True}
    assert f"size={size} " in (ROOT / "cloud" / "launch.sh").read_text()
    for part in ("setup", "run"):
        subprocess.run(["bash", "-n"], input=content[part], text=True, check=True)
    assert f"make run-{gpu}" in content["run"] and "timeout" in content["run"]
    assert set(content) == {"name", "resources", "workdir", "setup", "run"}
    assert set(content["resources"]) == {"infra", "instance_type", "disk_size", "autostop"}


@pytest.mark.parametrize("gpu", TASKS)
def test_a_dry_run_says_the_price_first_and_fetches_verifies_and_returns_the_machine(gpu, tmp_path):
    command = ["make", "-s", f"READY={tmp_path}", "cloud", f"GPU={gpu}", "DRY=1"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "USD an hour" in lines[0] and "minutes" in lines[0]
    programs = [line.split()[1:3] for line in lines if line.startswith("+ ")]
    assert programs == [["sky", "launch"], ["rsync", "-a"], [".venv/bin/gptoss-bench", "verify"], ["sky", "down"]]
    assert lines[2].endswith(f"cloud/{gpu}.sky.yaml")


def test_another_gpu_cannot_be_rented(tmp_path):
    command = ["make", "-s", f"READY={tmp_path}", "cloud", "GPU=b200"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "make cloud GPU=a10 or make cloud GPU=h100" in done.stderr


def test_cloud_init_has_only_keys_that_it_knows_and_a_size_of_the_catalogue():
    """Its own schema lets a misspelt key pass, and then nothing is installed."""
    text = CLOUD_INIT.read_text()
    assert text.startswith("#cloud-config\n")
    content = yaml.safe_load(text)
    assert set(content) <= {"package_update", "packages", "runcmd", "final_message", "write_files", "users"}
    assert {"make", "git", "python3-venv"} <= set(content["packages"])
    for program, option, script in content["runcmd"]:
        assert (program, option) == ("bash", "-c")
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    sizes = {yaml.safe_load(task.read_text())["resources"]["instance_type"] for task in TASKS.values()}
    assert set(re.findall(r"Standard_\w+", text)) == sizes
