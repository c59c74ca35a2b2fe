# `make run` trains a model and `make test` checks everything; both create the environment they need.

# The interpreter the environment is created with, Python 3.11, and the folder of the environment.
PYTHON  ?= python3
VENV    ?= .venv
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
# Created once the environment is complete; its name lists the extras.
READY := $(VENV)/.ready-test$(if $(EXTRAS),-$(subst $(comma),-,$(EXTRAS)))

.PHONY: run test lint environment clean

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

IS_PYTHON_3_11 := -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'

$(READY): setup.cfg constraints.txt
	@test -x $(VENV)/bin/python || $(PYTHON) $(IS_PYTHON_3_11) || \
		{ echo "constraints.txt pins versions for Python 3.11; add PYTHON=python3.11"; exit 1; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet torch==2.13.0 $(if $(TORCH),--index-url https://download.pytorch.org/whl/$(TORCH))
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[test$(if $(EXTRAS),$(comma)$(EXTRAS))]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
