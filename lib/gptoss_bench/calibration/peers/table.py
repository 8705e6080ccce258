"""Summarise the rows of a bench as Markdown with ratios to this kit, and store them in results/bench/<bench>/.

The folder has rows.csv, one row per run of a client, manifest.json, and both as tables.md.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pydantic import Field

from gptoss_bench.calibration.accuracy import KIT_CLIENT
from gptoss_bench.calibration.peers.registry import ALL_CLIENTS
from gptoss_bench.calibration.peers.reports import MEANS
from gptoss_bench.calibration.peers.run import PeerLoad
from gptoss_bench.files import replacing, writing
from gptoss_bench.runs import (
    CodeVersion,
    Machine,
    Record,
    code_version,
    machine_facts,
    new_run_id,
    package_versions,
    read_record,
    write_record,
)
from gptoss_bench.stats import non_null
from gptoss_client import UsageError

SCHEMA_VERSION = 1
TABLE_COLUMNS = {
    "ttft_p50_ms": "TTFT error p50, ms",
    "ttft_p99_ms": "TTFT error p99, ms",
    "itl_p99_ms": "ITL error p99, ms",
    "cpu_us": "CPU, µs per event",
    "memory_mib": "memory, MiB",
}
NUMBERS = [*TABLE_COLUMNS, "loading_us", "true_itl_p50_ms"]
LEAST_GAP_MS = 0.1  # with shorter gaps, even a client that reports a gap of 0 has a small error
MEASURED = ["ttft_p50_ms", "ttft_p99_ms", "itl_p99_ms", "cpu_s", "loading_cpu_s", "memory_mib", "true_itl_p50_ms"]


class PeerBenchManifest(Record):
    """What a bench ran: rounds, loads, and the versions of the clients; with machine, code and packages of this kit."""

    schema_version: int
    bench_id: str
    rounds: int
    absent: dict[str, str]
    """The reason by client that is not installed."""
    versions: dict[str, str]
    first_token: dict[str, str] = Field(default_factory=dict)
    """What ends the TTFT of each client."""
    contended: bool = False
    """Whether one busy process per core ran beside each client."""
    loads: list[PeerLoad]
    code: CodeVersion
    machine: Machine
    packages: dict[str, str | None]


@dataclass(frozen=True, slots=True)
class PeerBench:
    """A bench read from disk; `rows` has the columns of `PeerRow`."""

    path: Path
    manifest: PeerBenchManifest
    rows: pd.DataFrame

    def markdown(self) -> str:
        """Return the tables and their notes."""
        return peer_bench_markdown(self.rows, self.manifest)


def peer_medians(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the medians over the rounds with numbers, by load and client in the order of `rows`.

    Columns: NUMBERS, `rounds` with numbers, `lost` requests of all rounds, `itl_of`, and the first `problem`.
    `cpu_us` is µs of CPU per event sent, `loading_us` the same while requests were in flight.
    """
    rows = rows.astype(dict.fromkeys(MEASURED, "float64"))
    events = rows["events"].where(rows["events"] > 0)
    rates = {"cpu_us": "cpu_s", "loading_us": "loading_cpu_s"}
    rows = rows.assign(**{name: rows[column] / events * 1e6 for name, column in rates.items()})
    groups = rows.groupby(["load", "client"], sort=False)
    found = groups[NUMBERS].median()
    found["rounds"] = rows["problem"].isna().groupby([rows["load"], rows["client"]], sort=False).sum()
    for name, how in (("lost", "sum"), ("itl_of", "first"), ("problem", "first")):
        found[name] = groups[name].agg(how)
    return found


def best_peer_ratios(one_load: pd.DataFrame) -> dict[str, float | None]:
    """Return by column the smallest value of any peer divided by this kit's; None if one of them is unknown.

    `one_load` is `peer_medians` of one load, by client. ITL errors of means are not comparable and left out, as are
    those of a load with gaps shorter than LEAST_GAP_MS.
    """
    found: dict[str, float | None] = dict.fromkeys(TABLE_COLUMNS)
    if KIT_CLIENT not in one_load.index:
        return found
    peers = one_load.drop(index=KIT_CLIENT)
    for name in TABLE_COLUMNS:
        rivals = peers
        if name == "itl_p99_ms":
            rivals = peers[(peers["itl_of"] != MEANS) & (one_load["true_itl_p50_ms"].max() >= LEAST_GAP_MS)]
        best, ours = non_null(rivals[name]), non_null(one_load.loc[[KIT_CLIENT], name])
        if len(best) and len(ours) and ours[0] > 0:
            found[name] = float(best.min() / ours[0])
    return found


def peer_bench_markdown(rows: pd.DataFrame, manifest: PeerBenchManifest) -> str:
    """Return a table per load, with the ratio of the best peer to this kit, and notes."""
    medians = peer_medians(rows)
    parts = []
    for load in medians.index.get_level_values("load").unique():
        parts.append(_one_load(str(load), medians.loc[load], manifest.first_token))
    return "\n\n".join([*parts, "\n".join(f"- {line}" for line in _notes(medians, manifest))])


