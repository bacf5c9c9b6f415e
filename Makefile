# Everything is installed into .venv; nothing outside this folder is changed, except that
# `make engines` (part of `make test`) installs Debian packages when it runs as root.

PYTHON ?= python3.11
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
RECIPE ?= recipes/legal-t5.yaml
TORCH := torch==2.13.0
STACK := transformers==5.23.0 peft==0.21.2 torchmetrics==1.9.0 rouge-score==0.1.2 gguf==0.19.0 accelerate==1.15.0 \
	bitsandbytes==0.50.2 pytorch-optimizer==4.1.0 tensorboard==2.21.0 wandb==0.31.0 mlflow-skinny==3.17.2
export PATH := $(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-all lint docs bench engines clean

## demo: compile the example recipe, train it in its image, show what came of it
demo: $(VENV)/recipec.done
	@recipec build $(RECIPE)
	@dvc repro legal-t5-evaluate
	@python scripts/report.py $(RECIPE)

## test: everything that CI runs; installs all that it needs, engines included
test: lint engines
	pytest -n 2 --dist loadgroup -m "not slow"

## test-all: what takes longer too: emulated CPUs, long kill loops, every engine
test-all: lint engines
	pytest -n 2 --dist loadgroup

lint: $(VENV)/test.done
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	python docs/generate.py --check

## docs: write the generated pages anew
docs: $(VENV)/test.done
	python docs/generate.py

## bench: the checker, the image builder and the emitted loop beside their peers, as ratios
bench: $(VENV)/test.done engines
	python -m bench.check
	python -m bench.image
	python -m bench.push
	$(BIN)/pip install --quiet --editable ".[bench]"
	python -m bench.training

engines:
	@bash scripts/install-engines.sh

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/recipec.done: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable ".[dvc]"
	@touch $@

# torch comes first and alone: what wants torch is then content with the CPU build.
$(VENV)/test.done: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --editable ".[dvc,hub,parquet,test]" $(STACK)
	@touch $@ $(VENV)/recipec.done

clean:
	rm -rf build $(VENV)
