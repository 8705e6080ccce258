"""Numbers stay as they are: the committed runs, derived again from raw bytes, are compared with golden copies.

The golden copies keep their first names. A change that renames a key, a column, a table or a word adds a line below.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gptoss_bench.claims.model import RunRecord
from gptoss_bench.claims.schema import load_write_up
from gptoss_bench.claims.verdicts import decide_claims
from gptoss_bench.runs.evidence import ChosenRun
from gptoss_bench.runs.folder import Run
from gptoss_bench.runs.summary import RATES
from gptoss_bench.session.evaluate import rebuild_run

# Old name to new name, of a key, a column, a table ("chunks"), a claim or a file ("lint.json"). Where the same old name
# stands in several places, and only one was renamed: its whole path without indices, such as "client.error_bar.ruler".
RENAMED: dict[str, str] = {
    "chunks": "events",
    "stamp_source": "timestamp_source",
    "ruler_events_s": "calibration_events_s",
    "client.error_bar.ruler": "calibration",
}
# Old word to new word, of a value: rules, severities, verdicts, phases, outcomes, ids of runs.
RENAMED_VALUES: dict[str, str] = {
    "no-server-witness": "no-server-metrics",
    "no-machine-witness": "no-machine-telemetry",
    "stamps-out-of-order": "timestamps-out-of-order",
}

# Decided by other rules since then, with tests of their own: intervals (test_bootstrap.py), allowance and power of an
# agreement row (test_agreement.py).
OTHER_RULES = {"p50_interval", "interval", "intervals", "why", "p50_why"}
OTHER_RULES |= {"error", "agrees", "power", "word", "allowance"}

GOLDEN = Path(__file__).parents[1] / "golden"
RUNS = GOLDEN / "runs"
RUN_IDS = sorted(file.parent.name for file in GOLDEN.glob("*/summary.json"))
assert RUN_IDS, f"no golden run in {GOLDEN}"
FEW = 50  # distinct strings of a column that are counted one by one
IDENTIFIER = re.compile(r"[\w.:/-]{0,60}")  # any longer text, or one with a space, may be reworded


def name_now(old: str, path: str = "") -> str:
    return RENAMED.get(f"{path}.{old}", RENAMED.get(old, old))


def word_now(old: str) -> str:
    return RENAMED_VALUES.get(old, old)


def as_now(old: Any, path: str = "") -> Any:
    """A golden document under the names of today; `path` is of the old ones."""
    if isinstance(old, Mapping):
        new = {name_now(key, path): as_now(value, f"{path}.{key}".lstrip(".")) for key, value in old.items()}
        assert len(new) == len(old), f"{path}: two keys were given the same new name"
        return new
    if isinstance(old, list):
        return [as_now(value, path) for value in old]
    return word_now(old) if isinstance(old, str) else old


def under_same_rules(document: Any) -> Any:
    """A summary without what OTHER_RULES decide."""
    if isinstance(document, Mapping):
        return {key: under_same_rules(value) for key, value in document.items() if key not in OTHER_RULES}
    return [under_same_rules(value) for value in document] if isinstance(document, list) else document


def differences(golden: Any, found: Any, path: str = "") -> Iterator[str]:
    """Where a document is otherwise, by path. Of texts only identifiers count, and that a text is there."""
    here = path or "the whole"
    if isinstance(golden, Mapping) and isinstance(found, Mapping):
        for key in sorted(golden.keys() | found.keys()):
            at = f"{path}.{key}".lstrip(".")
            if key not in found:
                yield f"{at}: is no longer there"
            elif key not in golden:
                yield f"{at}: is new"
            else:
                yield from differences(golden[key], found[key], at)
    elif isinstance(golden, list) and isinstance(found, list | tuple):
        if len(golden) != len(found):
            yield f"{here}: {len(golden)} elements, now {len(found)}"
        for index, (old, new) in enumerate(zip(golden, found, strict=False)):
            yield from differences(old, new, f"{path}[{index}]")
    elif not same(golden, found):
        yield f"{here}: {golden!r}, now {found!r}"


def same(golden: Any, found: Any) -> bool:
    if isinstance(golden, str) and isinstance(found, str):
        return golden == found or not IDENTIFIER.fullmatch(golden)
    if golden is None or found is None or isinstance(golden, bool) or isinstance(found, bool):
        return golden is found
    if isinstance(golden, float) or isinstance(found, float):
        return isinstance(golden, int | float) and isinstance(found, int | float) and close(golden, found)
    return bool(golden == found)


def close(golden: float, found: float) -> bool:
    return math.isclose(golden, found, rel_tol=1e-12)


def assert_no_difference(golden: Any, found: Any) -> None:
    found_differences = list(differences(golden, found))
    assert not found_differences, "\n".join([f"{len(found_differences)} differences:", *found_differences[:12]])


def read(*parts: str) -> Any:
    return json.loads(GOLDEN.joinpath(*parts).read_bytes())


def digest(column: pd.Series) -> dict[str, Any]:
    """Numbers that identify a column; `by_row` also changes where two rows are exchanged."""
    seen = column.dropna()
    if not pd.api.types.is_numeric_dtype(column):
        counts = seen.value_counts()
        return {"distinct": len(counts)} if len(counts) > FEW else {"values": sorted(map(list, counts.items()))}
    values = seen.tolist()
    add = math.fsum if pd.api.types.is_float_dtype(column) else sum
    return {
        "count": len(values),
        "sum": add(values),
        "min": min(values, default=None),
        "max": max(values, default=None),
        "by_row": add(row * value for row, value in zip(seen.index.tolist(), values, strict=True)),
    }


@pytest.fixture(scope="module", params=RUN_IDS)
def golden_run(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def rebuilt(golden_run: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rebuilt")
    rebuild_run(Run.load(RUNS / word_now(golden_run)), folder)
    return folder


def test_the_summary(golden_run, rebuilt):
    golden = as_now(read(golden_run, "summary.json"))
    found = json.loads((rebuilt / name_now("summary.json")).read_bytes())
    assert_no_difference(under_same_rules(golden), under_same_rules(found))
    assert {name: interval for name, interval in found["intervals"].items() if name in RATES} == dict.fromkeys(RATES)
    assert "waves: repeat the run (--repeats 3)" in found["done_s"]["intervals"]["p50"]["why"]


def test_the_findings(golden_run, rebuilt):
    golden = as_now(read(golden_run, "findings.json"))
    found = json.loads((rebuilt / name_now("lint.json")).read_bytes())
    named = [tuple(finding[name_now(key)] for key in ("rule", "severity")) for finding in found]
    assert sorted(named) == sorted(tuple(finding.values()) for finding in golden)


def test_the_tables(golden_run, rebuilt):
    for table, columns in read(golden_run, "tables.json").items():
        golden = {}
        for column, old in columns.items():
            values = {"values": sorted([word_now(value), n] for value, n in old["values"])} if "values" in old else {}
            golden[name_now(column, table)] = old | values
        found = pd.read_parquet(rebuilt / f"{name_now(table)}.parquet")
        known = [str(name) for name in found if name in golden or found[name].notna().any()]  # a new one is null here
        assert_no_difference({table: golden}, {table: {name: digest(found[name]) for name in known}})


@pytest.mark.parametrize("golden", read("verdicts.json"), ids=lambda golden: "+".join(golden["runs"]) or "no-run")
def test_the_verdicts(golden):
    """All claims, with these runs as the evidence."""
    runs = [Run.load(RUNS / word_now(run_id)) for run_id in golden["runs"]]
    evidence = [RunRecord.of(ChosenRun(run, run.scenario, "named")) for run in runs]
    verdicts = decide_claims(load_write_up(), evidence)
    fields = ("basis", "verdict", "measured", "interval", "run_id")
    found = {verdict.claim_id: {field: getattr(verdict, field) for field in fields} for verdict in verdicts}
    expected = golden["verdicts"]
    words = ("basis", "verdict")
    assert {at: [one[w] for w in words] for at, one in found.items()} == {
        at: [one[w] for w in words] for at, one in expected.items()
    }
    assert_no_difference(expected, found)
