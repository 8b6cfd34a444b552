# make mini: set up and run the main recipe. make test: set up and pass the tests.
VENV ?= .venv
PYTHON ?= python3
BIN := $(CURDIR)/$(VENV)/bin
export PATH := $(BIN):$(PATH)
export VIRTUAL_ENV := $(CURDIR)/$(VENV)

.PHONY: setup mini test test_all gpu_test cluster_test cluster_turn browser_test lint audit recipes mutations faults soak fuzz benchmark docs clean

setup: $(VENV)/.installed

$(VENV)/.installed: setup.py pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -e '.[mini,dev,ssl,lora,separation,explain,serve,onnx]'
	$(BIN)/python -m pip install -q --no-deps distillmos
	touch $@

mini: setup
	egs/mini/run.sh

# Files in the order of their names, which begins with the longest.
test: setup
	python -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests

# Long tests of which make test runs a fifth, which the commit decides: all at once.
test_all: setup
	ALL_TESTS=1 python -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests

gpu_test: setup
	GPU_TESTS=1 python -m pytest tests/gpu

# The mini recipe on a Slurm of two nodes that the tests start; root, and Debian's slurm-wlm,
# slurm-wlm-basic-plugins and munge are needed.
cluster_test: setup
	ALL_TESTS=1 CLUSTER_TESTS=1 python -m pytest tests/cluster

# A fifth of them, which the commit decides.
cluster_turn: setup
	CLUSTER_TESTS=1 python -m pytest tests/cluster

# The pages in Chromium, of Debian's packages chromium and chromium-driver. SCREENSHOTS=DIR keeps
# pictures.
browser_test: setup
	BROWSER_TESTS=1 python -m pytest tests/browser

# Known vulnerabilities of the installed packages; reasons for what is left are in tools/audit.toml.
audit: setup
	python tools/audit.py

lint: setup
	ruff check .
	ruff format --check .

recipes: setup
	egs/mini/run.sh
	egs/asvspoof2019_la/run.sh --corpus_dir egs/mini/corpus --expect_counts false --config conf/resnet18_small.yaml

# All known defects; SHARES=10 takes a tenth, which the commit decides.
SHARES ?= 1
mutations: setup
	python tests/mutations/run.py --shares $(SHARES)

# All faults that tests/faults injects, with their table. make test injects a part of them.
RUNS ?= 200
FAULT_SEED ?= 1
faults: setup
	ALL_TESTS=1 python -m pytest tests/faults --runs $(RUNS) --fault_seed $(FAULT_SEED) \
	  --fault_table build/faults.tsv

# Training and scoring in a loop, with a random kill a minute.
HOURS ?= 1
soak: setup
	python tools/soak.py --hours $(HOURS)

# Every test of random inputs (parsers, and what must hold of any numbers), with fifty times as many
# as make test tries, and new ones each time.
fuzz: setup
	HYPOTHESIS_PROFILE=fuzz python -m pytest --timeout 0 -m hypothesis tests

# Each stage beside its floor, on a quiet machine; docs/benchmarks.md.
benchmark: setup
	python tools/benchmark.py --json build/benchmark.json

docs: setup
	$(BIN)/python -m pip install -q -e '.[docs]'
	mkdocs build --strict
	@echo "open build/site/index.html"

clean:
	rm -rf egs/*/data egs/*/exp egs/*/corpus
