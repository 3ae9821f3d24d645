PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin

.PHONY: quickstart test test-slow lint clean

# The main job: a frozen ViLT learns four tasks on real handwritten digits, one after another.
quickstart: $(VENV)/.installed
	$(RUN)/atlas-hf learn --stream digits --order mono-first --train_size 2400 --output runs/digits

test: $(VENV)/.installed-test
	$(RUN)/ruff check .
	$(RUN)/python -m pytest

test-slow: $(VENV)/.installed-test
	$(RUN)/python -m pytest -m slow

$(VENV)/.installed: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(RUN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@

clean:
	rm -rf $(VENV) runs
