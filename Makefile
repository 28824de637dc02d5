# Every target sets itself up: Python >= 3.11, make and git are all that must be there.
#   make run     install, then rebuild every result (dvc repro)
#   make test    install, then lint, types and tests
#   make ui      MLflow's pages on http://127.0.0.1:$(PORT), over this project's own store
#   make bench   measure, each figure next to its alternative (bench-quick: all in small, in minutes)
#   make docs    build the site of the docs, build/docs/index.html; broken links fail
#   make sbom    list what requirements/run.txt installs, as CycloneDX: build/sbom.cdx.json
#   make lock    compile the hash-pinned requirements again from pyproject.toml
#   make clean   remove what the targets made (not the results: `dvc gc` is for those)

PYTHON ?= python3
PORT ?= 5000
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# trust the certificates that the machine trusts
export UV_SYSTEM_CERTS := 1
# compile libraries once, not again in every process: that takes half of the time of their import
unexport PYTHONDONTWRITEBYTECODE

locked := --quiet --require-hashes --no-deps --no-build-isolation --requirement

.PHONY: run repository test types tests ui bench bench-quick docs notebook sbom lock clean

run: repository .venv/run
	lamina check
	dvc repro
	@echo "report: reports/index.html; MLflow: make ui"

repository:
	@git rev-parse --git-dir >/dev/null 2>&1 || \
	  { echo "error: DVC needs a git repository, and this is none: clone lamina, or run: git init" >&2; exit 2; }

test: .venv/dev
	ruff check .
	ruff format --check .
	$(MAKE) --jobs 2 types tests

types: .venv/dev
	mypy

# more processes than two cores: some tests wait for servers and timeouts; more threads would wait for each other
tests: export OMP_NUM_THREADS := 1
tests: export OPENBLAS_NUM_THREADS := 1
tests: export TF_NUM_INTRAOP_THREADS := 1
tests: .venv/dev
	pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --durations 30

ui: .venv/run
	@python -c 'import socket, sys; socket.create_server(("127.0.0.1", int(sys.argv[1])))' "$(PORT)" 2>/dev/null || \
	  { echo "error: port $(PORT) is taken; name another one: make ui PORT=5001" >&2; exit 2; }
	@mkdir -p mlflow/artifacts
	mlflow server --host 127.0.0.1 --port $(PORT) \
	  --backend-store-uri sqlite:///mlflow/mlflow.db --artifacts-destination mlflow/artifacts

bench: .venv/dev
	python bench/pipeline.py
	python bench/profiling.py
	python bench/preparation.py
	python bench/delivery.py
	python bench/warping.py
	python bench/colorize.py
	python bench/memory.py
	python bench/extraction.py
	python bench/predicting.py
	python bench/heads.py
	python bench/training.py
	python bench/finetuning.py
	python bench/coloring.py
	python bench/grid.py

# small sizes and one repeat: shows that every bench works, and ratios only roughly
bench-quick: .venv/dev
	python bench/profiling.py --small
	python bench/preparation.py --copies 4 --repeats 1
	python bench/delivery.py --copies 1
	python bench/warping.py --pictures 50 --repeats 1
	python bench/colorize.py --megapixels 2 --repeats 1
	python bench/memory.py --pictures 1000 2000
	python bench/extraction.py --backbones densenet121 --rows 128 --repeats 1
	python bench/predicting.py --network small_cnn --size 32 --pictures 2000
	python bench/heads.py --rows 1000 --epochs 10 --trials 4
	python bench/training.py --steps 4 --repeats 1
	python bench/finetuning.py --steps 2 --repeats 1
	python bench/coloring.py --steps 2 --repeats 1
	python bench/grid.py --pictures 60 --copies 1 --epochs 10 --backbones densenet121

docs: .venv/docs
	sphinx-build --fail-on-warning --keep-going --quiet --jobs auto --conf-dir docs . build/docs
	@echo "site: build/docs/index.html"

# run docs/tour.ipynb on the results of `make run`, and keep what it prints for the site
notebook: .venv/docs
	cd docs && jupyter execute --inplace --NotebookClient.record_timing=False tour.ipynb

sbom: .venv/docs
	mkdir -p build
	cyclonedx-py requirements requirements/run.txt --pyproject pyproject.toml --mc-type library --output-reproducible \
	  --output-file build/sbom.cdx.json

lock: .venv/dev
	for group in run dev docs; do \
	  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    --extra $$group pyproject.toml --output-file requirements/$$group.txt || exit 1; \
	done
	printf 'setuptools\nwheel\n' | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate --constraint requirements/run.txt - --output-file requirements/build.txt

clean:
	rm -rf .venv .lamina .pytest_cache .ruff_cache .mypy_cache .hypothesis build dist

# uv, itself pinned by hash, installs in seconds what takes pip minutes. Where it cannot (an index that only pip
# is configured for), pip does it. Both install exactly what the lock names, and nothing else: two packages come as
# source, and what builds them, build.txt, is of the lock, too.
.venv/run .venv/dev .venv/docs: .venv/%: requirements/%.txt requirements/uv.txt requirements/build.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.13" >&2; exit 2; }
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	python -m pip install $(locked) requirements/uv.txt --requirement requirements/build.txt
	uv pip install --python .venv/bin/python $(locked) requirements/$*.txt || \
	  python -m pip install $(locked) requirements/$*.txt
	python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
