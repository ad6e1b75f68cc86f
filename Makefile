# What can be done here, with everything set up on the way: `make help`.
#
#     PYTHON=...    the interpreter to use (default: python3, or a newer one)
#     PYTHONS=...   the interpreters of test-all and conformance, blank separated
#                   (default: every supported one on PATH, in pyenv, in ~/.cache/pythons)
#     TESTS=...     what pytest runs (default: all)      PYTEST=...  more options for it
#     JOBS=...      how many tests run at a time (default: two a CPU; 0: in one process)
#     TREADLE_*     how the extension is built: see setup.py
#
# tools/env.sh prints the Python of build/venv-<interpreter>, after it has made
# the environment, installed the named groups into it and built the extension.

.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?=
PYTHONS ?=
TESTS ?=
PYTEST ?=
JOBS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) * 2)))
DEMO ?=
AREA ?=
BENCH ?=
export PYTHON PYTHONS

# What a sanitizer has something to say about.
NATIVE_TESTS = $(addprefix tests/,py future threads procs loop tasks sync streams regress)

# Most tests wait for something most of the time.
PARALLEL = -n $(JOBS) --dist worksteal

ENV := tools/env.sh

.PHONY: help build demo test test-core test-integration test-all conformance test-asan test-tsan bench \
	format format-check layers typecheck wheel clean

help: ## say what there is (this text)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile
	@sed -n '/^#     /s/^#  //p' Makefile

build: ## build the extension in place, next to python/treadle
	@$(ENV) >/dev/null

demo: ## see it work: treadle next to the standard library (DEMO="--delay 0.1")
	@py=$$($(ENV)); "$$py" -m treadle demo $(DEMO)

test: ## run the Python tests (TESTS=tests/future PYTEST=-x)
	@py=$$($(ENV) test 'numpy?'); "$$py" -m pytest -q $(PARALLEL) $(PYTEST) $(TESTS)

test-core: ## run the C tests of src/core under ASan and UBSan, then under TSan
	@$(MAKE) -C tests/core asan
	@$(MAKE) -C tests/core tsan

test-integration: ## run programs of others on treadle: aiohttp, uvicorn, websockets, httpx... (PYTEST=)
	@py=$$($(ENV) test integration); TREADLE_PACKAGES_REQUIRED=1 "$$py" -m pytest -q $(PYTEST) tests/integration

test-all: ## run the Python tests on every interpreter (PYTHONS=)
	@tools/each.sh "tests" sh -c 'exec $(MAKE) test PYTHON="$$PYTHON"'

conformance: ## run CPython's own tests of concurrent.futures and asyncio on treadle (PYTHONS=)
	@tools/conformance.sh

test-asan: ## run the Python tests of native code on an ASan and UBSan build
	@tools/test_asan.sh $(PARALLEL) --without-standard --one-poller $(PYTEST) $(or $(TESTS),$(NATIVE_TESTS))

test-tsan: ## run the stress tests under TSan (PYTHON= a free-threaded interpreter built with TSan)
	@tools/test_tsan.sh $(PYTEST) $(TESTS)

bench: ## measure against the standard library and other loops (AREA=loop BENCH=--quick)
	@py=$$($(ENV) 'bench?' 'uvloop?' 'rloop?' 'zuvloop?' 'web?'); \
	plot=$$("$$py" -c 'import importlib.util as u; print("--plot" if u.find_spec("matplotlib") else "")'); \
	"$$py" benchmarks/run.py $$plot $(AREA) $(BENCH)

format: ## format the C sources (clang-format from PyPI)
	@tools/format.sh -i

format-check: ## fail if `make format` would change anything
	@tools/format.sh --dry-run --Werror

layers: ## check that includes point down, headers compile alone, sizes are kept
	@python=$$(tools/find_python.sh); "$$python" tools/layers.py

typecheck: ## mypy --strict on the package, stubtest on the stubs of treadle._native
	@py=$$($(ENV) typecheck); \
	"$$py" -m mypy --strict --cache-dir build/mypy -p treadle; \
	MYPYPATH=python "$$py" -m mypy.stubtest --allowlist tools/stubtest.allow treadle._native

wheel: ## build sdist and wheel, try the wheel in an empty environment
	@tools/try_wheel.sh

clean: ## remove everything that was built
	rm -rf build dist python/*.egg-info .pytest_cache .mypy_cache .hypothesis
	rm -f python/treadle/_native.*.so
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
