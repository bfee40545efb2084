# Everything a person or CI does here; `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
RUN := $(VENV)/bin
# where nothing else is said Python keeps what it has compiled; containers often say otherwise, and then each of the
# thousand processes of a test run compiles all that it imports: ten seconds of CPU for each that collects the tests
export PYTHONDONTWRITEBYTECODE :=
CLUSTERS ?= 3
# which of the promises on a cluster: all, or the gate's `short` ones, or the `long` ones alone
FORM ?= all
OF_FORM := $(if $(filter short,$(FORM)), and not long,$(if $(filter long,$(FORM)), and long))
# many tests wait for processes, so three workers a core
WORKERS ?= $(shell echo $$((3 * $$(nproc))))
COMPILED_WORKERS ?= $(shell nproc)
EXAMPLES ?= 2000
COMPILED_TESTS ?= $(addprefix tests/lane_relay/,test_compiled.py smtp account deliver mail/test_headers.py mail/test_dkim.py \
  accept/test_message.py accept/test_session.py accept/test_open_relay.py \
  whole/test_end_to_end.py whole/test_intake.py whole/test_feedback.py)
PYTHON ?= $(firstword $(shell command -v /usr/bin/python3 python3.13 python3.12 python3.11 python3))

.PHONY: bytecode chaos-operator in-force upgrade model compiled manifests engines extensions chaos-relay gitops replies help setup peers lint unit test e2e demo cluster cluster-down images crds bench fuzz interop lock http-contract admin-contract bench-operator

help: ## lists the targets
	@grep -hE '^[a-z0-9-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## makes the development environment from the lock file
$(VENV)/.ready: tests/requirements.lock pyproject.toml
	@.ci/setup $(VENV) $(PYTHON)
	@touch $@

peers: setup ## installs what tests need (bind9, unbound, Postfix, Prometheus, strace, an S3 server, GitOps and manifest tools), none as a service
	@$(RUN)/python -m e2e.internet.packages
	@$(RUN)/python -m tests.lane_relay.audit.s3_server
	@$(RUN)/python -m tests.gitops.judge
	@$(RUN)/python -m tests.manifests.checkers

lint: setup ## ruff, mypy --strict, import contracts
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/lint-imports

