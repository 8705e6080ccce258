"""Decide statements by how a server behaved in a run, or by a survey of versions.

The behaviour of a real server can decide a statement whatever model it serves; the verdict then has the run's label.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from gptoss_bench.claims.conditions import plain_name, version_key
from gptoss_bench.claims.figure_deciders import client_error_text
from gptoss_bench.claims.model import Claim, Evidence, Verdict, format_number
from gptoss_bench.claims.verdict_words import NOT_TESTABLE, OUTDATED, REFUTED, REPRODUCED

Arguments = Mapping[str, Any]


def formula(claim: Claim, evidence: Evidence, *, measured: str, estimated: str, requests: int) -> Verdict:
    """Compare the median of a formula with the measured median of the same requests.

    One real server refutes the formula: there it is outside the tolerance of all of the measured interval. Runs of a
    real model are reported before runs of a tiny one. `measured` and `estimated` are dotted paths of the summary,
    `requests` is the least number that a run needs.
    """
    found = []
    for run in evidence.runs:
        actual, estimate, n = run.number(measured), run.number(estimated), run.number(f"{measured.partition('.')[0]}.n")
        if actual and estimate is not None and (n or 0) >= requests:
            interval = run.interval(f"{measured}_interval")
            sides = {_side(estimate, end, claim.tolerance.relative) for end in interval or (actual,)}
            word = NOT_TESTABLE if len(sides) > 1 else REPRODUCED if 0 in sides else REFUTED
            found.append((_RANKS.index(word), run.label is None, run.run_id, run, actual, estimate, interval))
    if not found:
        return claim.verdict(NOT_TESTABLE, f"no run with {requests} streamed requests or more", needs=claim.needs)
    rank, _, _, run, actual, estimate, interval = max(found, key=lambda entry: entry[:3])
    ratio = format_number(estimate / actual)
    medians = f"measured {format_number(actual)} s, formula {format_number(estimate)} s ({ratio} times)"
    text = f"same requests, medians: {medians}"
    others = [
        f"{format_number(estimate / actual)} times in {one.run_id}"
        for _, _, _, one, actual, estimate, _ in found
        if one is not run
    ]
    if others:
        text += f"; other runs: {', '.join(others)}"
    text = "; ".join([text, *client_error_text(run)])
    needs = "more requests: the measured interval crosses the edge of the tolerance" if rank == 0 else None
    return claim.verdict(_RANKS[rank], text, run=run, needs=needs, measured=actual, interval=interval)


_RANKS = (NOT_TESTABLE, REPRODUCED, REFUTED)


def _side(estimate: float, actual: float, tolerance: float) -> int:
    difference = estimate / actual - 1 if actual > 0 else float("inf")
    return (difference > tolerance) - (difference < -tolerance)


def version_survey(
    claim: Claim, evidence: Evidence, *, software: str, entries: Sequence[Arguments], response_key: str = ""
) -> Verdict:
    """Decide by version: the claim holds now, held once (outdated), or never did (refuted).

    The deciding version is that of a run of `software`, else the newest surveyed one. `response_key`: the claim is that
    a response has this key, so the response of a run overrules the survey.
    """
    ordered = sorted(entries, key=lambda entry: version_key(entry["version"]))
    run = next((run for run in evidence.newest_first() if run.used(software) and run.version), None)
    now = ordered[-1]
    if run and (reached := [e for e in ordered if version_key(e["version"]) <= version_key(run.version or "")]):
        now = reached[-1]
    else:
        run = None
    holds, words = now["holds"], f"{now['version']}{_dated(now)}: {now['found']}"
    if run and response_key and (keys := run.probe("response_keys")):
        holds = response_key in keys
        words = f"{run.version} answered with the keys {', '.join(keys)}"
    held = [
        entry for entry in ordered if entry["holds"] and version_key(entry["version"]) < version_key(now["version"])
    ]
    if holds or not held:
        return claim.verdict(REPRODUCED if holds else REFUTED, f"{software} {words}", run=run)
    first = next(entry for entry in ordered if version_key(entry["version"]) > version_key(held[-1]["version"]))
    then = f"true of {software} {held[-1]['version']}{_dated(held[-1])}; no longer true since {first['version']}"
    still = "" if first is now and run is None else f"; the same in {run.version if run else now['version']}"
    return claim.verdict(OUTDATED, f"{then}{_dated(first)}: {first['found']}{still}", run=run)


def _dated(entry: Arguments) -> str:
    return f" ({entry['date']})" if entry.get("date") else ""


def probe(
    claim: Claim,
    evidence: Evidence,
    *,
    key: str,
    holds: Sequence[Any],
    engine: str = "",
    asked: str = "",
    address: str = "",
    record: Arguments | None = None,
) -> Verdict:
    """Decide by the answer of a server to a probe.

    Args:
        claim: The claim to decide.
        evidence: Claims and runs.
        key: Name of the probe.
        holds: Answers with which the claim holds.
        engine: Only this engine decides, "" for any.
        asked: A probe that must be true for the answer to count.
        address: Beginning of the server's URL.
        record: An earlier answer, with version, value and found, for the case that no run decides.
    """
    seen = [run for run in evidence.newest_first() if run.probe(key) is not None and (not asked or run.probe(asked))]
    seen = [run for run in seen if str((run.manifest.get("endpoint") or {}).get("url", "")).startswith(address)]
    decisive = [run for run in seen if not engine or run.used(engine)]
    others = "".join(
        f"; {run.engine} answered {run.probe(key)} (run {run.run_id})" for run in seen if run not in decisive
    )
    if decisive:
        run = min(decisive, key=lambda run: run.probe(key) in holds)  # a run that contradicts the claim goes first
        word = REPRODUCED if run.probe(key) in holds else REFUTED
        return claim.verdict(word, f"{run.engine} answered {run.probe(key)}{others}", run=run)
    if record:
        word = REPRODUCED if record["value"] in holds else REFUTED
        return claim.verdict(
            word, f"{engine} {record['version']} answered {record['value']}: {record['found']}{others}"
        )
    return claim.verdict(NOT_TESTABLE, f"no run probed a server for this{others}", needs=claim.needs)


def server_reports(claim: Claim, evidence: Evidence, *, engine: str, model: str, fact: str) -> Verdict:
    """Compare a fact that a server reports about its model with the published word."""
    for run in evidence.newest_first():
        endpoint = run.manifest.get("endpoint") or {}
        if run.used(engine) and run.label is None and plain_name(model) in plain_name(str(endpoint.get("model"))):
            same = str(endpoint.get(fact)).lower() == str(claim.published.word).lower()
            return claim.verdict(REPRODUCED if same else REFUTED, f"{engine} reports {endpoint.get(fact)}", run=run)
    return claim.verdict(NOT_TESTABLE, f"no run with {engine} and {model} among the evidence", needs=claim.needs)
