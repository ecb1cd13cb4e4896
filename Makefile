# Everything a maintainer runs. `make test` needs Go alone. The other targets
# bring their tools along: Go modules under tools/, npm packages under
# tools/redocly and e2e/. Nothing has to be installed by hand but Go, Node and
# make (and, for make e2e, apt or a Chromium of your own).

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# A go.work further up must not change what is built.
export GOWORK := off

ROOT := $(CURDIR)
LINT       := go tool -modfile=$(ROOT)/tools/lint/go.mod
ACTIONLINT := go tool -modfile=$(ROOT)/tools/actionlint/go.mod actionlint
CHECK      := go tool -modfile=$(ROOT)/tools/check/go.mod
REDOCLY    := tools/redocly/node_modules/.bin/redocly

# The modules that hold packages of ours; the others pin programs.
MODULES := $(patsubst ./%,%,$(patsubst %/go.mod,%,$(shell find . -name go.mod \
	-not -path '*/node_modules/*' -not -path '*/testdata/*' -not -path './tools/lint/*' -not -path './tools/check/*' -not -path './tools/actionlint/*' -not -path './artifacts/*' | sort)))

# The race detector needs cgo and a C compiler (but not on macOS).
RACE = $(shell if [ "$$(go env GOOS)" = darwin ] || { [ "$$(go env CGO_ENABLED)" = 1 ] && command -v $$(go env CC) >/dev/null; }; then echo -race; fi)

FUZZTIME ?= 30s
BENCHROUNDS ?= 9
SUITE ?= go test ./...

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: test
test: ## Run the tests (needs Go alone); TESTFLAGS=-v names every case, and why one is skipped
	@race='$(RACE)'; \
	[ -n "$$race" ] || echo 'No C compiler for cgo here: testing without the race detector.'; \
	set -x; for m in . tokensql tokenredis keyring; do go -C $$m test $$race -vet=off -shuffle=on $(TESTFLAGS) ./...; done # make lint vets

.PHONY: generate
generate: ## Generate the Go files from openapi.yaml and api/overlay.yaml
	go generate ./...

.PHONY: check-generate
check-generate: ## Fail if a generated file doesn't match the document; changes nothing
	@tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	tar -c --exclude=./.git --exclude=./artifacts --exclude=node_modules . | tar -x -C "$$tmp"; \
	(cd "$$tmp" && find . -name '*_gen.go' -delete && go generate ./...); \
	if diff -ru -x .git -x artifacts -x node_modules . "$$tmp"; then \
		echo 'Generated files match the document.'; \
	else \
		echo 'A generated file is not what openapi.yaml and api/overlay.yaml give. Run: make generate' >&2; exit 1; \
	fi

.PHONY: lint
lint: ## Check gofmt, go vet (also for Windows and macOS), go mod tidy and golangci-lint in all modules
	@unformatted=$$(find . -name '*.go' -not -path '*/node_modules/*' -not -path './artifacts/*' -print0 | xargs -0 gofmt -l); \
	if [ -n "$$unformatted" ]; then echo "gofmt -w is due for:" $$unformatted >&2; exit 1; fi
	@$(LINT) golangci-lint config verify
	@failed=; for m in $(MODULES); do \
		echo "lint $$m"; \
		(cd $$m && go mod tidy -diff && go vet ./... && $(LINT) golangci-lint run --allow-parallel-runners --config $(ROOT)/.golangci.yml ./...) || failed="$$failed $$m"; \
	done; [ -z "$$failed" ] || { echo "lint fails in:$$failed" >&2; exit 1; }
	@for os in windows darwin; do echo "vet for $$os"; for m in . tokenredis keyring cmd/piecesauth; do \
		GOOS=$$os CGO_ENABLED=0 go -C $$m vet ./...; \
	done; GOOS=$$os CGO_ENABLED=0 go -C tokensql build ./...; done # its tests would compile all of SQLite
	@for m in lint check actionlint; do (cd tools/$$m && go mod verify >/dev/null); done

.PHONY: lint-repo
lint-repo: ## Check the pages (links, names, figures, spelling), who imports whom, workflows and Dependabot
	@go -C tools run ./lint-repo -module $(ROOT)
	@$(ACTIONLINT) -shellcheck= -pyflakes=
	@git ls-files -z '*.md' '*.go' '*.sh' '*.yml' '*.yaml' '*.mjs' Makefile .ci | xargs -0 $(LINT) misspell -error

$(REDOCLY): tools/redocly/package-lock.json
	cd tools/redocly && npm ci --no-audit --no-fund
	@touch $@

# The document with its overlay, once more as a document.
.PHONY: overlaid
overlaid:
	@mkdir -p artifacts
	@go -C tools run ./overlaid -o $(ROOT)/artifacts/openapi.yaml $(ROOT)/openapi.yaml $(ROOT)/api/overlay.yaml

.PHONY: lint-api
lint-api: overlaid $(REDOCLY) ## Validate the document, alone and with its overlay
	$(REDOCLY) lint --config tools/redocly/redocly.yaml

