# `make run` trains a model and `make test` checks everything; both create the environment they need.

# The interpreter the environment is created with, Python 3.10 to 3.14, and the folder of the environment.
PYTHON  ?= python3
VENV    ?= .venv
# The versions to install; constraints-oldest.txt has the oldest that work, for Python 3.11.
CONSTRAINTS ?= constraints.txt
# The build of torch, from PyTorch's own index: `cpu` or a CUDA version such as `cu130`. Empty: the build on PyPI.
TORCH   ?=
# Further extras of setup.cfg to install, such as EXTRAS=triton.
EXTRAS  ?=
# What `make run` trains.
MODEL   ?= EchoMamba4Rec
DATASET ?= ml-100k
EPOCHS  ?= 10
# Further arguments of the command: settings for `make run`, pytest options for `make test`.
ARGS    ?=

comma := ,
# Created once the environment is complete; its name lists the versions and the extras.
READY := $(VENV)/.ready-$(basename $(notdir $(CONSTRAINTS)))-test$(if $(EXTRAS),-$(subst $(comma),-,$(EXTRAS)))

.PHONY: run test lint environment matrix clean

run: $(READY)
	$(VENV)/bin/python run_recbole.py --model=$(MODEL) --dataset=$(DATASET) --epochs=$(EPOCHS) $(ARGS)

test: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/basedpyright --pythonpath $(VENV)/bin/python
	$(VENV)/bin/python -m pytest $(ARGS)

lint: $(READY)
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

environment: $(READY)

IS_SUPPORTED := -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))'
PIP := $(VENV)/bin/python -m pip install --quiet --no-warn-conflicts

# RecBole comes last, without its requirements, which cannot be met on Python 3.12 and later.
$(READY): setup.cfg $(CONSTRAINTS)
	@test -x $(VENV)/bin/python || $(PYTHON) $(IS_SUPPORTED) || \
		{ echo "$(PYTHON) is not Python 3.10 to 3.14; add PYTHON=python3.13, for example"; exit 1; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0 $(if $(TORCH),--index-url https://download.pytorch.org/whl/$(TORCH))
	$(PIP) --constraint $(CONSTRAINTS) --editable ".[test$(if $(EXTRAS),$(comma)$(EXTRAS))]"
	$(PIP) --no-deps recbole==1.2.1
	touch $@

# Install, train and test on every Python of this machine.
matrix:
	$(PYTHON) .ci/matrix.py $(ARGS)

clean:
	rm -rf $(VENV) .venv-matrix build dist *.egg-info
