# Slipway. `make` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
export PATH := $(BIN):$(PATH)
export MOLECULE_GLOB := molecule/*/molecule.yml
RUN := $(BIN)/python tests/run.py
TOOLS := $(BIN)/python tools

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# --- Set-up -----------------------------------------------------------------------------------
.PHONY: setup
setup: $(VENV)/.done ## Install the controller's tools into .venv (the other targets call it)

$(VENV)/.done: requirements.txt .ci/setup
	.ci/setup $(VENV)
	touch $@

.PHONY: lock
lock: setup ## Fix the versions and hashes of requirements.in anew
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate requirements.in -o requirements.txt

.PHONY: requirements
requirements: setup ## Fill docs/requirements.md in: which tests carry which requirement
	$(TOOLS)/requirements.py

# --- Your own app -----------------------------------------------------------------------------
.PHONY: init
init: setup ## Look at an app and write its inventory: make init APP=../blog [NAME=blog]
	@ansible-playbook playbooks/init.yml -e '{"app": "$(APP)"}' $(if $(NAME),-e app_name=$(NAME))

# --- Demo -------------------------------------------------------------------------------------
.PHONY: demo
demo: setup ## A bare Debian 13 here, site.yml over SSH, a report of it, and the curl line that fetches the app
	$(TOOLS)/demo.py up
	ansible-playbook -i inventories/demo site.yml -e report=.cache/demo/report.html
	@$(TOOLS)/demo.py curl

.PHONY: demo-down
demo-down: setup ## Remove the demo
	$(TOOLS)/demo.py down

# --- Tests ------------------------------------------------------------------------------------
.PHONY: test
test: setup ## Everything: lint, unit and render tests on a fresh machine, then molecule on Debian 12 and 13 (about an hour on 2 cores)
	$(RUN)

.PHONY: check
check: setup ## The quick part of test: lint and unit (4 to 9 minutes on 2 cores)
	$(RUN) check

.PHONY: fresh
fresh: setup ## The same of a clone, in a bare container with Debian 12, Python, git and make
	$(RUN) fresh

.PHONY: lint
lint: setup ## ansible-lint, yamllint, ruff, mypy, and the documentation of modules and roles
	$(RUN) lint

.PHONY: unit
unit: setup ## Unit and render tests, and the example app's own
	$(RUN) unit

.PHONY: images
images: setup ## Build the images of the test hosts
	$(TOOLS)/testhost.py images

.PHONY: molecule
molecule: setup ## The molecule scenarios alone, or one of them (S=edge)
	$(RUN) $(or $(S),molecule)

.PHONY: proofs
proofs: setup ## The long forms of the unit tests and eight scenarios: rotations, 20 switches under load, a cut at every task and step, 20 moments, twelve apps, each prepared machine (hours; not part of test)
	SLIPWAY_FULL=1 $(RUN) unit default data deploy broken keep any preflight base

N := 100
.PHONY: soak
soak: setup ## N=100 deploys and rollbacks under load, every request counted (an hour or so; not part of test)
	$(TOOLS)/soak.py $(N) $(SOAK)

.PHONY: bench
bench: setup ## All that is measured, one after the other, and the plots (bench/README.md; four hours; asserts nothing)
	$(TOOLS)/bench_converge.py --first
	$(TOOLS)/bench_growth.py
	$(TOOLS)/bench_backup.py
	$(TOOLS)/bench_http.py
	$(MAKE) bench-plots demo-down

.PHONY: bench-converge
bench-converge: setup ## How long site.yml, a deploy and a rollback take on the demo (BENCH="--former <commit>" compares, --first builds it anew)
	$(TOOLS)/bench_converge.py $(BENCH)

.PHONY: bench-growth
bench-growth: setup ## How long site.yml takes with 1, 5, 20 hosts and with 1, 5, 10 apps on one
	$(TOOLS)/bench_growth.py $(BENCH)

.PHONY: bench-deploy
bench-deploy: setup ## How long a deploy and a rollback of the demo take, and where the time goes
	$(TOOLS)/bench_deploy.py $(BENCH)

.PHONY: bench-backup
bench-backup: setup ## How long a backup, its proof and a restore of 1.5 GB take on the demo, against pg_dump -Fc (BENCH="--scale 10")
	$(TOOLS)/bench_backup.py $(BENCH)

.PHONY: audit
audit: setup ## What sslyze, testssl.sh, gixy, nmap and MDN HTTP Observatory say of the demo (3 minutes; AUDIT="--host … --domain …")
	$(TOOLS)/audit.py $(AUDIT)

.PHONY: bench-http
bench-http: setup ## Every server against what the guides of Gunicorn and nginx set up, in turns (bench/README.md; 50 minutes; asserts nothing)
	$(TOOLS)/bench_http.py $(BENCH)

.PHONY: bench-plots
bench-plots: setup ## Draw bench/results into bench/plots
	uv run --quiet --no-project --with matplotlib==3.10.8 python tools/bench_plot.py
