# The commands a person types. `make demo` and `make test` work on a fresh clone: each builds what it needs.
.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin
# Tests at once: three times as many as there are cores, since most of them wait for something (decision 0148).
JOBS ?= $(shell expr 3 \* $$(nproc))
UNIT_JOBS ?= $(JOBS)
# Unit tests fill the pauses of tests that wait: they run beside them, a quarter as many at once each.
QUARTER = $(shell expr \( $(JOBS) + 3 \) / 4)
THIRD = $(shell expr \( $(JOBS) + 2 \) / 3)
FIVE_SIXTHS = $(shell expr $(JOBS) - $(JOBS) / 6)
TOGETHER = $(MAKE) --no-print-directory --jobs=3 --output-sync=target UNIT_JOBS=$(QUARTER) unit-rest coverage
LOCKS := $(patsubst %,requirements/%.txt,run acme all otel pdf postgres sso dev)
PYTEST := $(BIN)/pytest
# In memory, files of tests that passed would be kept of three runs.
UNIT := $(PYTEST) -q -o tmp_path_retention_policy=failed tests/unit
# What fills the pauses of tests that wait yields to them, and has longer for each test.
FILLING := nice -n 5
SYSTEM := $(PYTEST) -q -o timeout=120 tests/system
# Tests start thousands of commands: compiling every module each time is half of what a command costs.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help env demo demo-nodes test test-all ready check format lint types imports compiled unit unit-rest pythons system browser system-all system-postgresql coverage paces mutants fuzz-rest \
	next-hops faults kills masses outages powercuts soak fuzz chart chart-if-there deploy-proof peers lock docs catalogues figures bench tasks dist deb sbom release audit clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 19

env: .venv/.stamp ## the environment only: .venv/bin/gatepost exists after it

# Made anew when what it is made of has changed, not when a file of it was only written again: tests may be running in it.
.venv/.stamp: $(LOCKS) pyproject.toml scripts/find_python.sh
	@contents=$$(cat $^ | sha256sum); [ "$$(cat $@ 2>/dev/null)" != "$$contents" ] || exit 0; set -e; \
	python=$$(scripts/find_python.sh); echo "environment: $$python"; \
	rm -rf .venv; "$$python" -m venv .venv; export VIRTUAL_ENV=.venv; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/uv.txt; \
	$(BIN)/uv pip install --quiet --require-hashes --requirement requirements/dev.txt; \
	$(BIN)/uv pip install --quiet --require-hashes --requirement requirements/build.txt; \
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .; \
	echo "$$contents" >$@

demo: env ## a gateway and a partner on loopback, five messages, what happened to each and why (KEEP=1 stays up)
	@$(BIN)/gatepost demo $(if $(KEEP),--keep)

demo-nodes: env ## three nodes on one PostgreSQL (Debian: postgresql), one is killed, the others go on with its mail (KEEP=1)
	@$(BIN)/gatepost demo --nodes 3 $(if $(KEEP),--keep)

test: ready ## what must hold before a commit; after a change of pages make browser as well
	+@$(TOGETHER) seen-system

# The types alone keep one core busy for half a minute in a fresh clone.
ready: env
	+@$(MAKE) --no-print-directory --jobs=2 --output-sync=target check compiled

# From the start, of those over sockets a third of JOBS on PostgreSQL beside five sixths: what calculates yields to both.
test-all: ready ## the same with all that takes long: every other system test with real processes, other Pythons, PostgreSQL
	+@$(MAKE) --no-print-directory --jobs=3 --keep-going --output-sync=target UNIT_JOBS=$(QUARTER) ALL_JOBS=$(FIVE_SIXTHS) POSTGRESQL_JOBS=$(THIRD) \
		seen-system-all system-postgresql unit-rest coverage chart pythons

check: format lint types imports chart-if-there ## the checks that run no code of ours

format: env
	@$(BIN)/ruff format --check --quiet . || { echo "not formatted: run .venv/bin/ruff format"; exit 1; }

lint: env
	@$(BIN)/ruff check --quiet .

types: env
	@$(BIN)/mypy --no-error-summary

imports: env
	@PYTHONPATH=src $(BIN)/lint-imports --no-logo >.import.log 2>&1 || { cat .import.log; exit 1; }

chart: .chart/.stamp ## the Helm chart as Helm renders it and Kubernetes reads it (WRITE=1 renews deploy/helm/rendered.yaml)
	@.chart/bin/python scripts/chart.py $(if $(WRITE),--write)

.chart/.stamp: .venv/.stamp requirements/chart.txt
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .chart
	@VIRTUAL_ENV=.chart $(BIN)/uv pip install --quiet --require-hashes --requirement requirements/chart.txt
	@touch $@

