"""Check a run against its raw bytes: tables, summary and findings derived again, clocks, token counts, the model."""

import json
import math
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pandas as pd

from gptoss_bench.files import read_json
from gptoss_bench.lint import check_run
from gptoss_bench.runs import PHASE_ENDED, PlannedLoad, Run, Telemetry
from gptoss_bench.session import KEPT_FIELDS, rebuild_run
from gptoss_bench.telemetry import describe_again
from gptoss_bench.verify.check import Check
from gptoss_client import NS_PER_S, JsonValue, UsageError, one_line

SAME = 1e-9  # relative difference of two computations of the same number, by other versions of the libraries
BEFORE_SENT_NS = 1_000_000  # a kernel's time of arrival is converted from another clock
LATE_S = 5.0  # between the last request and the end that the manifest states for a clock that was not set
NAMED_MODEL = re.compile(rb'"model"\s*:\s*("(?:[^"\\]|\\.)*")')
SAMPLED = ("gpu", "host", "server")
FULLY_NAMED = {"vllm", "ollama", "sglang"}  # engines that answer with the name that was asked for


def check_rebuilt(run: Run) -> Check:
    """Return whether the raw bytes give the kept tables, summary and findings again."""
    examined = "tables, summary and findings, derived again from raw.parquet"
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch)
        try:
            names = rebuild_run(run, made)
        except UsageError as error:
            return Check("raw bytes", examined, (str(error),))
        missing = [name for name in names if not (run.path / name).exists()]
        differing = [
            f"{name}: {difference}"
            for name in names
            if name not in missing and (difference := _difference(made / name, run.path / name))
        ]
    unchecked = [f"{name} is not kept: it can be derived" for name in missing if name.endswith(".parquet")]
    if (KEPT_FIELDS - {"telemetry"}) & run.load_summary.model_fields_set:
        unchecked.append("what the server reported beside the responses, and the client's CPU, are as it states them")
    refused = (*differing, *(f"{name} is missing" for name in missing if name.endswith(".json")))
    return Check("raw bytes", examined, refused, tuple(unchecked))


def _difference(made: Path, kept: Path) -> str:
    """Return where a kept file differs from the newly made one, "" if nowhere."""
    if made.suffix == ".json":
        return _differing(read_json(made), read_json(kept))
    now_table, then_table = pd.read_parquet(made), pd.read_parquet(kept)
    if list(now_table) != list(then_table) or len(now_table) != len(then_table):
        shapes = [f"{len(table)} rows and {table.shape[1]} columns" for table in (then_table, now_table)]
        return ", not ".join(shapes)
    differing = [str(name) for name in now_table if not _same_column(now_table[name], then_table[name])]
    return f"differs in {', '.join(differing[:5])}" if differing else ""


def _differing(made: JsonValue, kept: JsonValue) -> str:
    """Return the first values of a document that differ from those newly made, "" if none does."""
    now, then = dict(_leaves(made)), dict(_leaves(kept))
    names = [name for name in {**now, **then} if not _is_same(now.get(name), then.get(name))]
    shown = (f"{one_line(name, 60)} is {_shown(then.get(name))}, not {_shown(now.get(name))}" for name in names[:3])
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _shown(value: JsonValue) -> str:
    return one_line(json.dumps(value, ensure_ascii=False), 60)


def _same_column(now: pd.Series, then: pd.Series) -> bool:
    try:
        pd.testing.assert_series_equal(now, then, rtol=SAME, atol=0, check_exact=False)
    except AssertionError:
        return False
    return True


def _leaves(value: JsonValue, path: str = "") -> Iterator[tuple[str, JsonValue]]:
    if isinstance(value, dict) and value:
        for name, one in value.items():
            yield from _leaves(one, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list) and value:
        for at, one in enumerate(value):
            yield from _leaves(one, f"{path}.{at}".lstrip("."))
    else:
        yield path, value


def _is_same(now: JsonValue, then: JsonValue) -> bool:
    numbers = [value for value in (now, then) if isinstance(value, int | float) and not isinstance(value, bool)]
    return math.isclose(numbers[0], numbers[1], rel_tol=SAME) if len(numbers) == 2 else now == then


def check_requests(run: Run) -> Check:
    """Return whether the recorded requests are those of the plan: their ids, number, phases and model."""
    refused: list[str] = []
    ids, phases, models = Counter[int](), Counter[str](), Counter[str]()
    for trace in run.traces():
        ids[trace.request_id] += 1
        phases[trace.phase] += 1
        if found := NAMED_MODEL.search(b"".join(data for _, data in trace.pieces[:8])):
            models[str(json.loads(found[1]))] += 1
    if twice := [str(number) for number, times in ids.items() if times > 1]:
        refused.append(f"request {', '.join(twice[:3])} is there twice")
    planned = run.manifest.parameters.get("requests")
    load = PlannedLoad.of(run.manifest.parameters)
    if isinstance(planned, int) and load is not None and phases["measure"] != planned:
        refused.append(f"its manifest plans {planned} requests, its raw bytes have {phases['measure']}")
    named = run.manifest.server.model
    if (run.manifest.server.engine or "").lower() in FULLY_NAMED and (others := set(models) - {named}):
        refused.append(f"its responses name the model {one_line(others.pop(), 60)}, its manifest {named}")
    return Check("requests", f"{sum(ids.values())} requests, their ids and the model that answered", tuple(refused))


