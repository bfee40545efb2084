# Everything a person or CI does here; `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
RUN := $(VENV)/bin
CLUSTERS ?= 3
# many tests wait for processes, so two workers a core
WORKERS ?= $(shell echo $$((2 * $$(nproc))))
EXAMPLES ?= 2000
COMPILED_TESTS ?= $(addprefix tests/lane_relay/,test_compiled.py smtp account deliver mail/test_headers.py mail/test_dkim.py \
  accept/test_message.py accept/test_session.py accept/test_open_relay.py \
  whole/test_end_to_end.py whole/test_intake.py whole/test_feedback.py)
PYTHON ?= $(firstword $(shell command -v /usr/bin/python3 python3.13 python3.12 python3.11 python3))

.PHONY: compiled chaos-relay gitops replies help setup peers lint unit test e2e demo cluster cluster-down images crds bench fuzz interop lock http-contract admin-contract

help: ## lists the targets
	@grep -hE '^[a-z0-9-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## makes the development environment from the lock file
$(VENV)/.ready: tests/requirements.lock pyproject.toml
	@.ci/setup $(VENV) $(PYTHON)
	@touch $@

peers: setup ## installs what tests need (bind9, unbound, Postfix, Prometheus, strace, an S3 server, GitOps tools), none as a service
	@$(RUN)/python -m e2e.internet.packages
	@$(RUN)/python -m tests.lane_relay.audit.s3_server
	@$(RUN)/python -m tests.gitops.judge

lint: setup ## ruff, mypy --strict, import contracts
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/lint-imports

crds: setup ## generates crds/*.yaml from the models
	$(RUN)/python crds/generate.py
	@cp crds/*.yaml charts/lanewright/files/crds/

unit: peers ## tests that need no cluster
	$(RUN)/pytest tests -n $(WORKERS) --dist loadfile --no-loadscope-reorder

compiled: peers ## tests of the relay as its image has it: hot modules compiled to C
	PYTHONPATH=$$($(RUN)/python -m e2e.compiled) LANE_RELAY_FORM=compiled $(RUN)/pytest $(COMPILED_TESTS) -n $(WORKERS) --dist loadfile

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

e2e: peers ## the promises, one file each: side by side on several clusters, then by themselves those that judge times
	$(RUN)/python -m e2e.figures clear e2e
	$(RUN)/pytest -v e2e -m "not quiet" -n $(CLUSTERS) --dist loadgroup
	$(RUN)/pytest -v e2e -m quiet

demo: peers ## two lanes, a flood, and what the OTPs felt of it: cluster, table and chart
	$(RUN)/python -m e2e.demo

bench: peers ## the relay beside tuned Postfix, in one run; the operator's idle minutes on a cluster
	$(RUN)/python -m bench

replies: setup ## how the reply rules agree with the labelled corpus; prints each disagreement
	$(RUN)/python -m tests.lane_relay.replies.agreement

gitops: setup ## what kstatus, Argo CD and Flux make of every status; prints each that is misread
	$(RUN)/python -m tests.gitops.agreement

interop: peers ## both ways with Postfix, Exim, OpenSMTPD, Haraka and clients; signatures and reports by others' programs
	$(RUN)/python -m tests.interop

fuzz: setup ## ten million inputs into every door of the relay, coverage-guided; FUZZ_INPUTS=N for fewer
	$(RUN)/python -m tests.fuzz --inputs $(or $(FUZZ_INPUTS),10000000)

chaos-relay: setup ## kills compiled relays a thousand times (KILLS=N for fewer), breaks disk, clock, names, peers; needs root and gcc
	CHAOS_COMPILED=$$($(RUN)/python -m e2e.compiled) $(RUN)/python -m tests.chaos --kills $(or $(KILLS),1000)

test: lint unit compiled e2e ## everything, from the gates to the cluster

lock: setup ## renews the lock files from pyproject.toml
	$(RUN)/uv pip compile -q pyproject.toml --extra dev --generate-hashes --no-emit-index-url --no-header --no-annotate -o tests/requirements.lock
	$(RUN)/uv pip compile -q pyproject.toml --extra relay --generate-hashes --no-emit-index-url --no-header --no-annotate -o lanes/requirements.lock
	$(RUN)/uv pip compile -q pyproject.toml --extra compile --extra relay -c lanes/requirements.lock --generate-hashes --no-emit-index-url --no-header --no-annotate -o lanes/compile.lock
	$(RUN)/uv pip compile -q pyproject.toml --extra operator --generate-hashes --no-emit-index-url --no-header --no-annotate -o operator/requirements.lock
