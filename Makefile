# Every command that a developer types, each a target that sets up what it needs first.
# PYTHON=python3.12 chooses another interpreter for the virtual environment (3.8 or newer).

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.set-up

KAFKA_PORT ?= 9092
COMPAT_PYTHONS ?= 3.8 3.13 3.14
COMPAT_BROKERS ?= 2.8.2 3.9.1 4.4.0
UNIT := not broker and not registry and not chaos and not clock

.DEFAULT_GOAL := help
.PHONY: help setup kafka production demo demo-postgres test unit lint types audit lock bench chaos fuzz readme check-schema compat clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## The virtual environment and the local Kafka, so that all else works offline
	@$(PY) tools/local_kafka.py fetch || echo "unit tests work without it"
	@$(PY) tools/local_registry.py --fetch || echo "everything but the registry's tests works without it"
	@$(PY) tools/prometheus.py > /dev/null || echo "everything but the tests of deploy/prometheus works without it"

$(STAMP): requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 8))' \
		|| { echo "$(PYTHON) is missing or older than 3.8; next: make setup PYTHON=<a newer one>" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
		|| { echo "$(PYTHON) cannot make virtual environments: it has no ensurepip" >&2; \
		     echo "next: install it (Debian and Ubuntu: apt install python3-venv), or make setup PYTHON=<another>" >&2; \
		     exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

kafka: $(STAMP) ## A real Kafka on localhost:9092 until Ctrl-C, without Docker
	$(PY) tools/local_kafka.py run --port $(KAFKA_PORT)

production: ## Only what the scripts need, each file by its hash; VENV=/opt/orderflow chooses the place
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock

demo: $(STAMP) ## Real orders through a real Kafka, with failures, explained and accounted for
	$(PY) tools/demo.py

demo-postgres: $(STAMP) ## The same orders charged in a real PostgreSQL, with kill -9 and a replay in the middle
	$(PY) tools/demo_postgres.py

test: $(STAMP) ## All tests but the long ones; starts its own Kafka
	$(PY) tools/run_tests.py

unit: $(STAMP) ## Only the tests that need no broker
	$(PY) -m pytest -m "$(UNIT)"

lint: $(STAMP) ## Style
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(STAMP) ## Static types
	$(PY) -m mypy

audit: $(STAMP) ## Known faults of style, the hashes of what production installs, and the security tests
	$(PY) -m bandit --quiet -ll -r orderflow config.py producer.py consumer.py dlq_handler.py
	$(PY) -m pip install --quiet --disable-pip-version-check --dry-run --ignore-installed --require-hashes -r requirements.lock
	$(PY) -m pytest tests/tools/test_supply.py tests/broker/test_security.py

lock: $(STAMP) ## requirements.lock: what requirements.txt means, each file with its hash
	$(PY) -m uv pip compile --quiet --universal --python-version 3.8 --generate-hashes --no-header \
		requirements.txt -o requirements.lock

bench: $(STAMP) ## Speed, latency and memory, measured on the local Kafka
	$(PY) -m benchmarks

chaos: $(STAMP) ## The tests that kill, pause and overload things, for minutes
	$(PY) -m pytest -m chaos --timeout 1800

fuzz: $(STAMP) ## Hostile bytes against the codec, for minutes
	$(PY) tools/fuzz_codec.py

readme: $(STAMP) ## Rewrite the generated parts of README.md, docs/ and .env.example
	$(PY) tools/readme.py
	$(PY) tools/env_example.py > .env.example

check-schema: $(STAMP) ## Can order_schema.avsc still read everything that was written?
	$(PY) tools/check_schema.py

# Written as patterns, so that `make compat-python-3.8` runs one of them.
compat: $(COMPAT_PYTHONS:%=compat-python-%) $(COMPAT_BROKERS:%=compat-kafka-%) ## Oldest and newest Pythons and brokers

compat-python-%:
	@for python in python$* "$$HOME"/.pyenv/versions/$*.*/bin/python none; do \
		"$$python" -c "" 2>/dev/null && break; \
	done; \
	if [ "$$python" = none ]; then echo "Python $* is not on this machine: not tested"; exit 0; fi; \
	"$$python" -m venv .venv-$* \
	&& .venv-$*/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt \
	&& .venv-$*/bin/python -m pytest -q -m "$(UNIT)"

compat-kafka-%: $(STAMP)
	ORDERFLOW_TEST_KAFKA_VERSION=$* $(PY) -m pytest -q -m "broker and not registry and not chaos"

clean: ## Remove everything that was generated here, except .env
	rm -rf $(VENV) .venv-* build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
