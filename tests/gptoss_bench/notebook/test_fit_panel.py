"""The panel and the maps show the results of memory.estimate_fit."""

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from gptoss_bench.figures.capacity import headroom_map, need_against_budget
from gptoss_bench.memory.architecture import architectures
from gptoss_bench.memory.capacity import estimate_fit, fit_grid, largest_sequences
from gptoss_bench.memory.gpus import gpu_catalogue, parse_budget
from gptoss_bench.notebook.fit_panel import open_fit_panel
from gptoss_bench.runs import Manifest

MODELS = architectures()
GPUS = gpu_catalogue()
A10 = "NVIDIA A10 (bare metal / pass-through)"
CHOICE = {"model": "gpt-oss-20b", "budget": parse_budget("A10"), "context": 8192}


def words_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


def test_without_a_frontend_there_is_a_figure(monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    shown = open_fit_panel(MODELS, GPUS, Manifest(run_id="run-7"), **CHOICE)
    words = words_of(shown)
    assert any("run-7" in text for text in words)
    assert "fits, +8.5 GiB" in words
    assert any(text.startswith("does not fit") for text in words)


def test_an_amount_is_a_budget_that_no_gpu_has(monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "transformers_bf16.ipynb")
    panel = open_fit_panel(MODELS, GPUS, Manifest(), **CHOICE | {"budget": parse_budget("44.7GiB")})
    _, gpu = panel.children[0].children
    assert gpu.value == "44.7GiB"
    assert set(gpu.options) == {"44.7GiB", *GPUS}


def test_with_one_there_is_a_panel_that_follows_its_controls(monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "transformers_bf16.ipynb")
    panel = open_fit_panel(MODELS, GPUS, Manifest(), **CHOICE)
    (model, gpu), (context, sequences), words, picture = (
        panel.children[0].children,
        panel.children[1].children,
        *panel.children[2:],
    )
    first = bytes(picture.value)
    assert first.startswith(b"\x89PNG")
    assert "MXFP4: at most 131,072 tokens each, or 45 sequences of 8,192 tokens" in words.value
    gpu.value, context.value = "NVIDIA H100 NVL", 131_072
    assert bytes(picture.value) != first
    most = largest_sequences(MODELS["gpt-oss-20b"], "mxfp4", GPUS["NVIDIA H100 NVL"].memory_bytes, context=131_072)
    assert f"or {most:,} sequences of 131,072 tokens" in words.value
    sequences.value, model.value = 4, "gpt-oss-120b"
    assert "BF16: at most 0 tokens each, or 0 sequences" in words.value


def test_the_map_shows_headroom_and_the_largest_number_of_sequences():
    loads = [(8192, 1), (131_072, 8)]
    cards = [(gpu.name, gpu.memory_bytes) for gpu in GPUS.values()]
    fits = fit_grid(list(MODELS.values()), ("mxfp4", "bf16"), cards, loads)
    assert len(fits) == 2 * 2 * 2 * len(GPUS)
    [one] = [
        space
        for space in fits
        if (space.fit.device, space.fit.model, space.fit.dtype, space.fit.sequences) == (A10, "gpt-oss-20b", "mxfp4", 1)
    ]
    assert one.largest_sequences == 45
    table = headroom_map(fits, Manifest(run_id="run-7"))
    assert list(table.groups) == ["20b MXFP4", "20b BF16", "120b MXFP4", "120b BF16"]
    assert all(names == ["1 × 8k", "8 × 128k"] for names in table.groups.values())
    assert len(table.rows) == len(GPUS)
    assert "run-7" in table.note
    assert {"A10, 22.5", "H100 NVL, 93.6"} <= set(table.rows)
    first = table.rows["A10, 22.5"][0]
    assert (first.text, first.note) == (f"{one.fit.headroom_bytes / 2**30:+.1f}", "45 fit")
    for cell in (cell for cells in table.rows.values() for cell in cells):
        assert cell.text.startswith("+" if cell.shade > 0 else "\N{MINUS SIGN}")
        assert ("only" in cell.note or cell.note == "none fits") == (cell.shade < 0)


@pytest.mark.parametrize("name", MODELS)
def test_the_bars_are_the_parts(name):
    fits = [estimate_fit(MODELS[name], dtype, A10, 24 * 10**9, context=4096) for dtype in ("mxfp4", "bf16")]
    figure = need_against_budget(fits, Manifest())
    widths = [patch.get_width() for patch in figure.axes[0].patches]
    total = sum(fit.parts.serving + fit.parts.dequantisation for fit in fits) / 2**30
    assert sum(widths) == pytest.approx(total)
