# The commands of everyday work; `make help` lists them. GNU make 3.81 or later.

BIN     := $(CURDIR)/.bin
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# Settable: make fuzz FUZZTIME=10m, make bench BENCH=Take, make up WORKERS=5, make test TESTFLAGS='-run Drain -v'
FUZZTIME  ?= 30s
BENCH     ?= .
WORKERS   ?= 3
TESTFLAGS ?=

export VERSION

.DEFAULT_GOAL := help
.PHONY: help build run test race lint fuzz bench performance growth compare-strategies bench-peers image up down clean tools

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build ratelimitd and ratelimit into .bin
	@CGO_ENABLED=0 go build -trimpath -ldflags "-X main.version=$(VERSION)" -o $(BIN)/ ./cmd/ratelimitd ./cmd/ratelimit

run: build ## run everything in one process: NATS, a worker, the HTTP bridge; Ctrl-C ends it
	@exec $(BIN)/ratelimitd

test: $(BIN)/nats ## run all tests; installs redis-server first where it is missing
	@.ci/need-redis
	@go test -C limiter/peerbench $(TESTFLAGS) ./...
	@PATH="$(BIN):$$PATH" go test $(TESTFLAGS) ./...

race: ## run all tests with the race detector, which needs a C compiler
	@$(MAKE) --no-print-directory test TESTFLAGS='-race $(TESTFLAGS)'

lint: $(BIN)/staticcheck ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "run gofmt -w on:" $$unformatted >&2; exit 1; }
	@go vet ./... && go vet -C limiter/peerbench ./...
	@$(BIN)/staticcheck ./... && cd limiter/peerbench && $(BIN)/staticcheck ./...

fuzz: ## run each fuzz test for FUZZTIME (30s)
	@.ci/fuzz $(FUZZTIME)

bench: ## run the benchmarks that match BENCH (all)
	@go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

performance: ## measure the table of deploy/performance.md anew, in five minutes
	@.ci/need-redis
	@go run ./deploy/performance -write

growth: ## measure how cost grows, the second table of it, in seven minutes
	@.ci/need-redis
	@go run ./deploy/performance -growth -write

compare-strategies: ## measure the three Redis strategies side by side, as in limiter/redisstore/README.md
	@.ci/need-redis
	@go test -run '^$$' -bench '^BenchmarkStrategies$$' -benchtime 1x ./limiter/redisstore

bench-peers: ## measure other Go rate limiters next to this one, as in limiter/peerbench/README.md
	@.ci/need-redis
	@go test -C limiter/peerbench -run '^$$' -bench '^BenchmarkPeers$$' -benchtime 1x .

image: ## build the container image ratelimit:dev
	@docker build --build-arg VERSION=$(VERSION) -t ratelimit:dev .

up: ## start NATS, Redis, WORKERS (3) workers and the bridge with Docker Compose
	@docker compose up --build --wait --scale worker=$(WORKERS)

down: ## stop what `make up` started
	@docker compose down --remove-orphans

tools: $(BIN)/nats $(BIN)/staticcheck ## build the nats command line and staticcheck into .bin

clean: ## remove .bin
	@rm -rf $(BIN)

# .ci/tools/go.mod says which versions; an edit of it builds them anew.
$(BIN)/nats: .ci/tools/go.mod
	@echo "building the nats command line, once"
	@cd .ci/tools && GOBIN=$(BIN) go install github.com/nats-io/natscli/nats
	@touch $@

$(BIN)/staticcheck: .ci/tools/go.mod
	@echo "building staticcheck, once"
	@cd .ci/tools && GOBIN=$(BIN) go install honnef.co/go/tools/cmd/staticcheck
	@touch $@
