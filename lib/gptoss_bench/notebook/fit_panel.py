"""Show which models fit which GPU: controls in JupyterLab, a figure elsewhere.

A notebook that papermill or nbval executes gets the figure, because a widget needs a browser.
"""

import io
import os
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from gptoss_bench.figures import need_against_budget
from gptoss_bench.memory import Architecture, Budget, Fit, Gpu, estimate_fit, largest_context, largest_sequences
from gptoss_bench.runs import Manifest

DTYPES = ("mxfp4", "fp8", "bf16")


def has_frontend() -> bool:
    """Return whether a Jupyter server started this kernel: the server sets this variable, papermill does not."""
    return "JPY_SESSION_NAME" in os.environ


def open_fit_panel(
    models: Mapping[str, Architecture],
    gpus: Mapping[str, Gpu],
    manifest: Manifest,
    *,
    model: str,
    budget: Budget,
    context: int,
    sequences: int = 1,
) -> Any:
    """Return a panel set to these values, or without a frontend the figure that it would show.

    `budget` is the chosen GPU, or an amount of memory.
    """
    if not has_frontend():
        return _figure(models[model], budget, manifest, context, sequences)
    import ipywidgets  # not needed without a frontend

    choose_model = ipywidgets.Dropdown(options=list(models), value=model, description="model")
    budgets = {budget.name: budget} | {gpu.name: Budget(gpu.name, gpu.memory_bytes, gpu) for gpu in gpus.values()}
    choose_gpu = ipywidgets.Dropdown(options=list(budgets), value=budget.name, description="GPU")
    longest = max(each.max_position_embeddings for each in models.values())
    contexts = sorted({context, longest, *(2**power for power in range(10, 18) if 2**power <= longest)})
    choose_context = ipywidgets.SelectionSlider(options=contexts, value=context, description="context")
    choose_sequences = ipywidgets.BoundedIntText(value=sequences, min=1, max=4096, description="sequences")
    picture, limits = ipywidgets.Image(format="png"), ipywidgets.HTML()

    def show(_: Any = None) -> None:
        chosen, on = models[choose_model.value], budgets[choose_gpu.value]
        tokens, many = min(choose_context.value, chosen.max_position_embeddings), choose_sequences.value
        limits.value = _limits_html(chosen, on, tokens, many)
        picture.value = _png(_figure(chosen, on, manifest, tokens, many))

    controls = (choose_model, choose_gpu, choose_context, choose_sequences)
    for control in controls:
        control.observe(show, names="value")
    show()
    return ipywidgets.VBox([ipywidgets.HBox(controls[:2]), ipywidgets.HBox(controls[2:]), limits, picture])


def panel_fits(model: Architecture, budget: Budget, context: int, sequences: int) -> list[Fit]:
    """Return the needs that the panel shows: of one load on one GPU, by dtype."""
    return [
        estimate_fit(model, each, budget.name, budget.bytes, context=context, sequences=sequences) for each in DTYPES
    ]


def _figure(model: Architecture, budget: Budget, manifest: Manifest, context: int, sequences: int) -> Figure:
    return need_against_budget(panel_fits(model, budget, context, sequences), manifest)


def _limits_html(model: Architecture, budget: Budget, context: int, sequences: int) -> str:
    lines = []
    for each in DTYPES:
        tokens = largest_context(model, each, budget.bytes, sequences=sequences)
        many = largest_sequences(model, each, budget.bytes, context=context)
        lines.append(f"{each.upper()}: at most {tokens:,} tokens each, or {many:,} sequences of {context:,} tokens")
    return "<br>".join(lines)


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