def _one_load(load: str, found: pd.DataFrame, rules: Mapping[str, str]) -> str:
    heads = [*TABLE_COLUMNS.values(), *(["what ends its TTFT"] if rules else [])]
    lines = [f"| {load} | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    rows = found.reset_index().to_dict("records")
    ours = next((row for row in rows if row["client"] == KIT_CLIENT), {})
    for row in rows:
        if row["rounds"]:
            cells = [_cell(row[name], None if row is ours else ours.get(name)) for name in TABLE_COLUMNS]
        else:
            cells = [_plain(row["problem"]), *[""] * (len(TABLE_COLUMNS) - 1)]
        cells += [rules.get(row["client"], "–")] if rules else []
        lines.append(f"| {row['client']} | {' | '.join(cells)} |")
    ratios = best_peer_ratios(found)
    if any(ratio is not None for ratio in ratios.values()):
        cells = ["–" if ratio is None else f"**{short_number(ratio)} ×**" for ratio in ratios.values()]
        cells += [""] if rules else []
        lines.append(f"| *best peer / this kit* | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(value: float, ours: float | None) -> str:
    if pd.isna(value):
        return "–"
    if ours is None or pd.isna(ours) or not ours > 0:
        return short_number(value)
    return f"{short_number(value)} ({short_number(value / ours)} ×)"


def short_number(value: float) -> str:
    """Return a number with three significant digits, or as an integer from 100 on."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _plain(words: str) -> str:
    return " ".join(words.replace("|", " ").split())[:160]


def _notes(medians: pd.DataFrame, manifest: PeerBenchManifest) -> list[str]:
    versions = ", ".join(f"{name}: {version}" for name, version in manifest.versions.items())
    machine, rounds = manifest.machine, "1 round" if manifest.rounds == 1 else f"{manifest.rounds} rounds"
    notes = [
        f"Versions: {versions}.",
        f"Medians over {rounds}; a client that is slow to start, or whose run takes long, ran in the first one only.",
        f"Machine: {machine.cpu}, {machine.cores} cores, shared by the server and the client under test.",
    ]
    if manifest.contended:
        notes.append("One busy process per core ran beside each client and the server.")
    rows = medians.reset_index().to_dict("records")
    notes += _better_peers(medians) if manifest.first_token else []
    if loading := [
        f"{short_number(row['loading_us'])} at {row['load']}" for row in rows if pd.notna(row["loading_us"])
    ]:
        notes.append(
            f"CPU of {KIT_CLIENT} while requests were in flight, µs per event: {', '.join(loading)}; the rest is "
            "decoding, tables and summary."
        )
    gaps_ms = medians["true_itl_p50_ms"].groupby(level="load", sort=False).median()
    for load, gap_ms in gaps_ms[gaps_ms < LEAST_GAP_MS].items():
        notes.append(
            f"{load}: the true gap is {short_number(gap_ms * 1e3)} µs at the median. A client that reports no "
            "gaps at all would have a small error here, so no best ITL error is determined."
        )
    for client in sorted({row["client"] for row in rows if row["itl_of"] == MEANS}):
        notes.append(
            f"{client} reports no gaps: its ITL error is that of each request's mean ITL, and is not compared."
        )
    for row in rows:
        if row["rounds"] and pd.notna(row["problem"]):
            notes.append(f"{row['client']} failed in at least one round at {row['load']}: {_plain(row['problem'])}.")
        if row["rounds"] and row["lost"] > 0:
            notes.append(f"{row['client']} at {row['load']}: {row['lost']} requests are missing from its report.")
    notes += [f"{client}: {reason}." for client, reason in manifest.absent.items()]
    return notes


def _better_peers(medians: pd.DataFrame) -> list[str]:
    """Return a line for each load and quantity in which a peer is better than this kit."""
    found = []
    for load in medians.index.get_level_values("load").unique():
        ratios = best_peer_ratios(medians.loc[load])
        better = [TABLE_COLUMNS[name] for name, ratio in ratios.items() if ratio is not None and ratio < 1]
        if better:
            found.append(f"{load}: another client is better than this kit in {'; '.join(better)}.")
    return found


def create_peer_bench(results: Path) -> Path:
    """Create an empty folder for a bench. Raises UsageError if it cannot be created."""
    path = results / "bench" / new_run_id("bench")
    with writing(path, "name another folder"):
        path.mkdir(parents=True)
    return path


def write_peer_bench(
    path: Path,
    rows: pd.DataFrame,
    loads: Sequence[PeerLoad],
    *,
    rounds: int,
    absent: Mapping[str, str],
    contended: bool = False,
) -> PeerBench:
    """Write rows, manifest and tables of a bench to its folder, and return it. Raises UsageError if it cannot."""
    versions = {str(row.client): str(row.version) for row in rows.drop_duplicates("client").itertuples()}
    manifest = PeerBenchManifest(
        schema_version=SCHEMA_VERSION,
        bench_id=path.name,
        rounds=rounds,
        absent=dict(absent),
        versions=versions,
        first_token={peer.name: peer.first_token for peer in ALL_CLIENTS if peer.name in versions},
        contended=contended,
        loads=list(loads),
        code=code_version(),
        machine=machine_facts(),
        packages=package_versions(),
    )
    with writing(path, "free space"):
        with replacing(path / "rows.csv") as part:
            rows.to_csv(part, index=False, float_format="%.6g")
        write_record(path / "manifest.json", manifest)
        found = load_peer_bench(path)
        (path / "tables.md").write_text(found.markdown() + "\n", encoding="utf-8")
    return found


def load_peer_bench(path: Path) -> PeerBench:
    """Read a bench. Raises UsageError if the folder has none, or one of a newer version of the kit."""
    file = path / "manifest.json"
    try:
        content = json.loads(file.read_bytes())
        rows = pd.read_csv(path / "rows.csv")
        newer = content["schema_version"] > SCHEMA_VERSION
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not a readable bench: {error}") from error
    if newer:
        raise UsageError(f"{path} was written by a newer kit (schema {content['schema_version']}): update this one")
    return PeerBench(path, read_record(PeerBenchManifest, content, file), rows)
