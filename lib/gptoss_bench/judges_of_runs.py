"""The ways of deciding a claim by what a run measured or a server answered: claim and evidence in, verdict out.

Numbers of a labelled run (TINY MODEL) never decide a figure. What a real server does on the wire may decide a
statement, and the verdict then carries the run's label.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gptoss_bench.error_bar import bar_words
from gptoss_bench.evidence import (
    NOT_TESTABLE,
    OUTDATED,
    REFUTED,
    REPRODUCED,
    Claim,
    Evidence,
    RunRecord,
    Verdict,
    number,
)

Arguments = Mapping[str, Any]


def measured(
    claim: Claim,
    evidence: Evidence,
    *,
    path: str,
    scenario: str,
    gpu: str,
    engine: str,
    model: str,
    parameters: Arguments | None = None,
    interval: str = "",
    beside: Mapping[str, str] | None = None,
    better: str = "",
    whole: bool = True,
) -> Verdict:
    """A number of a run's summary at `path`, from the newest run made under the claim's conditions.

    `gpu` and `engine` are names to find in the manifest, `parameters` values that the run must have had, `beside`
    other numbers to print (words: path), `better` "lower" or "higher" where the direction has a meaning. `whole`: a
    run in which a request failed does not count.
    """
    refused = [f"no {scenario} run among the evidence"]
    for run in sorted(evidence.of(scenario), key=lambda run: run.run_id, reverse=True):
        value = run.number(path)
        failed = f"{run.number('failed'):g} requests failed" if whole and run.number("failed") else ""
        if reason := _not_the_setting(run, gpu, engine, model, parameters or {}) or failed:
            refused.append(f"run {run.run_id} does not count: {reason}")
        elif value is None:
            refused.append(f"run {run.run_id} has no {path}")
        else:
            return _compared(claim, run, value, span=run.span(interval), beside=beside or {}, better=better)
    return claim.verdict(NOT_TESTABLE, "; ".join(refused[1:] or refused), needs=claim.needs)


def _not_the_setting(run: RunRecord, gpu: str, engine: str, model: str, parameters: Arguments) -> str:
    """Why a run says nothing about a figure, in words; empty where it does."""
    had = run.manifest.get("parameters") or {}
    other = [f"{key} {had.get(key)!r}, not {value!r}" for key, value in parameters.items() if had.get(key) != value]
    gpus = [str(card["name"]) for card in run.manifest.get("gpus") or []]
    reasons = [
        (run.label, str(run.label)),
        (run.manifest.get("status") != "complete", "it is incomplete"),
        # A whole word: A10 is neither an A100 nor an A10G.
        (not any(re.search(rf"\b{gpu}\b", name) for name in gpus), f"its GPU is {', '.join(gpus) or 'none'}"),
        (not run.is_of(engine), f"its engine is {run.engine}"),
        (_plain(model) not in _plain(str((run.manifest.get("endpoint") or {}).get("model"))), "another model"),
        (other, "; ".join(other)),
    ]
    return "; ".join(words for applies, words in reasons if applies)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


def _compared(
    claim: Claim,
    run: RunRecord,
    value: float,
    *,
    span: tuple[float, float] | None,
    beside: Mapping[str, str],
    better: str,
) -> Verdict:
    agrees = claim.agrees(value)
    text = [f"{number(value)} {claim.published.unit}".strip()]
    if reference := claim.published.nearest(value):
        apart = value / reference - 1
        words = {"": ("", ""), "lower": (", slower", ", faster"), "higher": (", faster", ", slower")}[better]
        text.append(f"{abs(apart):.0%} {'above' if apart > 0 else 'below'} {reference:g}{words[apart < 0]}")
    if span and not all(claim.agrees(edge) == agrees for edge in span):
        text.append("its interval reaches across the edge of the tolerance")
    others = ((words, run.number(path)) for words, path in beside.items())
    text += [f"{words} {number(other)}" for words, other in others if other is not None]
    text += _of_the_client(run)
    return claim.verdict(REPRODUCED if agrees else REFUTED, "; ".join(text), run=run, measured=value, interval=span)


def _of_the_client(run: RunRecord) -> list[str]:
    """How wrong the client may be in that run, and whether it was the limit; nothing where the run does not say."""
    client = run.summary.get("client") or {}
    bound = [f"CLIENT-BOUND: {'; '.join(client['bound'])}"] if client.get("bound") else []
    return [bar_words(client["error_bar"]), *bound] if client.get("error_bar") else []


def estimator(claim: Claim, evidence: Evidence, *, measured: str, estimated: str, requests: int) -> Verdict:
    """A formula's median against the measured median of the same requests. One real server that it misses refutes it.

    `requests`: how many a run needs at least. A run on a real model is named before one on a tiny one.
    """
    found = []
    for run in evidence.runs:
        true, guess, n = run.number(measured), run.number(estimated), run.number(f"{measured.partition('.')[0]}.n")
        if true and guess is not None and (n or 0) >= requests:
            apart = abs(guess / true - 1)
            found.append((apart > claim.tolerance.relative, run.label is None, run.run_id, run, true, guess))
    if not found:
        return claim.verdict(NOT_TESTABLE, f"no run with {requests} streamed requests or more", needs=claim.needs)
    missed, _, _, run, true, guess = max(found, key=lambda entry: entry[:3])
    text = (
        f"same requests, medians: measured {number(true)} s, formula {number(guess)} s ({number(guess / true)} times)"
    )
    others = [
        f"{number(guess / true)} times in {other.run_id}" for _, _, _, other, true, guess in found if other is not run
    ]
    if others:
        text += f"; beside it {', '.join(others)}"
    text = "; ".join([text, *_of_the_client(run)])
    span = run.span(f"{measured}_interval")
    return claim.verdict(REFUTED if missed else REPRODUCED, text, run=run, measured=true, interval=span)


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


def version_key(version: str) -> tuple[int, ...]:
    """The numbers of a version, for ordering; what follows a + or a - is not looked at."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[+-]", version)[0]))


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
        if run.is_of(engine) and run.label is None and _plain(model) in _plain(str(endpoint.get("model"))):
            same = str(endpoint.get(fact)).lower() == str(claim.published.word).lower()
            return claim.verdict(REPRODUCED if same else REFUTED, f"{engine} says {endpoint.get(fact)}", run=run)
    return claim.verdict(NOT_TESTABLE, f"no run with {engine} and {model} among the evidence", needs=claim.needs)


JUDGES = (measured, estimator, survey, probe, endpoint_says)
