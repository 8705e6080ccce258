"""The dry run of a pack: a driver without functions, and the real pack where it was built with its Python beside it."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gptoss_bench import paths
from gptoss_bench.engines.gpu_pack.dry_run import make_driver

PACK, PYTHON = paths.BUILD / "pack-gpu", paths.BUILD / "pack-python" / "bin" / "python"


@pytest.mark.skipif(not shutil.which("cc") or not shutil.which("nm"), reason="no C compiler or no nm")
def test_the_stand_in_for_the_driver_has_every_function_that_is_named_and_no_device(tmp_path: Path) -> None:
    library = tmp_path / "vllm" / "folder" / "_x.abi3.so"
    library.parent.mkdir(parents=True)
    source = "int cuInit(int); int cuCtxCreate_v2(int); int cudaMalloc(int); int f(void) { return cuInit(0)"
    source += " + cuCtxCreate_v2(0) + cudaMalloc(0); }"
    command = ["cc", "-shared", "-fPIC", "-o", str(library), "-xc", "-"]
    subprocess.run(command, input=source, text=True, check=True)
    make_driver(tmp_path, tmp_path)
    driver = ctypes.CDLL(str(tmp_path / "libcuda.so.1"))
    assert (driver.cuInit(0), driver.cuCtxCreate_v2(0)) == (100, 100)
    assert not hasattr(driver, "cudaMalloc")  # that is of the runtime, not of the driver


@pytest.mark.slow
@pytest.mark.parametrize("folder", [PACK, PACK.with_name("pack-gpu-sm_86")])
def test_vllm_of_the_real_pack_streams_every_token_without_a_gpu(folder: Path, tmp_path: Path) -> None:
    for needed in (folder / "pack.json", PYTHON):
        if not needed.exists():
            pytest.skip(f"{needed} is missing: docs/gpu.md says how to make it")
    command = [str(PYTHON), str(folder / "start.py"), str(PYTHON), "-m", "gptoss_bench.engines.gpu_pack.dry_run"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["GPTOSS_SITE"] = str(tmp_path / "site")
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "operators: " in done.stdout and "attention: " in done.stdout
    assert "8 requests streamed 64 of 64 tokens each" in done.stdout
