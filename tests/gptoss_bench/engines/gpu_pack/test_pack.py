"""The pack: built from pinned wheels, refused with others, unpacked and started by a plain Python."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.gptoss_bench.engines.gpu_pack.test_fatbin import shared_object

from gptoss_bench.cli.main import main
from gptoss_bench.engines.gpu_pack import build, start
from gptoss_bench.engines.gpu_pack.build import REQUIREMENTS, build_pack, pinned_version
from gptoss_bench.engines.gpu_pack.fatbin import ELF
from gptoss_client import UsageError

LIBRARY = "vllm/_C_stable_libtorch.abi3.so"
STUB = "vllm/model_executor/warmup/minimax_m3_msa_warmup.py"
WHEEL = "vllm-0.26.0-cp38-abi3-manylinux_2_28_x86_64.whl"


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small wheel in the place of vLLM's, pinned by its hash."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    files = {
        "vllm/__init__.py": b"",
        STUB: b"import something_else\n",
        LIBRARY: shared_object([[(ELF, 90, b"hopper"), (ELF, 100, b"another card")], [(ELF, 80, b"ampere")]]),
        "vllm/vllm_flash_attn/_vllm_fa3_C.abi3.so": b"\x7fELF fa3",
        "vllm/vllm_flash_attn/_vllm_fa2_C.abi3.so": b"\x7fELF fa2",
        "vllm/vllm-rs": b"program",
        "vllm-0.26.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: vllm\nVersion: 0.26.0\n",
        "vllm-0.26.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nTag: cp38-abi3-manylinux_2_28_x86_64\n",
        "vllm-0.26.0.dist-info/RECORD": b"",
    }
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        for name, data in files.items():
            wheel.writestr(name, data)
    pinned = tmp_path / "requirements.txt"
    digest = hashlib.sha256((folder / WHEEL).read_bytes()).hexdigest()
    pinned.write_text(f"vllm==0.26.0 --hash=sha256:{digest}\n")
    monkeypatch.setattr(build, "REQUIREMENTS", pinned)
    monkeypatch.setattr(build, "PYTHON", ".".join(map(str, sys.version_info[:2])))
    monkeypatch.setattr(build, "NEEDS", {"numpy": "1.0"})
    return folder


def started(pack: Path, site: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "GPTOSS_SITE": str(site)
    }
    return subprocess.run(
        [sys.executable, str(pack / "start.py"), *command], env=environment, capture_output=True, text=True, check=False
    )


def test_a_pack_is_built_unpacked_and_a_command_runs_in_it(
    wheels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack, site = tmp_path / "pack", tmp_path / "site"
    assert main(["pack-gpu", str(pack), "--wheels", str(wheels)]) == 0
    assert "machine code of 1 containers is the same" in capsys.readouterr().out
    code = (
        "import os, vllm, gptoss_client, gptoss_bench.paths as paths, vllm.model_executor.warmup.minimax_m3_msa_warmup;"
        "print(vllm.__file__, paths.PACKAGE, os.environ['VLLM_USE_FLASHINFER_SAMPLER'])"
    )
    done = started(pack, site, sys.executable, "-c", code)
    assert done.stdout.split()[-3:] == [str(site / "vllm/__init__.py"), str(site / "kit/lib/gptoss_bench"), "0"], done
    assert "unpacked" not in started(pack, site, "true").stdout  # it is there already
    assert b"another card" not in (site / LIBRARY).read_bytes() and b"hopper" in (site / LIBRARY).read_bytes()
    assert (site / "vllm/vllm_flash_attn/_vllm_fa3_C.abi3.so").exists() and os.access(site / "bin/vllm", os.X_OK)
    [metadata] = site.glob("gptoss_bench-*.dist-info/METADATA")
    assert "Name: gptoss-bench" in metadata.read_text()
    assert not list(site.glob("vllm/**/*fa2*")) and not (site / "vllm/vllm-rs").exists()


def test_a_pack_for_an_a10_has_no_code_of_hopper(wheels: Path, tmp_path: Path) -> None:
    made = build_pack(tmp_path / "pack", "sm_86", wheels=wheels)
    done = started(tmp_path / "pack", tmp_path / "site", "true")
    assert (made.architecture, made.kernels, done.returncode) == ("sm_86", 1, 0)
    assert b"hopper" not in (tmp_path / "site" / LIBRARY).read_bytes()
    # vLLM imports one of both FlashAttentions
    assert [file.name for file in (tmp_path / "site").glob("vllm/**/*fa[23]*")] == ["_vllm_fa2_C.abi3.so"]


def test_another_file_or_another_version_is_refused(wheels: Path, tmp_path: Path) -> None:
    with (wheels / WHEEL).open("ab") as wheel:
        wheel.write(b"changed")
    with pytest.raises(UsageError, match=r"the wheels cannot be had: .*DO NOT MATCH"):
        build_pack(tmp_path / "pack", wheels=wheels)
    (wheels / WHEEL).rename(wheels / WHEEL.replace("0.26.0", "0.27.0"))
    with pytest.raises(UsageError, match=r"the wheels cannot be had: .*vllm==0\.26\.0"):
        build_pack(tmp_path / "other", wheels=wheels)


@pytest.mark.parametrize(("arch", "words"), [("sm_75", "choose sm_90 or sm_86"), ("sm_90", "is not empty")])
def test_what_cannot_be_built_is_one_line(arch: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=words):
        build_pack(tmp_path, arch)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"python": "3.1"}, "the pack is for 3.1: start it with python3.1"),
        ({"needs": {"torch": "1.0.0"}}, "vLLM 0.26.0 needs torch 1.0.0"),
        ({"needs": {"no-such-package": "1"}}, "no-such-package is not installed: vLLM 0.26.0 needs no-such-package 1"),
        ({"needs": {"a-b": "", "numpy": "", "c-d": ""}}, "start.py: a-b, c-d are not installed: any version will do"),
        ({"needs": {"numpy": "999.1"}}, "needs numpy 999.1"),
    ],
)
def test_a_machine_that_lacks_something_is_told_what(wheels: Path, tmp_path: Path, change: dict, words: str) -> None:
    build_pack(tmp_path / "pack", wheels=wheels)
    file = tmp_path / "pack" / "pack.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    done = started(tmp_path / "pack", tmp_path / "site", "true")
    assert done.returncode == 2 and words in done.stderr
    assert not (tmp_path / "site").exists()


def test_a_part_that_was_damaged_on_its_way_is_not_unpacked(wheels: Path, tmp_path: Path) -> None:
    build_pack(tmp_path / "pack", wheels=wheels)
    with (tmp_path / "pack" / "parts" / "site.tar.xz").open("ab") as part:
        part.write(b"x")
    done = started(tmp_path / "pack", tmp_path / "site", "true")
    assert done.returncode == 1 and "site.tar.xz is not the file that was built: bring it again" in done.stderr


def test_every_wheel_of_the_real_pack_is_pinned_by_one_hash() -> None:
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if not line.startswith("#")]
    assert all(len(line.partition(" --hash=sha256:")[2]) == 64 and "==" in line for line in lines)
    assert pinned_version("\n".join(lines), "vllm") == "0.26.0"
    assert start.release("2.11.0+cu130") == [2, 11, 0]
