# aptlyd: every target says in one line what it is for; `make help` prints them.
GO       ?= go
BIN      := bin
VERSION  := $(shell ./hack/version.sh)
LDFLAGS  := -s -w -X github.com/aptlyd/aptlyd/node.Version=$(VERSION)
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
SBOM     := github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
RELEASER := github.com/goreleaser/goreleaser/v2@v2.15.1
VULN     := golang.org/x/vuln/cmd/govulncheck@v1.9.0
FUZZTIME ?= 20s

## help: print this list
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST) | awk -F': ' '{printf "%-10s %s\n", $$1, substr($$0, length($$1)+3)}'

.PHONY: help build run cluster test race fuzz lint bench peers check sdk clean torture planted systems sbom vuln \
	packages image snapshot

## build: compile bin/aptlyd and bin/aptly-bench, static
build:
	@mkdir -p $(BIN)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/aptlyd ./bench/aptly-bench

## run: start a single node that is ready to use (data in ./aptly-data)
run: build
	$(BIN)/aptlyd serve

## cluster: start three nodes on loopback (data in ./.cluster); one Ctrl-C stops all
cluster: build
	@./hack/cluster.sh

## test: go vet and all tests; tests that need Node.js say so when it is missing
test: build sdk
	$(GO) vet ./...
	$(GO) test -count 1 -timeout 25m ./...

## race: the same tests under the race detector
race: build sdk
	$(GO) test -count 1 -race -timeout 40m ./...

## fuzz: each fuzz target for FUZZTIME
fuzz:
	@FUZZTIME=$(FUZZTIME) ./hack/fuzz.sh

## torture: break clusters of three and of five nodes by twenty seeds (some half an hour; root for disks and networks)
torture:
	$(GO) test ./test/torture -run TestTorture -count 1 -timeout 60m -v -seed 1 -seeds 10 -duration 60s -nodes 3 -sdk
	$(GO) test ./test/torture -run TestTorture -count 1 -timeout 60m -v -seed 101 -seeds 10 -duration 60s -nodes 5 -sdk

## planted: show that the torturer finds bugs that are planted
planted:
	APTLYD_LONG=1 $(GO) test ./test/torture -run 'TestPlanted|TestClock' -count 1 -timeout 30m -v

## lint: go vet for each system, and golangci-lint
lint: systems
	$(GO) vet ./...
	$(GO) run $(GOLANGCI) run ./...

## systems: type-check for macOS and FreeBSD all that does not need namespaces of Linux
systems:
	@for system in darwin freebsd; do \
		echo "GOOS=$$system go vet"; \
		GOOS=$$system $(GO) vet $$($(GO) list ./... | grep -v '/aptlyd/test') || exit 1; \
	done

## sbom: write bin/aptlyd.cdx.json, which lists what bin/aptlyd is built of (CycloneDX)
sbom: build
	$(GO) run $(SBOM) bin -json -std -version $(VERSION) -output $(BIN)/aptlyd.cdx.json $(BIN)/aptlyd

## packages: install the packages in a fresh Debian, start the image's files, render the chart (root)
packages:
	cd packaging && $(GO) vet ./... && $(GO) test -count 1 ./...

## image: write the container image for amd64 and arm64, bin/aptlyd.oci.tar
image:
	@for arch in amd64 arm64; do \
		CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(GO) build -trimpath -ldflags '$(LDFLAGS)' \
			-o $(BIN)/image/$$arch ./cmd/aptlyd || exit 1; \
	done
	cd packaging && $(GO) run ./image -o ../$(BIN)/aptlyd.oci.tar -version $(VERSION) \
		-commit "$$(git rev-parse HEAD)" -created "$$(git log -1 --format=%ct)" \
		amd64=../$(BIN)/image/amd64 arm64=../$(BIN)/image/arm64

## snapshot: build all of a release of this tree into bin/release (some ten minutes)
snapshot: image
	VERSION=$(VERSION) GORELEASER_CURRENT_TAG=v$(VERSION) $(GO) run $(RELEASER) release --snapshot --clean

## vuln: look for known vulnerabilities in what the programs call (needs vuln.go.dev)
vuln:
	$(GO) run $(VULN) ./cmd/aptlyd ./bench/aptly-bench

## bench: load a throw-away cluster of three nodes
bench: build
	$(BIN)/aptly-bench --spawn 3 --duration 10s --rate 500 --channels 10 --subscribers 30

## peers: the same load on aptlyd, NATS and Centrifuge side by side (some twenty minutes)
peers: build
	cd bench/peers && $(GO) run .

## check: lint, tests, and tests under the race detector; a change must pass it
check: lint test race

## sdk: build our own JavaScript SDK; fetch the published one and the browser driver for the tests
sdk:
	@./hack/sdk.sh

## clean: remove what was built
clean:
	rm -rf $(BIN)