.PHONY: docs
docs: overlaid $(REDOCLY) ## Render the API, document and overlay together, into artifacts/api.html
	$(REDOCLY) build-docs overlaid --config tools/redocly/redocly.yaml --inlineBundle -o artifacts/api.html

.PHONY: adopt
adopt: ## Take over a new Pieces document: make adopt SPEC=path [FORCE=1] [SUITE='go test .']
	@[ -n "$(SPEC)" ] || { echo 'Say which document: make adopt SPEC=path/to/openapi.yaml' >&2; exit 2; }
	@spec='$(SPEC)'; case $$spec in /*) ;; *) spec=$$PWD/$$spec ;; esac; \
	go -C tools run ./adopt -module $(ROOT) $(if $(FORCE),-force) -test '$(SUITE)' "$$spec"

.PHONY: report
report: ## Report what the working tree changes for users since the last tag or the merge base
	@go -C tools run ./adopt -module $(ROOT) -since "$$(tools/base.sh)"

.PHONY: apidiff
apidiff: ## Compare the Go API with that of the last tag or the merge base
	@tools/apidiff.sh

.PHONY: release-check
release-check: ## Prepare a release and check it, as far as pushing the tags: make release-check VERSION=v0.2.0
	@tools/release-check.sh $(VERSION)

.PHONY: bench
bench: ## Measure beside rivals, print a table of ratios, fail where a bar is missed
	@mkdir -p artifacts
	@go -C tools run ./bench -module $(ROOT) -rounds $(BENCHROUNDS) -raw $(ROOT)/artifacts/bench.txt
	@go -C web/webbench test -count=1 -benchtime 150ms -run '^TestBars$$' -rounds $(BENCHROUNDS)

.PHONY: benchstat
benchstat: ## Show the runs of the last make bench
	@$(CHECK) benchstat artifacts/bench.txt

.PHONY: weight
weight: ## Measure what the library adds to a program, in modules and bytes
	@go -C tools run ./weight -module $(ROOT)

# The fuzzing engine can stumble over its own deadline at the end of -fuzztime,
# without an input that fails: that alone is tried again.
.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (30s), two at a time
	@targets=$$(for pkg in $$(go list ./...); do \
		go test -list '^Fuzz' $$pkg | awk -v pkg=$$pkg '/^Fuzz/ {print pkg, $$1}'; done); \
	[ -n "$$targets" ] || { echo 'No fuzz target was found.' >&2; exit 1; }; \
	echo "$$targets" | xargs -P 2 -L 1 bash -c \
		'for try in 1 2; do \
			out=$$(go test -run "^$$" -fuzz "^$$1\$$" -fuzztime $(FUZZTIME) -parallel 1 $$0 2>&1) && code=0 && break; \
			code=1; grep -q "context deadline exceeded" <<<"$$out" && ! grep -q "Failing input" <<<"$$out" || break; \
		done; \
		printf "fuzz %s %s\n%s\n" "$$0" "$$1" "$$(echo "$$out" | tail -n 25)"; exit $$code'

.PHONY: mutate
mutate: ## Mutate the root package, internal/*, loopback, seal and tokenfile, and see tests fail (hours)
	GOFLAGS="$$(go env GOFLAGS) -short" $(CHECK) gremlins unleash --config tools/check/gremlins.yaml .

.PHONY: soak
soak: ## Kill twenty processes on one token file at random
	go test -tags soak -run Soak -count=1 -timeout 30m -v ./tokenfile/...

.PHONY: dist
dist: ## Build the command for Linux, macOS and Windows, with checksums, into artifacts/dist
	./cmd/piecesauth/dist.sh $(ROOT)/artifacts/dist

.PHONY: jose
jose: ## Compare the reading of ID tokens and keys with another JOSE library, fuzzing for FUZZTIME each
	cd internal/oidc/difftest && go test . && \
	for target in FuzzToken FuzzKeySet; do go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) . || exit 1; done

.PHONY: model
model: ## Break the algorithm of tokenkv in eighteen ways, and see its model find each
	go test -count=1 -run TestModel ./tokenkv -model.mutants

.PHONY: fleet
fleet: ## Test the stores of many machines on real databases (installed by apt), two minutes of soak included
	./fleet/run.sh -timeout 30m

.PHONY: bench-fleet
bench-fleet: ## Measure the stores of many machines beside their rivals, into docs/benchmarks-fleet.md
	./fleet/run.sh -timeout 60m -run TestReport -report $(ROOT)/docs/benchmarks-fleet.md

.PHONY: soak-fleet
soak-fleet: ## Kill, stop, cut off and restart real databases and their users for half an hour
	./fleet/run.sh -timeout 60m -run TestSoak -soak 30m -v

.PHONY: keyring
keyring: ## Test a sealing key in a real credential store (gnome-keyring, installed by apt)
	./keyring/secretservice.sh

.PHONY: vuln
vuln: ## Look for known vulnerabilities in every module; VULN=required fails where the database can't be reached
	@tools/vuln.sh $(MODULES)

.PHONY: e2e
e2e: docs ## Sign in through a real browser at a certified provider
	./e2e/run.sh

.PHONY: ci
ci: ## Run all that CI runs
	.ci/run
