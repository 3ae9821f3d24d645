PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin
OLDEST = $(VENV)-oldest
OLDEST_TORCH ?= 2.13.0

.PHONY: quickstart demo docs conformance check test test-oldest test-slow dist clean

# The main job: a frozen ViLT learns four tasks on real handwritten digits, one after another.
quickstart: $(VENV)/.installed
	$(RUN)/atlas-hf learn --stream digits --order mono-first --train_size 2400 --output runs/digits

# The demo, on the model that comes with the package. No network is needed once gradio is installed.
demo: $(VENV)/.installed-demo
	$(RUN)/atlas-hf demo

# The documentation, as a folder of pages that open without a server.
docs: $(VENV)/.installed-docs
	$(RUN)/python -m mkdocs build --strict

# Everything that is said of the source without running it: style, formatting, the order of the rooms, types.
check: $(VENV)/.installed-check
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/lint-imports --no-logo
	$(RUN)/mypy

# The fast tests.
test: $(VENV)/.installed-test
	$(RUN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

# The fast tests on the oldest versions that setup.cfg allows, on Python 3.10 or 3.11. The oldest torch needs
# gigabytes of CUDA libraries where only PyPI is at hand, so it is asked for by name: OLDEST_TORCH=2.6.0
test-oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

# PEFT's own tests, from its source distribution, on AtlasConfig.
conformance: $(VENV)/.installed-conformance
	$(RUN)/python tests/conformance

test-slow: $(VENV)/.installed-test
	$(RUN)/python -m pytest -m slow

# A wheel and a source distribution, as PyPI would take them.
dist: $(VENV)/.installed-check
	rm -rf dist
	$(RUN)/python -m build --outdir dist
	$(RUN)/twine check --strict dist/*

$(VENV)/.installed: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

# An extra of setup.cfg: check, conformance, demo, docs, test.
$(VENV)/.installed-%: $(VENV)/.installed
	$(RUN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$*]"
	touch $@

$(OLDEST)/.installed: setup.cfg constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/pip install --quiet --disable-pip-version-check -c constraints-oldest.txt \
		-e ".[test]" torch==$(OLDEST_TORCH)
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST) build dist runs site .conformance .mypy_cache .import_linter_cache
