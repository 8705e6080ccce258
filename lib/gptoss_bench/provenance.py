"""Where a result comes from, on one line: for figures, pages and reports. Pure."""

from collections.abc import Mapping
from typing import Any


def provenance(manifest: Mapping[str, Any]) -> str:
    """Label, engine, version, model, hardware and run, on one line."""
    endpoint = manifest.get("endpoint") or {}
    gpus = [gpu["name"] for gpu in manifest.get("gpus", [])]
    machine = manifest.get("machine", {})
    hardware = ", ".join(gpus) or (f"no GPU, {machine.get('cores')} × {machine.get('cpu')}" if machine else "")
    engine = " ".join(str(endpoint[name]) for name in ("engine", "version") if endpoint.get(name))
    model = " ".join(str(endpoint[name]) for name in ("model", "quantisation") if endpoint.get(name))
    parts = (manifest.get("label"), engine, model, hardware, manifest.get("run_id"))
    return " · ".join(part for part in parts if part)
