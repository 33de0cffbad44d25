# Fairway. `make demo` runs the main job, `make test` all that CI runs. Both fetch what they need.
SHELL := /bin/bash
BUF   := github.com/bufbuild/buf/cmd/buf@v1.75.0
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)

.PHONY: all build test test-long lint generate generate-check demo bench-mapreduce bench-allocator bench-journal bench-shuffle bench-hadoop test-hadoop test-spark test-spark-long bench-spark clean help

all: build

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

build: ## build bin/fairway
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/fairway ./cmd/fairway

test: python ## lint, unit (race), integration against real HDFS
	go run ./integration/tiers test

test-long: python ## what takes longer
	go run ./integration/tiers long

lint: ## gofmt, go vet, staticcheck
	@bad=$$(git ls-files '*.go' | xargs gofmt -l); if [ -n "$$bad" ]; then echo "gofmt would change:"; echo "$$bad"; exit 1; fi
	go vet ./...
	go tool staticcheck ./...

generate: ## generated code from the .proto files
	go run $(BUF) generate

generate-check: generate ## fail if the committed generated code is stale
	git diff --exit-code -- '*.pb.go'

# pyarrow for the Arrow streaming tests and benchmark, in the cache folder that git ignores.
python: .cache/python/ok
.cache/python/ok:
	@mkdir -p .cache
	python3 -m venv .cache/python
	.cache/python/bin/pip install --quiet --disable-pip-version-check pyarrow
	touch $@
.PHONY: python

demo: build ## the main job: HDFS, a broker, three agents, two MapReduce jobs that share 2:1
	go run ./integration/demo

bench-mapreduce: build python ## against Hadoop MapReduce on real YARN
	go run ./integration/benchmapreduce

bench-allocator: ## placements per second of one core
	go run ./integration/benchallocator

bench-journal: ## a million tasks: snapshot, restart, disk
	go run ./integration/benchjournal

bench-shuffle: ## Spark's shuffle service alone
	go run ./integration/benchshuffle

test-hadoop: ## Apache Hadoop's own client, ApplicationMaster and tasks on Fairway
	FAIRWAY_INTEGRATION=1 go tool gotestsum --format pkgname-and-test-fails -- -count=1 -timeout=20m ./integration/yarnjobs/

test-spark: ## Apache Spark's own client, ApplicationMaster and executors on Fairway
	go run ./integration/tiers spark

test-spark-long: ## what of them takes longer, and the newest Spark
	go run ./integration/tiers long-spark

bench-hadoop: build ## the same unmodified Hadoop jobs on Fairway and on real YARN
	go run ./integration/benchhadoop

bench-spark: build ## the same unmodified Spark applications on Fairway and on real YARN
	go run ./integration/benchspark

clean: ## remove what was built; the cache of fetched engines stays
	rm -rf bin build
