# The only front door. `make` alone lists the targets.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# A CPU build is enough here, a CUDA build is needed on a GPU: either satisfies this.
TORCH ?= torch==2.13.0
# Clients to compare with, none of them a dependency.
PEERS ?= aiohttp==3.14.5 guidellm==0.8.1 aiperf==0.13.0
# Of one run: make run-h100 URL=http://127.0.0.1:8000 MODEL=openai/gpt-oss-120b
URL ?=
MODEL ?=

BIN := .venv/bin
READY := .venv/.ready
TINY := lib/gptoss_bench/data/gpt-oss-tiny.gguf
RUN = $(BIN)/python -m gptoss_bench run $(if $(URL),-p 'url=$(URL)') $(if $(MODEL),-p 'model=$(MODEL)')
# A server that is attached to needs nothing of this machine.
DOCTOR = $(if $(URL),true,$(BIN)/python -m gptoss_bench doctor $(1) $(if $(MODEL),--model '$(MODEL)'))
PROFILES := notebooks/profiles

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

setup: $(READY) ## .venv with the locked dependencies; nothing is done twice

doctor: $(READY) ## what this machine can run, what it lacks for the rest, and what mends that
	@$(BIN)/python -m gptoss_bench doctor

run: $(READY) $(TINY) ## every scenario on this machine, no GPU needed; ends with the verdicts
	$(RUN) --profile $(PROFILES)/local.yaml

run-a10: $(READY) ## gpt-oss-20b with Ollama on an A10, and what fits there in BF16
	@$(call DOCTOR,a10)
	$(RUN) --profile $(PROFILES)/a10.yaml ollama_a10 transformers_bf16 verdicts

run-h100: $(READY) ## gpt-oss-20b with vLLM on an H100, the published load
	@$(call DOCTOR,h100)
	$(RUN) --profile $(PROFILES)/h100.yaml vllm_h100 verdicts

run-bf16: $(READY) ## transformers in BF16 against the memory of an A10
	$(RUN) --profile $(PROFILES)/local.yaml transformers_bf16 verdicts

ruler: $(READY) ## how wrong the client is on this machine, and from which load on, beside stock httpx
	$(RUN) --profile $(PROFILES)/local.yaml ruler

lab: $(READY) $(TINY) ## JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks

test: $(READY) $(TINY) ## all tests: decoders, metrics, real engine, notebooks
	$(BIN)/python -m pytest

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup-peers: $(READY) ## for bench: guidellm, aiperf and aiohttp, each in a venv of its own under build/peers
	@for peer in $(PEERS); do \
		venv=build/peers/$${peer%%==*}; echo "$$peer into $$venv"; \
		{ test -x $$venv/bin/python || $(BIN)/python -m venv $$venv; } && \
		$$venv/bin/python -m pip install --quiet --disable-pip-version-check $$peer || \
		echo "$$peer cannot be installed here: bench runs without it"; done

bench: $(READY) ## this client beside others against the truth server: errors, CPU, memory, as ratios of one run
	$(BIN)/python -m gptoss_bench bench

model: $(READY) ## make the tiny model again from nothing (minutes)
	rm -f $(TINY)
	$(MAKE) $(TINY)

lock: $(READY) ## write requirements.lock again from pyproject.toml
	$(BIN)/python -m venv build/uv && build/uv/bin/pip install --quiet uv
	build/uv/bin/uv lock --quiet --python $(BIN)/python
	build/uv/bin/uv export --quiet --format requirements-txt --no-header --no-emit-project --all-extras \
		--prune torch --output-file requirements.lock > /dev/null
	rm -f uv.lock

clean: ## remove what setup and the tests made; results stay
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache .hypothesis lib/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python of version 3.11 or newer on PATH: install one, or name it: make PYTHON=…"; exit 2; }
	@echo "Setting up .venv with $(PYTHON) (a few minutes the first time)"
	@$(PYTHON) -m venv .venv || { echo "$(PYTHON) cannot make a venv: on Debian and Ubuntu, apt install python3-venv"; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '$(TORCH)'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(TINY): | $(READY)
	@echo "Making the tiny gpt-oss model (minutes, once)"
	$(BIN)/python -m gptoss_bench.tiny

.PHONY: help setup doctor run run-a10 run-h100 run-bf16 ruler lab test lint setup-peers bench model lock clean
