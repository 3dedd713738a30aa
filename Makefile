# lakeq: everything a developer runs. Needs git, make and Python 3.11 or newer; `make` lists the targets.

SHELL := bash
MAKEFLAGS += --no-print-directory
PYTHON ?= $(shell .ci/python)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := demo-lake
BENCH := build/bench
VCF ?= $(BENCH)/ALL.chr22.phase3_made.20130502.genotypes.vcf.gz
PANEL ?= $(BENCH)/integrated_call_samples_v3.20130502.ALL.panel

.PHONY: help demo test soak lint format types layers docs bench lock clean distclean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1|\2/p' Makefile | while IFS='|' read -r a b; do printf '%-15s %s\n' "$$a" "$$b"; done

# The environment follows the lock file: another lock file, another environment.
$(VENV)/.locked: requirements.lock
	@test -n "$(PYTHON)" || { .ci/python; exit 1; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

$(READY): $(VENV)/.locked pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@touch $@

demo: $(READY) ## the main job, offline, on a made cohort of 2,504 samples
	@$(BIN)/python examples/demo.py $(DEMO)

test: $(READY) ## the whole suite
	@.ci/bcftools
	$(BIN)/python -m pytest -n auto

soak: $(READY) ## the tests that take minutes to hours
	$(BIN)/python -m pytest -m soak

lint: $(READY) ## ruff: rules and layout
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## lay the code out as lint wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY) ## mypy, strict
	$(BIN)/mypy --strict lakeq

layers: $(READY) ## imports point down
	PYTHONPATH=. $(BIN)/lint-imports

docs: $(READY) ## the references from the catalog and the commands, then the site
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --config-file .mkdocs.yml

bench: $(READY) ## every benchmark, on a made cohort or on VCF=... PANEL=...
	@test -e "$(VCF)" || $(BIN)/python examples/make_cohort.py $(BENCH) --variants 30000
	$(BIN)/python benchmarks/vcf.py "$(VCF)" "$(PANEL)"
	@test ! -d ../shared/data/nexrad/chunks/KLOT/940 || $(BIN)/python benchmarks/nexrad.py ../shared/data/nexrad/chunks/KLOT/940
	$(BIN)/python benchmarks/plan.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/ingest.py

lock: $(READY) ## newest versions that fit pyproject.toml, with hashes
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --fork-strategy fewest \
	  --generate-hashes --all-extras --group dev --custom-compile-command "make lock" \
	  pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --python-version 3.12 --python-platform x86_64-unknown-linux-gnu \
	  --generate-hashes --extra ingest --extra lambda --extra geo --constraint requirements.lock \
	  --custom-compile-command "make lock" pyproject.toml \
	  --output-file docs/how-to/container/requirements.lock

clean: ## remove what the targets made, but the environment
	rm -rf $(DEMO) site dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## remove the environment too
	rm -rf $(VENV)
