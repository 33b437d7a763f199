# What people type. Each target needs only Python 3.11+ with venv; the first use makes .venv from the lock file.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 4
PYTEST := $(BIN)/python -m pytest -n $(WORKERS)

# All tests; those that measure times run after the others, one at a time.
RUN_TESTS := $(PYTEST) -m "not alone"; failed=$$?; $(BIN)/python -m pytest -m alone && exit $$failed

KILLS ?= 50
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

.PHONY: help deb installed dist sbom demo test quick check octt mutants kills simulate soak growth offline powercut damage bench fleet questions spark-tools goldens format clean

help:
	@echo 'make demo                                one whole charging session on emulated hardware'
	@echo 'make test                                all tests, WORKERS=4 at a time'
	@echo 'make quick                               the tests that take less than a second each: a first answer'
	@echo 'make check                               ruff format, ruff check, mypy --strict, all tests'
	@echo 'make octt PROFILE=evs-flash-300          the test cases of OCPP 2.0.1 Part 6, with a report'
	@echo 'make mutants                             the same cases against stations with one fault each; each must fail'
	@echo 'make kills KILLS=50                      kill -9 at random moments of one transaction'
	@echo 'make simulate SEEDS=1000 SEED0=0         randomized simulations with faults, one for each seed'
	@echo 'make powercut N=20000 SEED=0             start the station from N disk images that power cuts leave'
	@echo 'make damage DAMAGES=1000 SEED=0          damage a journal DAMAGES times and go on with each'
	@echo 'make goldens PYTHONS="python3.11 python3.12"   replay the golden journals with each of these Pythons'
	@echo 'make soak DAYS=30                        simulate DAYS days of operation; memory and disk must not grow'
	@echo 'make growth                              bytes written to the disk, and the life of the flash'
	@echo 'make offline EVENTS=170000               a month without a CSMS, then delivery of every message'
	@echo 'make bench                               speed and size, with limits of the machine and other software'
	@echo 'make fleet STATIONS=1000 DAYS=30         simulated stations, exported, then queried with DuckDB and Spark'
	@echo 'make questions JOURNALS=80 SEED=0        simulated journals: why, report and export against the known truth'
	@echo 'make spark-tools                         install Apache Spark for make fleet: 430 MB, needs Java 17'
	@echo 'make deb                                 a Debian package in dist/, for this system and architecture'
	@echo 'make installed                           the package on a Debian with systemd; needs root, nspawn and a mirror'
	@echo 'make dist                                wheel and source archive in dist/'
	@echo 'make sbom                                CycloneDX bill of materials of what a running station needs'
	@echo 'make format                              ruff format, ruff check --fix'
	@echo 'make clean                               delete .venv and .goldens'

# A Python that is too old ends make with one line, before anything is installed.
require_python = $(1) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(\
	"%s is Python %d.%d, the station needs 3.11 or newer. Install it, then: make PYTHON=python3.11 $(MAKECMDGOALS)" \
	% ((sys.executable,) + tuple(sys.version_info[:2])))'

PIP_INSTALL := install --quiet --disable-pip-version-check

# What running needs comes first: `make demo` is quick on a new machine. `make test` adds the rest.
# A .venv that is not complete is removed, so that the next make begins again.
.venv/.run-installed: requirements-run.lock pyproject.toml
	@$(call require_python,$(PYTHON))
	@test -e $@ || rm -rf .venv
	$(PYTHON) -m station.packaging.environment .venv || { test -e $@ || rm -rf .venv; exit 1; }
	touch $@

.venv/.installed: requirements.lock .venv/.run-installed
	$(BIN)/pip $(PIP_INSTALL) --require-hashes -r requirements.lock
	touch $@

demo: .venv/.run-installed
	$(BIN)/station demo

test: .venv/.installed
	$(RUN_TESTS)

quick: .venv/.installed
	$(PYTEST) -m "not slow"

check: .venv/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(RUN_TESTS)

octt: .venv/.installed
	$(BIN)/python -m tests.conformance.octt --profile $(PROFILE) --report octt-report.json

mutants: .venv/.installed
	$(BIN)/python -m tests.conformance.octt.mutants

kills: .venv/.installed
	KILLS=$(KILLS) $(BIN)/python -m pytest -q -s tests/e2e/test_kill9.py

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
	@$(call require_python,$(PYTHON))
	@rm -rf .bench
	{ $(PYTHON) -m venv .bench \
		&& .bench/bin/pip $(PIP_INSTALL) --require-hashes -r .bench.lock; } || { rm -rf .bench; exit 1; }
	touch $@

bench: .venv/.installed .bench/.installed
	$(BIN)/python -m tests.bench

fleet: .venv/.installed
	$(BIN)/python -m tests.data_lake --stations $(STATIONS) --days $(DAYS)

questions: .venv/.installed
	$(BIN)/python -m tests.ground_truth --journals $(JOURNALS) --seed $(SEED)

spark-tools: .venv/.installed
	$(BIN)/pip $(PIP_INSTALL) --require-hashes -r .spark.lock

goldens:
	set -e; for python in $(PYTHONS); do \
		$(call require_python,$$python); \
		venv=.goldens/$$($$python -c 'import platform; print(platform.python_version())'); \
		test -x $$venv/bin/pytest || { $$python -m venv $$venv; \
			$$venv/bin/pip $(PIP_INSTALL) --require-hashes -r requirements.lock; } || { rm -rf $$venv; exit 1; }; \
		$$venv/bin/python -m tests.durability.golden.journals check; \
		$$venv/bin/python -m pytest -q -p no:cacheprovider tests/durability/golden tests/journal/test_golden.py; \
	done

format: .venv/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .goldens

# Tools that build packages, in an environment of their own.
TOOLS := .venv-tools/bin
.venv-tools/.installed: Makefile
	rm -rf .venv-tools
	$(PYTHON) -m venv .venv-tools
	$(TOOLS)/pip $(PIP_INSTALL) build==1.3.0 cyclonedx-bom==7.2.1
	touch $@

deb:
	$(PYTHON) -m station.packaging.build_deb dist

installed: .venv/.installed deb
	$(BIN)/python -m tests.installed dist/*.deb

dist: .venv-tools/.installed
	$(TOOLS)/python -m build --outdir dist .

sbom: .venv-tools/.installed
	mkdir -p dist
	$(TOOLS)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
		--output-file dist/sbom.cdx.json requirements-run.lock
