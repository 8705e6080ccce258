"""Plot TTFT and gaps between tokens of two runs: python docs/examples/plot_two_runs.py RUN RUN PICTURE.svg"""

import sys

from matplotlib.figure import Figure

from gptoss_bench.runs import Run

if len(sys.argv) != 4:
    sys.exit(__doc__)
first, second, picture = sys.argv[1:]
figure = Figure(figsize=(10, 4), layout="constrained")
ttft, gaps = figure.subplots(1, 2)
for run in (Run.load(first), Run.load(second)):
    name = " ".join([*run.manifest.labels, run.run_id])  # TINY MODEL and other labels belong to every figure of a run
    requests = run.requests[(run.requests.phase == "measure") & (run.requests.outcome == "completed")]
    events = run.events[run.events.request_id.isin(requests.request_id)]
    ttft.ecdf(requests.ttft_s.dropna(), label=name)
    gaps.ecdf(events.itl_s.dropna() * 1e3, label=name)
    print(f"{name}: TTFT p50 {run.summary.ttft_s.p50:.3f} s of {len(requests)} requests")
ttft.set(xlabel="time to first token, s", ylabel="share of requests")
gaps.set(xlabel="gap between two tokens, ms", ylabel="share of gaps", xscale="log")
ttft.legend(fontsize=7)
figure.savefig(picture)
