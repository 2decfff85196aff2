# Every target but `help`, `lock` and `clean` makes its environment first. They work on a machine
# that has nothing but Python 3.11 or newer, and with an empty process environment.

VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?= -n auto --maxprocesses 4 --cov=gateway
LOCK_ARGS ?=

# Recipes see PYTHON and VENV when the caller gave them; what would lead Python astray they do not.
export VENV
ifdef PYTHON
export PYTHON
endif
unexport PYTHONPATH PYTHONHOME
# make runs a plain command without a shell, so an empty PATH would find nothing.
export PATH := $(or $(PATH),/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
BOOTSTRAP := $(or $(PYTHON),python3) .ci/bootstrap.py

.DEFAULT_GOAL := help
.PHONY: help install run dev test check format reflect smoke bench bench-ws lock clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##\(.*\)/  make \1\t\2/p' Makefile | expand -t 18

install:  ## make .venv with everything pinned, and the gateway in it; quick when done already
	@$(BOOTSTRAP) test

run: install  ## the demo on 127.0.0.1:8000
	@exec $(BIN)/gateway demo

dev: install  ## the demo, started anew whenever a file of gateway/ changes
	@exec $(BIN)/watchfiles --sigint-timeout 10 '$(BIN)/gateway demo' gateway

test: install  ## the whole suite (or TESTS=…), on private PostgreSQL, Redis and NATS servers
	@$(BIN)/python -m pytest $(PYTEST_ARGS) $(TESTS)

check: install  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install  ## put the code into the form that `check` wants
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The example's tables are made in a file of their own, as their owner would make them.
EXAMPLE := deploy/examples/pages
reflect: install  ## write the models of the example's tables anew (REFLECT_ARGS=--check: are they?)
	@$(BIN)/python $(EXAMPLE)_migrate.py build/pages.db
	@PAGES_DB=build/pages.db $(BIN)/gateway reflect --config $(EXAMPLE).yaml \
		--output $(EXAMPLE)_models.py $(REFLECT_ARGS)

smoke: install  ## import every module, start the gateway, ask /health, stop it
	@$(BIN)/python .ci/smoke.py

bench: install  ## the gateway and its peers side by side (as root, Debian's nginx, haproxy and wrk too)
	@$(BOOTSTRAP) bench
	@if [ "$$(id -u)" = 0 ] && ! (command -v nginx && command -v haproxy && command -v wrk) >/dev/null; then \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light haproxy wrk; fi
	@$(BIN)/python -m bench $(BENCH_ARGS)

bench-ws: install  ## live updates to 10,000 WebSockets, beside other servers and bare send calls
	@$(BOOTSTRAP) bench
	@$(BIN)/python -m bench.ws $(BENCH_ARGS)

# Each file is compiled against the one before, so that all agree on every version. The addresses
# of package indexes stay out. LOCK_ARGS=--upgrade takes the newest.
COMPILE = $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	--system-certs --custom-compile-command "make lock" $(LOCK_ARGS)
lock:  ## write requirements/ anew from pyproject.toml
	@$(BOOTSTRAP) lock
	$(COMPILE) --group build -o requirements/build.txt
	$(COMPILE) --group lock -o requirements/lock.txt
	$(COMPILE) pyproject.toml -o requirements/runtime.txt
	$(COMPILE) pyproject.toml --extra test -c requirements/runtime.txt -o requirements/test.txt
	$(COMPILE) pyproject.toml --extra test --extra bench -c requirements/test.txt \
		-o requirements/bench.txt

clean:  ## remove .venv and everything that was built or cached
	rm -rf $(VENV) $(VENV).lock build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache \
		.hypothesis .coverage .coverage.* htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
