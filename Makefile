PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin
OLDEST = $(VENV)-oldest
OLDEST_TORCH ?= 2.13.0

.PHONY: quickstart demo docs conformance test test-oldest test-slow lint clean

# The main job: a frozen ViLT learns four tasks on real handwritten digits, one after another.
quickstart: $(VENV)/.installed
	$(RUN)/atlas-hf learn --stream digits --order mono-first --train_size 2400 --output runs/digits

# The demo, on the model that comes with the package. No network is needed once gradio is installed.
demo: $(VENV)/.installed-demo
	$(RUN)/atlas-hf demo

# The documentation, as a folder of pages that open without a server.
docs: $(VENV)/.installed-docs
	$(RUN)/python -m mkdocs build --strict

test: $(VENV)/.installed-test
	$(RUN)/ruff check .
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

$(VENV)/.installed: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

# An extra of setup.cfg: demo, docs, test, conformance.
$(VENV)/.installed-%: $(VENV)/.installed
	$(RUN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$*]"
	touch $@

$(OLDEST)/.installed: setup.cfg constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/pip install --quiet --disable-pip-version-check -c constraints-oldest.txt \
		-e ".[test]" torch==$(OLDEST_TORCH)
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST) runs site .conformance
