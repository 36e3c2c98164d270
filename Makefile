# The two commands: `make demo` and `make test`. Each needs Python >= 3.11, make and a package index, and nothing else.
# PYTHON=python3.12 chooses the interpreter that .venv is made with; JOBS is how many test processes run at once.

PYTHON ?= python3
JOBS ?= 2
BIN := .venv/bin

.DELETE_ON_ERROR:
.PHONY: demo test format clean

demo: .venv/installed
	$(BIN)/jorip train dates --run dates
	$(BIN)/jorip eval runs/dates
	$(BIN)/jorip predict runs/dates --json "ko: Friday, February 13, 2026" "iso: 13 de febrero de 2026" \
	  "ko: 13 февраля 2026 г." "iso: 2026年2月13日" "ko de: 13.2.2026"
	$(BIN)/jorip report runs/dates
	@echo
	@echo "Now yours:"
	@echo "  $(BIN)/jorip predict runs/dates \"ko: 1 mai 1968\"   another date"
	@echo "  $(BIN)/jorip show dates                            what the model is made of"
	@echo "  $(BIN)/jorip list recipes                          other things to train"
	@echo "  README.md                                         your own data"

# lint, format, types and import direction first: they take seconds. pytest's closing line comes last.
test: .venv/installed-test
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS)

format: .venv/installed-test
	$(BIN)/ruff check --fix src tests
	$(BIN)/ruff format src tests

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# The stamps are older than these two files exactly when something may have to be installed.
.venv/installed: pyproject.toml constraints.txt | .venv/python
	@echo "Installing jorip and its exact versions into .venv (once; this takes a few minutes)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

.venv/installed-test: pyproject.toml constraints.txt | .venv/python
	@echo "Installing jorip, its exact versions and the test tools into .venv (once; this takes a few minutes)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	@touch $@ .venv/installed

.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jorip needs Python 3.11 or newer, found " \
	  + sys.version.split()[0] + ": say which one to use, make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	@touch $@
