# Two commands do all: `make quickstart` shows henge at work, `make test` runs every test. The rest is for developers.

CARGO ?= cargo
HENGE := target/release/henge
# The folder with the larger real inputs and workloads, where a developer has it.
SHARED ?= ../shared

.PHONY: quickstart build test lint fmt fuzz bench bench-functions bench-codecs bench-segments clean

# Builds the release binary and runs the main job on generated data; leaves the server running until Ctrl-C.
quickstart: build
	$(HENGE) quickstart $(ARGS)

build:
	$(CARGO) build --release --locked -p henge

test:
	$(CARGO) test --workspace --locked $(ARGS)

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

fmt:
	$(CARGO) fmt --all

# Damages golden segments for FUZZ_SECONDS seconds and reads them; prints the seed of what makes a reader misbehave.
FUZZ_SECONDS ?= 120
fuzz:
	$(CARGO) run --locked -p henge-segment --example fuzz -- $(FUZZ_SECONDS) $(ARGS)

# Prints henge beside DuckDB, both measured in one run on this machine.
bench: build
	python3 bench/bench.py --henge $(HENGE) --shared $(SHARED) $(ARGS)

# The same for the functions that users call most, and for planning.
bench-functions: build
	python3 bench/bench.py --henge $(HENGE) --shared $(SHARED) --queries functions.json $(ARGS)

# Times every column codec of segments.
bench-codecs:
	$(CARGO) run --release --locked -p henge-segment --example codecs -- $(ARGS)

# Writes and scans a segment of TPC-H lineitem beside DuckDB, one thread each.
bench-segments:
	$(CARGO) build --release --locked -p henge-segment --example lineitem
	python3 bench/segments.py --lineitem target/release/examples/lineitem $(ARGS)

clean:
	$(CARGO) clean
