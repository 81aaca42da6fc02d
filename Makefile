# Two commands do all the set-up on a machine with Python 3.11 or newer: `make run` and `make test`.
#   make run ARGS='--upstream URL --api-key-env NAME'     any flag of `twicetold serve`
#   make run TORCH='--index-url URL'                      where pip should take torch's CPU build from; on Linux the
#                                                         default index has a CUDA build, which works and is 10 times larger

PYTHON ?= python3
TORCH ?=
ARGS ?=
# The tests of a file share servers, so a file stays with one worker; each worker may have an engine or two.
WORKERS ?= -n auto --maxprocesses 4 --dist loadfile
# Hundreds of processes, browsers and servers on a few cores: what fails is tried once more, and both are told at the end.
RERUNS ?= --reruns 1 --rerun-show-tracebacks
BIN = .venv/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check
SHIPPED = gateway embeddings kvtier backends sdk/src
SOURCES = gateway embeddings kvtier backends sdk bench tests examples deploy

.PHONY: run test test-engines check audit sbom format bench peers screenshots lock clean

run: .venv/.run
	$(BIN)/twicetold serve $(ARGS)

test: .venv/.test .venv/.redis-server .venv/.haproxy .venv/.chromium .venv/.clients
	$(BIN)/python -m pytest $(WORKERS) $(RERUNS) $(ARGS)

# Tests against engines that people run themselves; without this they are skipped and say so.
LLAMA_SERVER ?= build/engines/llama-build/bin/llama-server
LLAMA_TEMPLATES ?= build/engines/llama_cpp_python-0.3.36/vendor/llama.cpp/models/templates

test-engines: .venv/.test $(LLAMA_SERVER)
	$(PIP) install gguf==0.19.0
	LLAMA_SERVER=$(LLAMA_SERVER) LLAMA_TEMPLATES=$(LLAMA_TEMPLATES) $(BIN)/python -m pytest -q tests/engines $(ARGS)

check: .venv/.test
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/bandit -q -c pyproject.toml -r $(SHIPPED)
	$(BIN)/python -m pytest -q tests/test_layers.py
	@$(MAKE) --no-print-directory audit sbom

# Published advisories against what is pinned; deploy/supply/accepted.toml has those that were looked at.
audit: .venv/.test
	$(BIN)/python -m deploy.supply.audit

# What is installed here, with versions and licences, as CycloneDX. The image carries one of its own.
sbom: .venv/.test
	@mkdir -p build
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o build/sbom.cdx.json $(BIN)/python
	@echo '==> build/sbom.cdx.json'

format: .venv/.test
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

bench: .venv/.test
	$(BIN)/python -m bench $(ARGS)

# What the benchmarks set beside us, each from PyPI in an environment of its own (bench/peers/README.md), and wrk, which
# asks faster than Python can. What cannot be installed becomes a row that says so.
PEERS ?= $(patsubst bench/peers/%.txt,%,$(wildcard bench/peers/*.txt))
peers: .venv/.wrk $(PEERS:%=build/peers/%/.installed)

build/peers/%/.installed: bench/peers/%.txt .venv/.test
	@echo '==> installing $* beside us'
	{ $(BIN)/uv venv -q --clear --seed --python $(BIN)/python build/peers/$* \
		&& $(BIN)/uv pip install -q --python build/peers/$*/bin/python -r $< && touch $@; } \
		|| echo '==> note: $* could not be installed; its rows are skipped'

# Every pin but torch's, which comes in one build per kind of machine. Needs torch's CPU wheel on the find-links path.
lock: .venv/.test
	$(BIN)/uv pip compile pyproject.toml --all-extras --python-version 3.11 --no-emit-package torch \
		--no-annotate --no-header --upgrade -o constraints.txt

# Pictures of the dashboard for README and docs/, by the bundled model: docs/images/*.png
screenshots: .venv/.test
	$(BIN)/python -m tests.dashboard.screenshots

clean:
	rm -rf .venv build dist

.venv/.python:
	@$(PYTHON) -c 'import sys; sys.exit("Twicetold needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	@echo '==> making the environment .venv'
	$(PYTHON) -m venv .venv
	@touch $@

# Pinned and first: an unpinned torch brings gigabytes of CUDA, and whatever asks for torch later is content with this.
.venv/.torch: .venv/.python
	@echo '==> installing torch (about 190 MB as a CPU build; pass TORCH="--index-url URL" to choose where from)'
	$(PIP) install $(TORCH) torch==2.13.0
	@$(BIN)/python -c 'import torch; torch.version.cuda and print("==> note: this torch is the CUDA build; README, Start")'
	@touch $@

.venv/.run: .venv/.torch pyproject.toml constraints.txt
	@echo '==> installing Twicetold and its models'
	$(PIP) install -c constraints.txt -e '.[semantic,local,redis]'
	@touch $@

# Some tests run a real Redis, a real balancer, a real browser, real Node clients; without one they are skipped and say so.
SUDO = $(if $(filter-out 0,$(shell id -u)),sudo -n)
.venv/.redis-server .venv/.haproxy .venv/.chromium .venv/.npm .venv/.wrk: .venv/.%: .venv/.python
	@PATH="$$PATH:/usr/sbin" command -v $* >/dev/null || { \
		echo '==> installing $* for the tests'; \
		command -v apt-get >/dev/null \
		&& { apt-cache show $* >/dev/null 2>&1 || $(SUDO) apt-get update -qq; } \
		&& $(SUDO) apt-get install -qy --no-install-recommends $*; \
	} || echo '==> note: no $* here and none could be installed; tests that need one are skipped'
	@touch $@

# Official clients, each the newest that goes with the others, in an environment of their own: they disagree with ours.
.venv/.clients: .venv/.npm tests/clients/requirements.txt tests/clients/constraints.txt tests/clients/node/package-lock.json
	@echo '==> installing the clients that the tests drive'
	{ $(PYTHON) -m venv build/clients \
		&& build/clients/bin/python -m pip --disable-pip-version-check install -q -r tests/clients/requirements.txt; } \
		|| echo '==> note: the Python clients could not be installed; their tests are skipped'
	{ mkdir -p build/node && cp tests/clients/node/package.json tests/clients/node/package-lock.json build/node/ \
		&& npm ci --prefix build/node --no-audit --no-fund --loglevel=error; } \
		|| echo '==> note: the Node clients could not be installed; their tests are skipped'
	@touch $@

# llama.cpp's server from the tree that the package llama-cpp-python carries: about 15 minutes of one core, once.
build/engines/llama-build/bin/llama-server: .venv/.python
	@echo '==> building llama.cpp for the tests (LLAMA_SERVER=PATH takes one that is there)'
	$(PIP) install cmake
	$(PIP) download -d build/engines --no-deps --no-binary llama-cpp-python llama-cpp-python==0.3.36
	tar -xzf build/engines/llama_cpp_python-0.3.36.tar.gz -C build/engines
	$(BIN)/cmake -S build/engines/llama_cpp_python-0.3.36/vendor/llama.cpp -B build/engines/llama-build \
		-DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=OFF -DLLAMA_OPENSSL=OFF \
		-DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
	$(BIN)/cmake --build build/engines/llama-build --target llama-server

.venv/.test: .venv/.run
	@echo '==> installing what the tests need'
	$(PIP) install -c constraints.txt -e '.[semantic,local,redis,test,check]'
	@touch $@