def check_clocks(run: Run) -> Check:
    """Return whether the times can be: sent before an arrival, arrivals before the end, all of it within the run."""
    refused: list[str] = []
    first, last = math.inf, -math.inf
    for trace in run.traces():
        at = f"request {trace.request_id}"
        first = min(first, trace.scheduled_ns)
        last = max(last, trace.done_ns or trace.scheduled_ns)
        arrivals = [when for when, _ in trace.pieces]
        if trace.sent_ns is None:
            if arrivals:
                refused.append(f"{at} was not sent and has an answer")
            continue
        if trace.sent_ns < trace.scheduled_ns:
            refused.append(f"{at} was sent before it was due")
        if arrivals and min(arrivals) < trace.sent_ns - BEFORE_SENT_NS:
            refused.append(f"{at} has bytes that arrived before it was sent")
        if trace.done_ns is not None and arrivals and max(arrivals) > trace.done_ns + BEFORE_SENT_NS:
            refused.append(f"{at} has bytes that arrived after its end")
        if any(earliest > when for earliest, when in zip(trace.not_before_ns, arrivals, strict=False)):
            refused.append(f"{at} has an arrival before the time at which it was known to be absent")
    return Check("clocks", "times of every request and of the run", (*refused[:10], *_window(run, first, last)))


def _window(run: Run, first_ns: float, last_ns: float) -> Iterator[str]:
    """Yield how the times of the requests lie outside of the run that the manifest states."""
    clock, manifest = run.manifest.clock, run.manifest
    if clock is None or clock.start_ns is None or not math.isfinite(first_ns):
        return
    if first_ns < clock.start_ns:
        yield "its first request is before the start of the clock in its manifest: this manifest is of another run"
    try:
        ends = [datetime.fromisoformat(text or "") for text in (manifest.start_utc, manifest.end_utc)]
    except ValueError:
        return
    stated_s, recorded_s = (ends[1] - ends[0]).total_seconds(), (last_ns - clock.start_ns) / NS_PER_S
    if not clock.steps and recorded_s > stated_s + LATE_S:
        yield f"its requests end {recorded_s:.1f} s after the start, its manifest states a run of {stated_s:.1f} s"


def check_tokens(run: Run) -> Check:
    """Return whether no response has more tokens than were asked for, and fixed prompts are of equal length."""
    refused = []
    ended = run.requests[run.requests["outcome"] == "completed"]
    cap = run.manifest.parameters.get("max_tokens")
    if isinstance(cap, int) and (ended["completion_tokens"] > cap).any():
        refused.append(f"a response has {int(ended['completion_tokens'].max())} tokens, and {cap} were asked for")
    if run.manifest.parameters.get("prompts") == "fixed":
        lengths = ended.groupby("prompt_id")["prompt_tokens"].nunique()
        if (lengths > 1).any():
            refused.append("the same prompt has different numbers of tokens")
    reported = int(ended["completion_tokens"].notna().sum())
    return Check("tokens", f"{reported} of {len(ended)} completed responses report their tokens", tuple(refused))


def check_samples(run: Run) -> Check:
    """Return whether the samples of GPU, host and server give what the summary says of them.

    Left out is what was still sampled when the summary was written: the last phase, and what sampling cost.
    """
    examined, kept = "gpu, host and server by phase", run.load_summary.telemetry
    if kept is None or not all((run.path / f"{name}.parquet").exists() for name in SAMPLED):
        stated = kept is not None and any(getattr(kept, name).by_phase for name in SAMPLED)
        return Check("samples", examined, ("the samples are missing",) if stated else ())
    again = describe_again({name: run.table(name) for name in SAMPLED}, kept)
    difference = _differing(_settled(again), _settled(kept))
    named = [gpu.name for gpu in run.manifest.gpus or []]
    sampled = [device.name for device in kept.gpu.devices]
    refused = [difference] if difference else []
    if sampled and sampled != named:
        refused.append(f"the samples are of {sampled[0]}, the manifest names {', '.join(named) or 'no GPU'}")
    return Check("samples", examined, tuple(refused))


def _settled(found: Telemetry) -> JsonValue:
    document = found.model_dump(mode="json", include={"phases", "energy_j", *SAMPLED})
    for name in SAMPLED:
        document[name]["by_phase"].pop(PHASE_ENDED, None)
    return document


def check_findings(run: Run) -> Check:
    """Return whether the linter of today finds no error."""
    found = check_run(run.load_summary, run.requests, run.manifest)
    errors = tuple(f"{one.rule}: {one.evidence}" for one in found if one.severity == "error")
    return Check("linter", f"{len(found)} findings", errors)
