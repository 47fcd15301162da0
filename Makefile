# "make help" lists what there is. Everything longer than a line or two is in tools/.

.DEFAULT_GOAL := help
.PHONY: help install demo test lint clean

help: ## show this list
	@echo "usage: make TARGET [VARIABLE=value]"
	@echo
	@awk -F': ## ' '/^[a-z]+: ## / { printf "  %-9s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  PYTHON=       use this Python, which must have DIALS"
	@echo "  DATA=         demo: use these files (reflections, experiments)"
	@echo "  PYTEST_ARGS=  test: hand these to pytest, for instance '-k reader -x'"

install: ## get DIALS where it is missing and install the plugin
	@tools/install.sh

demo: ## install, then run the programs and say where the reports are
	@tools/install.sh
	@tools/demo.sh $(DATA)

test: ## install, then run every test
	@tools/install.sh --with-tests
	@tools/test.sh $(PYTEST_ARGS)

lint: ## check style and formatting
	@tools/lint.sh

clean: ## delete what the other targets made, .venv included
	rm -rf .venv .installed build demo *.egg-info .pytest_cache .ruff_cache .hypothesis
	find dials_jungfrau_qc tests tools benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