crds: setup ## generates crds/*.yaml from the models
	$(RUN)/python crds/generate.py
	@cp crds/*.yaml charts/lanewright/files/crds/

bytecode: peers ## Python's bytecode of all tests, once, for the many processes that will collect them
	@$(RUN)/pytest --collect-only -qq tests e2e >/dev/null || true  # the tests themselves say what is wrong

unit: peers ## tests that need no cluster
	$(RUN)/pytest tests -n $(WORKERS) --dist loadfile --no-loadscope-reorder

extensions: peers ## compiles the relay's hot modules, into this machine's cache
	@$(RUN)/python -m e2e.compiled

compiled: peers ## tests of the relay as its image has it: hot modules compiled to C
	PYTHONPATH=$$($(RUN)/python -m e2e.compiled) LANE_RELAY_FORM=compiled $(RUN)/pytest $(COMPILED_TESTS) -n $(COMPILED_WORKERS) --dist loadfile

http-contract: peers ## schemathesis against a running relay, for long (EXAMPLES=2000 requests a phase)
	EXAMPLES=$(EXAMPLES) $(RUN)/pytest tests/lane_relay/whole/test_http_contract.py -n 0

admin-contract: peers ## the same for the admin API
	EXAMPLES=$(EXAMPLES) $(RUN)/pytest tests/lane_relay/whole/test_admin_contract.py -n 0

cluster: setup ## brings up a two-node Kubernetes (CLUSTER=kind|local decides which; default: kind where Docker answers)
	$(RUN)/python -m e2e.cluster up

cluster-down: setup ## removes every trace of it
	$(RUN)/python -m e2e.cluster down

images: setup ## builds the images and rolls the running cluster's release to them
	$(RUN)/python -m e2e.release

e2e: peers ## the promises, one file each, side by side on several clusters, then by themselves those that judge times; FORM=short: as in the gate, FORM=long: the rest
	$(if $(filter long,$(FORM)),,$(RUN)/python -m e2e.figures clear e2e)
	@failed=0; set -x; \
	$(RUN)/pytest -v e2e -m "not quiet$(OF_FORM)" -n $(CLUSTERS) --dist loadgroup --leave-cluster || failed=1; \
	$(RUN)/pytest -v e2e -m "quiet$(OF_FORM)" || failed=1; exit $$failed

demo: peers ## two lanes, a flood, and what the OTPs felt of it: cluster, table and chart
	$(RUN)/python -m e2e.demo

model: setup ## random sequences of applies, deletes and failures against a real API server (EXAMPLES=N; 60 are ~6 min), and with faults made on purpose
	MODEL_EXAMPLES=$(if $(filter file,$(origin EXAMPLES)),60,$(EXAMPLES)) $(RUN)/pytest -v e2e/test_any_sequence_keeps_addresses_and_mail.py -n 0

engines: peers ## each egress engine on a cluster: mail by its own address, nothing before the proof (build/figures/engines.json)
	$(RUN)/python -m e2e.figures clear engines
	$(RUN)/pytest -v e2e/test_each_engine_sends_from_its_own_address.py -n 0

upgrade: peers ## one-time codes while their lane gets new images, loses a node and shrinks: their p99, and how many are late
	$(RUN)/pytest -v e2e/upgrade.py

in-force: peers ## how soon suspends, limits and quarantines are in force in every slot, and what busy lanes' status costs
	@$(RUN)/python -m e2e.figures clear in_force
	$(RUN)/pytest -v e2e/in_force.py e2e/busy_status.py

bench: peers ## the relay beside tuned Postfix, in one run; the operator's idle minutes on a cluster
	$(RUN)/python -m bench

bench-operator: peers ## 1,000 lanes beside 1,000 Prometheus objects in one cluster: time, memory, idle writes, repairs, failover (half an hour)
	$(RUN)/python -m bench.operator_scale

replies: setup ## how the reply rules agree with the labelled corpus; prints each disagreement
	$(RUN)/python -m tests.lane_relay.replies.agreement

gitops: setup ## what kstatus, Argo CD and Flux make of every status; prints each that is misread
	$(RUN)/python -m tests.gitops.agreement

manifests: peers ## children, chart and examples by kubeconform and kube-score; tests/manifests/exceptions.yaml argues what is left
	$(RUN)/pytest -q tests/manifests -n 0

interop: peers ## both ways with Postfix, Exim, OpenSMTPD, Haraka and clients; signatures and reports by others' programs
	$(RUN)/python -m tests.interop

fuzz: setup ## ten million inputs into every door of the relay, coverage-guided; FUZZ_INPUTS=N for fewer
	$(RUN)/python -m tests.fuzz --inputs $(or $(FUZZ_INPUTS),10000000)

chaos-relay: setup ## kills compiled relays a thousand times (KILLS=N for fewer), breaks disk, clock, names, peers; needs root and gcc
	CHAOS_COMPILED=$$($(RUN)/python -m e2e.compiled) $(RUN)/python -m tests.chaos --kills $(or $(KILLS),1000)

chaos-operator: peers ## kills, hangs and misleads the operator on a two-node cluster under mail; SHORT=1: ten acts with 12 kills, ~15 min; all of it takes two hours
	$(RUN)/python -m e2e.chaos $(if $(SHORT),--short)

# side by side what leaves time to the other: many unit tests wait; theirs is told last, and is over long before the
# promises that judge times begin
test: peers ## the gate: lint, all unit tests, the promises on a cluster, the long ones in their short form
	@$(MAKE) --no-print-directory -j2 --output-sync=target lint bytecode
	@mkdir -p build; failed=0; \
	$(MAKE) --no-print-directory unit >build/unit.log 2>&1 & unit=$$!; \
	$(MAKE) --no-print-directory compiled || failed=1; \
	$(MAKE) --no-print-directory e2e FORM=short || failed=1; \
	wait $$unit || failed=1; cat build/unit.log; exit $$failed

lock: setup ## renews the lock files from pyproject.toml
	$(RUN)/uv pip compile -q pyproject.toml --extra dev --generate-hashes --no-emit-index-url --no-header --no-annotate -o tests/requirements.lock
	$(RUN)/uv pip compile -q pyproject.toml --extra relay --generate-hashes --no-emit-index-url --no-header --no-annotate -o lanes/requirements.lock
	$(RUN)/uv pip compile -q pyproject.toml --extra compile --extra relay -c lanes/requirements.lock --generate-hashes --no-emit-index-url --no-header --no-annotate -o lanes/compile.lock
	$(RUN)/uv pip compile -q pyproject.toml --extra operator --generate-hashes --no-emit-index-url --no-header --no-annotate -o operator/requirements.lock
