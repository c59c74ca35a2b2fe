# Two commands do all the set-up: `make run` and `make test`.
PYTHON  ?= python3
VENV    ?= .venv
# Extra pip arguments for torch alone. A CPU-only build: make run TORCH="--index-url https://download.pytorch.org/whl/cpu"
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

$(READY): setup.cfg constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet torch==2.13.0 $(TORCH)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[test$(if $(EXTRAS),$(comma)$(EXTRAS))]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
