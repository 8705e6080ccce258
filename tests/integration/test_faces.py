"""Every package has a face: two sentences that say what it is for, and names that can all be imported from it."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
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
        # programs for other Pythons, which have what this one has not
        if ".peers.clients." not in module and ".gpu_pack.stand_in_" not in module:
            importlib.import_module(module)
    assert face.__all__
    found = {name: getattr(face, name) for name in face.__all__}
    assert not [name for name, value in found.items() if isinstance(value, ModuleType)]


def test_a_face_loads_nothing_before_a_name_is_used() -> None:
    code = f"import sys, {', '.join(PACKAGES)}; print(sorted({HEAVY} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_figures_readings_and_the_site_need_no_torch() -> None:
    """`make setup` installs none, and `make site` draws every run."""
    code = (
        "import sys\nsys.modules |= dict.fromkeys(('torch', 'transformers', 'tokenizers', 'gguf'))\n"
        "from gptoss_bench import figures, readings, site\n"
        "print(len([getattr(face, name) for face in (figures, readings, site) for name in face.__all__]) > 30)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"


def test_the_client_alone_loads_no_table_library() -> None:
    code = (
        "import sys\nfrom gptoss_client import Client, Endpoint, LoadPlan, run_load\n"
        "print(sorted({'numpy', 'pandas', 'pyarrow', 'gptoss_bench'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


FACES = [name for name in PACKAGES if (LIB / name.replace(".", "/") / "__init__.pyi").exists()]
UNTYPED = re.compile(r"\b(?:dict|Mapping|MutableMapping)(?:\[str, (?:Any|object)\]|(?!\[)\b)")
# Public names whose signature still has an untyped mapping; nothing is to be added.
NOT_YET_TYPED: set[str] = set()


def signature_of(node: ast.stmt) -> Iterator[ast.expr]:
    """Yield the annotations of a function, or of the public methods and fields of a class."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        yield from (one.annotation for one in every if one is not None and one.annotation is not None)
        if node.returns is not None:
            yield node.returns
    elif isinstance(node, ast.ClassDef):
        for member in node.body:
            if isinstance(member, ast.AnnAssign) and not ast.unparse(member.target).startswith("_"):
                yield member.annotation
            elif not getattr(member, "name", "_").startswith("_") or getattr(member, "name", "") == "__init__":
                yield from signature_of(member)


def untyped_names(package: str) -> Iterator[str]:
    """Yield the names of a face in whose signature a mapping of anything crosses the door, also by an alias."""
    folder = LIB / package.replace(".", "/")
    for line in ast.parse((folder / "__init__.pyi").read_text()).body:
        if isinstance(line, ast.ImportFrom) and line.level == 1 and line.module:
            module = ast.parse((folder / f"{line.module.replace('.', '/')}.py").read_text())
            aliases = [
                re.escape(ast.unparse(node.targets[0]))
                for node in module.body
                if isinstance(node, ast.Assign) and UNTYPED.search(ast.unparse(node.value))
            ]
            untyped = re.compile("|".join([UNTYPED.pattern, *(rf"\b{alias}\b" for alias in aliases)]))
            public = {alias.name for alias in line.names}
            for node in module.body:
                name = getattr(node, "name", "")
                if name in public and any(untyped.search(ast.unparse(one)) for one in signature_of(node)):
                    yield f"{package}.{name}"


@pytest.mark.parametrize("package", FACES)
def test_no_mapping_of_anything_crosses_the_door_of_a_package(package: str) -> None:
    found = set(untyped_names(package))
    assert found == {name for name in NOT_YET_TYPED if name.rpartition(".")[0] == package}