# Helm's library is large: the check uses it where it is installed, and the unit tests see when rendered.yaml is not current.
chart-if-there: env
	@if [ -e .chart/.stamp ]; then $(MAKE) --no-print-directory chart; else echo "chart: not checked with Helm (make chart installs it)"; fi

deploy-proof: env ## (root) deploy/compose.yaml as it stands, in containers: three nodes, a stop, a promotion (podman, mmdebstrap)
	@scripts/compose_proof.sh

# Once, for all processes of a run: in a fresh clone each of them would compile every module and rewrite every test file.
compiled: env
	@$(BIN)/python -m compileall -q -j 0 src
	@$(BIN)/python scripts/rewrite_asserts.py

unit: compiled ## tests of single modules, in memory
	@$(UNIT) -n $(JOBS) --dist worksteal

# The tests that `coverage` does not run.
unit-rest: compiled
	@export UNIT_TESTS_LEFT_OUT="$$($(BIN)/python scripts/own_coverage.py --files)"; $(FILLING) scripts/shares.sh $(UNIT_JOBS) $(UNIT) -o timeout=180

coverage: compiled ## every module of the pure packages, store and queue is covered, branch by branch, by its own test file alone
	@JOBS=$(UNIT_JOBS) $(FILLING) $(BIN)/python scripts/own_coverage.py

pythons: env ## tests of single modules and the demonstration on the oldest and the newest Python that can be had
	@BIN=$(BIN) JOBS=$(UNIT_JOBS) $(FILLING) scripts/pythons.sh

system: compiled ## tests over real sockets with real peers (Postfix, swaks, openssl: skipped loudly where missing), the short ones
	@$(SYSTEM) -m "not long and not browser" -n $(JOBS) --dist loadfile --no-loadscope-reorder

# Beside others, whose lines are collected until they end, its own are seen as they come.
seen-%: compiled
	+@$(MAKE) --no-print-directory --output-sync=none --old-file=compiled $*

browser: compiled ## the pages of the admin centre in Chromium, the short tests
	@$(SYSTEM) -m "not long and browser" -n $(JOBS) --dist loadfile --no-loadscope-reorder

system-all: export GATEPOST_REAL := half
system-all: export GATEPOST_PORTS := even
system-all: compiled ## the same, the long ones too; in every other file each kind of command is a process of its own
	@$(SYSTEM) -m "not short" -n $(or $(ALL_JOBS),$(JOBS)) --dist loadfile --no-loadscope-reorder

ON_POSTGRESQL := admin_* rest* administration explain evidence inbound outbound outbound_dsn returned_mail mail_flow_rules \
	destination_memory session_counts sent_reports journaling quarantine sending_limits next_hops kill
system-postgresql: export GATEPOST_STORE := postgresql
system-postgresql: export GATEPOST_PORTS := odd
system-postgresql: compiled ## the admin centre, REST and the flow of mail with gateways on PostgreSQL (FILES="kill tenants" others)
	@$(PYTEST) -q -o timeout=120 -m "not long" -n $(or $(POSTGRESQL_JOBS),$(JOBS)) --dist loadfile --no-loadscope-reorder \
		$(patsubst %,tests/system/test_%.py,$(or $(FILES),$(ON_POSTGRESQL)))

paces: env ## system tests on a copy with other paces: what hangs on a time fails (PACE=late, quick or slow; FILES="tests/system/test_x.py")
	@$(BIN)/python scripts/paces.py $(or $(PACE),late) $(FILES)

mutants: env ## change modules in small ways: do their own tests notice? (MODULES="store/sqlite/writer mail/queue", SEED=1, EACH=15, SAMPLE=20)
	@$(BIN)/python scripts/mutants.py --seed $(or $(SEED),1) --each $(or $(EACH),15) --sample $(or $(SAMPLE),20) $(MODULES)

fuzz-rest: env ## REST against its OpenAPI document for long: N examples for each call (N=200)
	@GATEPOST_FUZZ=$(or $(N),200) $(PYTEST) -q -m long -n $(JOBS) tests/system/test_rest_document.py

next-hops: env ## 10,000 messages to 500 domains through relays that fail at random (MESSAGES=, DOMAINS=)
	@GATEPOST_MESSAGES=$(or $(MESSAGES),10000) GATEPOST_DOMAINS=$(or $(DOMAINS),500) $(PYTEST) -q -n 0 -s -o timeout=900 \
		tests/system/test_next_hops.py -k at_random

faults: env ## N random faults on three nodes, a primary and a standby under load (N=200, SEED=17)
	@GATEPOST_FAULTS=$(or $(N),200) GATEPOST_SEED=$(or $(SEED),17) $(PYTEST) -q -n 0 -s -m long -o timeout=14400 \
		tests/system/test_faults.py -k random

