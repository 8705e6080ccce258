"""Draw the certificate of a load tool: its errors by load, and the limit up to which it may be trusted."""

import seaborn as sns
from matplotlib.figure import Figure

from gptoss_bench.calibration import TRUSTED_ERROR_SHARE, Certificate, certificate_text
from gptoss_bench.figures.style import LINES, SERIES_MARKS, draw_guide, finish_figure, new_figure, set_log_scale
from gptoss_bench.runs import Manifest

LEAST_MS = 1e-3  # an error of 0 is drawn here, because a logarithmic axis has no 0


def certificate_figure(certificate: Certificate) -> Figure:
    """Draw the p99 of the tool's errors of TTFT, ITL and E2E by the number of streams, with the limit of trust."""
    figure, axes = new_figure(width=7.0, height=3.8)
    series = zip(("ttft", "itl", "e2e"), sns.color_palette(), SERIES_MARKS, LINES, strict=False)
    for name, colour, mark, line in series:
        found = {level.streams: getattr(level, name) for level in certificate.levels if getattr(level, name)}
        points = {streams: one.error.p99 for streams, one in found.items() if one.error.p99 is not None}
        if points:
            label = f"{name.upper()}, {next(iter(found.values())).of}"
            values = [max(value, LEAST_MS) for value in points.values()]
            axes.plot(list(points), values, line, color=colour, marker=mark, label=label)
    title = " ".join(filter(None, (certificate.tool, certificate.version)))
    axes.set(title=f"{title} against the reference server", xlabel="streams", ylabel="error at p99, ms")
    set_log_scale(axes, "x")
    set_log_scale(axes, "y")
    axes.set_xticks([level.streams for level in certificate.levels])
    draw_guide(axes, TRUSTED_ERROR_SHARE * certificate.true_itl_ms, "5 % of the gap between tokens")
    axes.legend(fontsize=8)
    words = " ".join(certificate_text(certificate).splitlines()[1:])
    return finish_figure(figure, Manifest(machine=certificate.machine, gpus=[]), words)
