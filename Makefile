# "make help" lists what there is. Everything longer than a line or two is in tools/.

.DEFAULT_GOAL := help
.PHONY: help install install-latest demo test test-latest lint clean

help: ## show this list
	@echo "usage: make TARGET [VARIABLE=value]"
	@echo
	@awk -F': ## ' '/^[a-z-]+: ## / { printf "  %-14s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  PYTHON=            use this Python, which must have DIALS"
	@echo "  DATA=              demo: use these files (reflections, experiments)"
	@echo "  PYTEST_ARGS=       test, test-latest: hand these to pytest, for instance '-k reader -x'"
	@echo "  DIALS_LATEST_RUN=  test-latest: the program that runs a command under the latest DIALS"

install: ## get DIALS where it is missing and install the plugin
	@tools/install.sh

demo: ## install, then run the programs and say where the reports are
	@tools/install.sh
	@tools/demo.sh $(DATA)

test: ## install, then run every test
	@tools/install.sh --with-tests
	@tools/test.sh $(PYTEST_ARGS)

install-latest: ## make the environment of test-latest, as that does first
	@tools/test-latest.sh --install

test-latest: ## run every test under the latest DIALS, in an environment of its own
	@tools/test-latest.sh $(PYTEST_ARGS)

lint: ## check style and formatting
	@tools/lint.sh

.PHONY: docs
docs: ## make the pages of docs/ that follow from the programs
	@tools/install.sh
	@tools/docs.sh

clean: ## delete what the other targets made, .venv included
	rm -rf .venv .venv-latest .installed build demo *.egg-info .pytest_cache .ruff_cache .hypothesis
	find dials_jungfrau_qc tests tools benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