STATE_MACHINES := $(wildcard tests/unit/*/test_*_states.py tests/unit/*/*/test_*_states.py)
fuzz: .venv/.fuzz-stamp ## parsers of what strangers send, by coverage (SECONDS=60 for each, TARGETS="smtp-server header"), and models (STATES=500)
	@$(BIN)/python scripts/fuzz.py --seconds $(or $(SECONDS),60) $(TARGETS)
	@GATEPOST_STATES=$(or $(STATES),500) $(PYTEST) -q -n 0 -o timeout=86400 $(STATE_MACHINES)

# Its own fuzzer takes its place where there is no wheel of atheris.
.venv/.fuzz-stamp: .venv/.stamp requirements/fuzz.txt
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --only-binary :all: --require-hashes --requirement requirements/fuzz.txt || \
		echo "atheris cannot be installed here: mutations of seeds alone"
	@touch $@

masses: env ## 10,000 slow handshakes and 1,000,000 recipients over many transactions (HANDSHAKES=, RECIPIENTS=)
	@GATEPOST_HANDSHAKES=$(or $(HANDSHAKES),10000) GATEPOST_RECIPIENTS=$(or $(RECIPIENTS),1000000) $(PYTEST) -q -n 0 -s -m long \
		-o timeout=3600 tests/system/test_hostile_masses.py

kills: env ## N times SIGKILL to all processes under load, at random moments (N=1000)
	@GATEPOST_KILLS=$(or $(N),1000) $(PYTEST) -q -n 0 -s -m long tests/system/test_kill.py -k by_kills

outages: env ## (root) what a gateway leans on is away for MINUTES: resolver, authorities, lists, scanners, directory, database (MINUTES=60)
	@GATEPOST_OUTAGES=$(or $(MINUTES),60) $(PYTEST) -q -n 0 -s -m long -o timeout=86400 tests/system/test_outages.py

powercuts: env ## (root) N times the power of the disk is cut under load, and once of one that does not sync (N=100)
	@GATEPOST_POWERCUTS=$(or $(N),100) $(PYTEST) -q -n 0 -s -m long tests/system/test_power_cut.py

soak: env ## mixed traffic with faults for SECONDS: memory, descriptors, threads and files stay flat (SECONDS=3600)
	@GATEPOST_SOAK=$(or $(SECONDS),3600) $(PYTEST) -q -n 0 -s -m long tests/system/test_soak.py

bench: env ## what several nodes on PostgreSQL cost, as in docs/scaling.md (PART=cost, growth, backlog or capacity; ROUNDS=5)
	@$(BIN)/python bench/nodes.py $(or $(PART),cost) --rounds $(or $(ROUNDS),5)

tasks: env ## (root) time ten tasks of an administrator in a browser: mouse, keyboard alone, no scripts; docs/tasks.md
	@$(BIN)/python bench/ten_tasks.py $(if $(PICTURES),--pictures $(PICTURES))

peers: ## (root, Debian 13) install what the system tests run against
	@scripts/install_peers.sh

lock: env ## renew the hash-pinned locks from pyproject.toml
	@$(BIN)/python scripts/lock.py

catalogues: env ## renew the texts of pages in every language (docs/translating.md)
	@$(BIN)/python scripts/catalogues.py

figures: env ## count the source into docs/figures.md
	@$(BIN)/python scripts/figures.py

docs: env ## renew the generated pages under docs/
	@$(BIN)/python scripts/docs.py
	@$(BIN)/python scripts/rfc_page.py

# Of the last commit: who builds the same commit gets the same files.
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 1577836800)
dist: env ## wheel and source distribution in dist/, the same bytes for the same commit
	@$(BIN)/hatchling build --target sdist --target wheel --directory dist

deb: env ## the Debian package in dist/, for Debian 13 (needs python3.13 and dpkg-deb)
	@$(BIN)/python scripts/debian_package.py

sbom: env ## what is delivered, as a bill of materials in dist/ (CycloneDX), from the locks
	@$(BIN)/python scripts/licences.py --sbom dist/gatepost.cdx.json

release: env ## VERSION=0.2.0 KEY=FILE: commit, changelog, artifacts, signed checksums and tag of a release; publishes nothing
	@$(BIN)/python scripts/release.py $(VERSION) --key $(KEY)

audit: env ## known vulnerabilities of what is delivered (pip-audit); fails where its data cannot be had
	@$(BIN)/python scripts/audit.py

clean:
	rm -rf .venv .fuzz .chart .pythons .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .import.log build dist
