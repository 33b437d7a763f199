# What people type. Each target needs only Python 3.11+ with venv; the first use makes .venv from the lock file.
PYTHON ?= python3
BIN := .venv/bin

SEEDS ?= 1000
SEED0 ?= 0
DAYS ?= 30
DAMAGES ?= 1000
N ?= 20000
EVENTS ?= 170000
SEED ?= 0
PROFILE ?= evs-flash-300
STATIONS ?= 1000
JOURNALS ?= 80
PYTHONS ?= $(PYTHON)

.PHONY: help demo test check octt mutants simulate soak growth offline powercut damage bench fleet questions spark-tools goldens format clean

help:
	@echo "make demo    one whole charging session on emulated hardware"
	@echo "make test    the tests"
	@echo "make check   ruff format, ruff check, mypy --strict, pytest"
	@echo "make octt PROFILE=evs-flash-300    the test cases of OCPP 2.0.1 Part 6, with a report"
	@echo "make mutants                       stations with one fault each, which those cases must notice"
	@echo "make simulate SEEDS=1000 SEED0=0   worlds with faults, from seeds"
	@echo "make powercut N=20000 SEED=0       boot from that many disk images that power cuts leave"
	@echo 'make goldens PYTHONS="python3.11 python3.12"   the same follows from journals of the past, on each of them'
	@echo "make damage DAMAGES=1000 SEED=0          damage a journal so often, and live on it"
	@echo "make soak DAYS=30                  a station that works for a month, in two minutes"
	@echo "make growth                        what it writes to the disk, and how long flash lasts"
	@echo "make offline EVENTS=170000         a month without a CSMS, and all of it told afterwards"
	@echo "make bench                         speed and size, beside the machine's limits and other software"
	@echo "make fleet STATIONS=1000           a month of each, exported, asked of DuckDB and Spark"
	@echo "make questions JOURNALS=80 SEED=0        journals of which the world knows the truth, and what is answered from them"
	@echo "make spark-tools                   Apache Spark for that and for its sample in the tests: 430 MB, needs Java 17"

.venv/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

demo: .venv/.installed
	$(BIN)/station demo

test: .venv/.installed
	$(BIN)/python -m pytest

check: .venv/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

octt: .venv/.installed
	$(BIN)/python -m tests.conformance.octt --profile $(PROFILE) --report octt-report.json

mutants: .venv/.installed
	$(BIN)/python -m tests.conformance.octt.mutants

simulate: .venv/.installed
	$(BIN)/python -m station.simulation --seeds $(SEEDS) --seed0 $(SEED0)

powercut: .venv/.installed
	$(BIN)/python -m tests.durability.powercut --images $(N) --seed $(SEED)

growth: .venv/.installed
	$(BIN)/python -m station.simulation.experiments.growth

damage: .venv/.installed
	$(BIN)/python -m tests.durability.damage --damages $(DAMAGES) --seed $(SEED)

soak: .venv/.installed
	$(BIN)/python -m station.simulation.experiments.soak --days $(DAYS)

offline: .venv/.installed
	$(BIN)/python -m station.simulation.experiments.offline --events $(EVENTS)

.bench/.installed: .bench.lock
	$(PYTHON) -m venv .bench
	.bench/bin/pip install --quiet --disable-pip-version-check --require-hashes -r .bench.lock
	touch $@

bench: .venv/.installed .bench/.installed
	$(BIN)/python -m tests.bench

fleet: .venv/.installed
	$(BIN)/python -m tests.data_lake --stations $(STATIONS) --days $(DAYS)

questions: .venv/.installed
	$(BIN)/python -m tests.ground_truth --journals $(JOURNALS) --seed $(SEED)

spark-tools: .venv/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r .spark.lock

goldens:
	set -e; for python in $(PYTHONS); do \
		venv=.goldens/$$($$python -c 'import platform; print(platform.python_version())'); \
		test -x $$venv/bin/pytest || { $$python -m venv $$venv; \
			$$venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock; }; \
		$$venv/bin/python -m tests.durability.golden.journals check; \
		$$venv/bin/python -m pytest -q -p no:cacheprovider tests/golden tests/journal/test_golden.py; \
	done

format: .venv/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .goldens
