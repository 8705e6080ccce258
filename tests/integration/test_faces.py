"""Every package has a face: two sentences that say what it is for, and names that can all be imported from it."""

import importlib
import subprocess
import sys
from types import ModuleType

import pytest

from gptoss_bench import paths

LIB = paths.PACKAGE.parent
PACKAGES = [
    "gptoss_client",
    *sorted(f"gptoss_bench.{file.parent.name}" for file in paths.PACKAGE.glob("*/__init__.py")),
]
HEAVY = {"numpy", "pandas", "pyarrow", "matplotlib", "torch", "httpx"}


def modules_of(package: str) -> list[str]:
    folder = LIB / package.replace(".", "/")
    found = (file.relative_to(LIB).with_suffix("") for file in folder.rglob("*.py"))
    return [".".join(file.parts) for file in found if file.name not in ("__init__", "__main__")]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_in_a_few_sentences_what_enters_and_leaves(package: str) -> None:
    text = importlib.import_module(package).__doc__ or ""
    assert 2 <= text.count(". ") + text.count(".\n") <= 4, text


@pytest.mark.parametrize(
    "package", [name for name in PACKAGES if (LIB / name.replace(".", "/") / "__init__.pyi").exists()]
)
def test_every_name_of_a_face_is_there_and_no_module_hides_one(package: str) -> None:
    face = importlib.import_module(package)
    for module in modules_of(package):
        if ".peers.clients." not in module:  # programs for other Pythons, which have what this one has not
            importlib.import_module(module)
    assert face.__all__
    found = {name: getattr(face, name) for name in face.__all__}
    assert not [name for name, value in found.items() if isinstance(value, ModuleType)]


def test_a_face_loads_nothing_before_a_name_is_used() -> None:
    code = f"import sys, {', '.join(PACKAGES)}; print(sorted({HEAVY} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_client_alone_loads_no_table_library() -> None:
    code = (
        "import sys\nfrom gptoss_client import Client, Endpoint, LoadPlan, run_load\n"
        "print(sorted({'numpy', 'pandas', 'pyarrow', 'gptoss_bench'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
