"""The example in the package's docstring runs as it is, where the benchmark kit cannot be imported."""

import asyncio
import inspect
import sys
import sysconfig
import typing
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import gptoss_client
from scripted import scripted, speak

LIB = Path(gptoss_client.__file__).parent
EXAMPLE = dedent(gptoss_client.__doc__.partition("Example::\n")[2]).strip()
URL = "http://127.0.0.1:8000"


def test_the_example_of_the_docstring_is_short():
    assert URL in EXAMPLE
    assert len([line for line in EXAMPLE.splitlines() if line]) < 15


def test_the_example_of_the_docstring_runs_without_the_kit(tmp_path):
    (tmp_path / "gptoss_client").symlink_to(LIB)
    # -I and -S ignore PYTHONPATH and the .pth files of site-packages, one of which makes the whole checkout importable.
    path = [str(tmp_path), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    setup = (
        f"import sys; sys.path += {path!r}; import importlib.util; assert not importlib.util.find_spec('gptoss_bench')"
    )

    async def run() -> tuple[int | None, str, str]:
        async with scripted(speak) as server:
            code = f"{setup}\n{EXAMPLE.replace(URL, server.endpoint.url)}"
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", "-c", code, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            output, errors = await process.communicate()
            return process.returncode, output.decode(), errors.decode()

    code, output, errors = asyncio.run(run())
    assert (code, errors) == (0, "")
    lines = sorted(output.splitlines())
    assert [line.partition(": TTFT ")[0] for line in lines] == [f"request {number}" for number in range(4)]
    assert all(line.endswith(" ms") for line in lines)


def annotations_of(thing: object) -> list[object]:
    """The annotations of a function, or of the fields and public methods of a class."""
    if isinstance(thing, type):
        own = [value for name, value in vars(thing).items() if not name.startswith("_") or name == "__init__"]
        methods = [value.fget if isinstance(value, property) else value for value in own]
        found = [
            annotation for method in methods if inspect.isfunction(method) for annotation in annotations_of(method)
        ]
        return [*found, *typing.get_type_hints(thing).values()]
    return list(typing.get_type_hints(thing).values()) if inspect.isfunction(thing) else []


def parts_of(annotation: object) -> list[object]:
    inner = typing.get_args(annotation)
    return [annotation, *(part for one in inner if not isinstance(one, list) for part in parts_of(one))]


@pytest.mark.parametrize("name", gptoss_client.__all__)
def test_no_public_signature_has_a_value_of_any_type(name):
    annotations = annotations_of(getattr(gptoss_client, name))
    assert Any not in [part for annotation in annotations for part in parts_of(annotation)]
