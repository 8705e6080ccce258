"""The ways of deciding a claim by what a server did or answered: claim and evidence in, verdict out.

What a real server does on the wire may decide a statement, whatever model it serves, and the verdict then carries the
run's label. Figures are decided in judges_of_figures.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from gptoss_bench.claims.conditions import plain_name, version_key
from gptoss_bench.claims.figure_deciders import measured, of_the_client
from gptoss_bench.claims.model import (
    NOT_TESTABLE,
    OUTDATED,
    REFUTED,
    REPRODUCED,
    Claim,
    Evidence,
    Verdict,
    format_number,
)

Arguments = Mapping[str, Any]


def estimator(claim: Claim, evidence: Evidence, *, measured: str, estimated: str, requests: int) -> Verdict:
    """A formula's median against the measured median of the same requests. One real server that it misses refutes it.

    `requests`: how many a run needs at least. It misses where it is off from all of the measured interval. A run on a
    real model is named before one on a tiny one.
    """
    found = []
    for run in evidence.runs:
        true, guess, n = run.number(measured), run.number(estimated), run.number(f"{measured.partition('.')[0]}.n")
        if true and guess is not None and (n or 0) >= requests:
            span = run.span(f"{measured}_interval")
            sides = {_off(guess, edge, claim.tolerance.relative) for edge in span or (true,)}
            word = NOT_TESTABLE if len(sides) > 1 else REPRODUCED if 0 in sides else REFUTED
            found.append((_RANKS.index(word), run.label is None, run.run_id, run, true, guess, span))
    if not found:
        return claim.verdict(NOT_TESTABLE, f"no run with {requests} streamed requests or more", needs=claim.needs)
    rank, _, _, run, true, guess, span = max(found, key=lambda entry: entry[:3])
    times = format_number(guess / true)
    text = f"same requests, medians: measured {format_number(true)} s, formula {format_number(guess)} s ({times} times)"
    others = [
        f"{format_number(guess / true)} times in {one.run_id}"
        for _, _, _, one, true, guess, _ in found
        if one is not run
    ]
    if others:
        text += f"; beside it {', '.join(others)}"
    text = "; ".join([text, *of_the_client(run)])
    needs = "more requests: the measured interval reaches across the edge of the tolerance" if rank == 0 else None
    return claim.verdict(_RANKS[rank], text, run=run, needs=needs, measured=true, interval=span)


_RANKS = (NOT_TESTABLE, REPRODUCED, REFUTED)


def _off(guess: float, true: float, tolerance: float) -> int:
    apart = guess / true - 1 if true > 0 else float("inf")
    return (apart > tolerance) - (apart < -tolerance)


def survey(
    claim: Claim, evidence: Evidence, *, software: str, entries: Sequence[Arguments], response_key: str = ""
) -> Verdict:
    """What is known by version: holds now, held once (outdated), or never did (refuted).

    The version that decides is that of a run of `software`, else the newest surveyed one. `response_key`: the claim is
    that this key is in a response, so such a run's own response overrules the survey.
    """
    ordered = sorted(entries, key=lambda entry: version_key(entry["version"]))
    run = next((run for run in evidence.newest_first() if run.is_of(software) and run.version), None)
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
    then = f"true of {software} {held[-1]['version']}{_dated(held[-1])}; no longer since {first['version']}"
    still = "" if first is now and run is None else f"; so too in {run.version if run else now['version']}"
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
    """What a server answered when asked: the claim holds where the answer at `key` is among `holds`.

    `engine`: only such a server decides, and where no run has one the `record` of an earlier answer does. `asked`: a
    probe that has to be true for the answer to count; `address`: how the server's address has to begin.
    """
    seen = [run for run in evidence.newest_first() if run.probe(key) is not None and (not asked or run.probe(asked))]
    seen = [run for run in seen if str((run.manifest.get("endpoint") or {}).get("url", "")).startswith(address)]
    decisive = [run for run in seen if not engine or run.is_of(engine)]
    others = "".join(
        f"; {run.engine} answered {run.probe(key)} (run {run.run_id})" for run in seen if run not in decisive
    )
    if decisive:
        run = min(decisive, key=lambda run: run.probe(key) in holds)  # one that contradicts goes first
        word = REPRODUCED if run.probe(key) in holds else REFUTED
        return claim.verdict(word, f"{run.engine} answered {run.probe(key)}{others}", run=run)
    if record:
        word = REPRODUCED if record["value"] in holds else REFUTED
        return claim.verdict(
            word, f"{engine} {record['version']} answered {record['value']}: {record['found']}{others}"
        )
    return claim.verdict(NOT_TESTABLE, f"no run has asked a server{others}", needs=claim.needs)


def endpoint_says(claim: Claim, evidence: Evidence, *, engine: str, model: str, fact: str) -> Verdict:
    """What a server says of its model, against the published word."""
    for run in evidence.newest_first():
        endpoint = run.manifest.get("endpoint") or {}
        if run.is_of(engine) and run.label is None and plain_name(model) in plain_name(str(endpoint.get("model"))):
            same = str(endpoint.get(fact)).lower() == str(claim.published.word).lower()
            return claim.verdict(REPRODUCED if same else REFUTED, f"{engine} says {endpoint.get(fact)}", run=run)
    return claim.verdict(NOT_TESTABLE, f"no run with {engine} and {model} among the evidence", needs=claim.needs)


RUN_DECIDERS = (measured, estimator, survey, probe, endpoint_says)
