#!/usr/bin/env bash
# Rent a machine, measure on it, fetch its runs also if the measurement failed, verify them, give the machine back.
# Usage: cloud/launch.sh a10|h100 [dry]; `dry` prints the commands. `make cloud` calls it.
set -uo pipefail
cd "$(dirname "$0")/.."

# USD an hour: list prices of 2026-11, pay as you go, Linux; they differ by region. Minutes: an estimate, none was measured.
case "${1:-}" in
a10) size=Standard_NV36ads_A10_v5 usd_per_hour=3.20 minutes=60 ;;
h100) size=Standard_NC40ads_H100_v5 usd_per_hour=6.98 minutes=50 ;;
*) echo "cloud: name the GPU: make cloud GPU=a10 or make cloud GPU=h100" >&2 && exit 2 ;;
esac
gpu=$1 cluster=gptoss-$1 dry=${2:-}
export PATH="$PWD/build/sky/bin:$PATH"

step() {
    echo "+ $*"
    [ -n "$dry" ] || "$@"
}

printf '%s: %s USD an hour by list, about %d minutes, so about %.2f USD.\n' \
    "$size" "$usd_per_hour" "$minutes" "$(python3 -c "print($usd_per_hour * $minutes / 60)")"
echo "The measurement ends after 2 hours at most; an idle machine is deleted after 20 minutes, also if this command is stopped."

if [ -z "$dry" ]; then
    command -v sky > /dev/null || { echo "cloud: SkyPilot is missing: make setup-cloud, then az login" >&2 && exit 2; }
    [ -t 0 ] && { read -rp "Rent it? [y/N] " answer; [ "$answer" = y ] || exit 1; }
fi

before=$(mktemp) && ls results/runs > "$before"
step sky launch --yes --cluster "$cluster" --down --idle-minutes-to-autostop 20 "cloud/$gpu.sky.yaml"
code=$?
step rsync -a --ignore-existing "$cluster:sky_workdir/results/runs/" results/runs/ || code=$?
mapfile -t runs < <(ls results/runs | comm -13 "$before" -)
rm -f "$before"
if [ -n "$dry" ]; then
    runs=(RUN…)
fi
if [ "${#runs[@]}" -gt 0 ]; then
    step .venv/bin/gptoss-bench verify "${runs[@]}" || code=$?
else
    echo "cloud: no run came back" >&2
fi
step sky down --yes "$cluster" || { code=$?; echo "cloud: the machine may still cost money: sky down $cluster" >&2; }
exit "$code"
