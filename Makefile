# Two commands do all the set-up: `make run` and `make test`.
PYTHON  ?= python3
VENV    ?= .venv
# Which build of torch: cpu or a CUDA version such as cu130, from PyTorch's own index; what pip takes by itself when empty
TORCH   ?=
# More extras for the environment, e.g. EXTRAS=triton
EXTRAS  ?=
MODEL   ?= EchoMamba4Rec
DATASET ?= ml-100k
EPOCHS  ?= 10
ARGS    ?=

comma := ,
READY := $(VENV)/.ready-test$(if $(EXTRAS),-$(subst $(comma),-,$(EXTRAS)))

.PHONY: run test lint environment clean

run: $(READY)
	$(VENV)/bin/python run_recbole.py --model=$(MODEL) --dataset=$(DATASET) --epochs=$(EPOCHS) $(ARGS)

test: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/python -m pytest $(ARGS)

lint: $(READY)
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

environment: $(READY)

IS_311 := -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'

$(READY): setup.cfg constraints.txt
	@test -x $(VENV)/bin/python || $(PYTHON) $(IS_311) || { echo "the pinned versions need Python 3.11: add PYTHON=python3.11"; exit 1; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet torch==2.13.0 $(if $(TORCH),--index-url https://download.pytorch.org/whl/$(TORCH))
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[test$(if $(EXTRAS),$(comma)$(EXTRAS))]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
