"""A wheel installed outside the checkout runs the commands that need no notebook, with all its data files."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from folders import TESTS
from gptoss_bench import paths

# Built without isolation, and so without the network: needs the setuptools that pyproject.toml requires.
pytest.importorskip("setuptools", minversion="77")

PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
KIT = [sys.executable, "-m", "gptoss_bench"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the sources, because setuptools writes its build folders beside them."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(paths.ROOT / name, source)
    shutil.copytree(paths.ROOT / "lib", source / "lib", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", str(out), str(source)], check=True)
    [file] = out.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    subprocess.run([*PIP, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)], check=True)
    return target


@pytest.fixture
def environment(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)
    return {**os.environ, "PYTHONPATH": str(installed)}


def run(environment: dict[str, str], *arguments: str, code: int = 0) -> str:
    done = subprocess.run([*KIT, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout


def test_every_file_of_the_packages_is_in_the_wheel(wheel: Path) -> None:
    library = paths.ROOT / "lib"
    listed = subprocess.run(["git", "ls-files", "-z", "lib"], cwd=paths.ROOT, capture_output=True, check=True).stdout
    sources = {name.removeprefix("lib/") for name in listed.decode().split("\0") if name}
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in sources if (library / name).exists()} <= set(archive.namelist())


def test_the_package_is_imported_from_the_wheel(environment: dict[str, str], installed: Path) -> None:
    code = "import gptoss_bench, gptoss_client; print(gptoss_bench.__file__, gptoss_client.__file__)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert all(file.startswith(str(installed)) for file in done.stdout.split())


def test_the_console_command_is_installed(environment: dict[str, str], installed: Path) -> None:
    command = [str(installed / "bin" / "gptoss-bench"), "--version"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("gptoss-bench ")


@pytest.mark.parametrize(
    ("arguments", "code", "shown"),
    [
        (["--help"], 0, "reference-server"),
        (["fit", "--model", "gpt-oss-20b", "--gpu", "A10"], 0, "20,914,757,184 parameters"),
        (["lint", str(TESTS / "imported" / "write-up.txt")], 3, "ttft-is-a-fraction"),
        (["lint", "--rules"], 0, "ttft-is-a-fraction"),
        (["run", "vllm_h100"], 2, ""),
        (["decode", str(TESTS / "wire" / "hostile-crlf.sse")], 0, "Grüße"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_command_works(environment: dict[str, str], arguments: list[str], code: int, shown: str) -> None:
    assert shown in run(environment, *arguments, code=code)


def test_a_load_against_the_reference_server_writes_a_run(environment: dict[str, str], tmp_path: Path) -> None:
    serve = [*KIT, "reference-server", "--ttft-s", "0.01", "--itl-s", "0.001", "--tokens", "5"]
    with subprocess.Popen(serve, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            where = ["--url", url, "--model", "reference"]
            shown = run(environment, "load", *where, "-n", "4", "-c", "2")
        finally:
            server.terminate()
    assert server.returncode == 0
    assert "run folder: " in shown
    [folder] = (tmp_path / "results" / "runs").iterdir()  # of the current directory
    assert "the same" in run(environment, "rebuild", "--check", str(folder))
