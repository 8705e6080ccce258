"""GPUs and packages of a machine: nvidia-smi as a little program that answers as the real one does."""

import pytest

from gptoss_bench.runs.installed import SmiGpu, package_version, query_nvidia_smi

NO_DRIVER = "echo 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.'; exit 9"
H100 = "echo 'NVIDIA H100 NVL, 95830, 12, 580.1, 9.0'"
A10 = "echo 'NVIDIA A10-24Q, [N/A], [N/A], 550.1, [N/A]'"


@pytest.mark.parametrize(
    ("script", "gpus", "words"),
    [
        (H100, (SmiGpu("NVIDIA H100 NVL", 95830, 12, "580.1", (9, 0)),), None),
        (A10, (SmiGpu("NVIDIA A10-24Q", None, None, "550.1", None),), None),
        (NO_DRIVER, (), "nvidia-smi says: NVIDIA-SMI has failed because it could not communicate"),
        ("exit 1", (), "nvidia-smi says: exit code 1"),
        ("true", (), "lists no GPU"),
        (None, (), "not on PATH"),
    ],
)
def test_nvidia_smi_with_and_without_a_driver(tmp_path, monkeypatch, script, gpus, words):
    monkeypatch.setenv("PATH", str(tmp_path))
    if script is not None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    found, why = query_nvidia_smi()
    assert found == gpus
    assert why is None if words is None else words in why


def test_the_version_of_a_package_and_of_one_that_is_not_there():
    assert package_version("numpy").startswith("2.")
    assert package_version("no-such-package") is None
