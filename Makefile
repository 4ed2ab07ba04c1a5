# Every target works on a fresh clone and first; what is missing is installed by tests/support/install.sh.
.PHONY: build test bench browser demo faults soak lint lint-php test-plugin test-runner clean

build:
	cargo build

# Ends by itself with DEMO_SECONDS=20; Ctrl-C ends everything that it started.
demo:
	@tests/demo/demo.sh

# What CI runs after the format and the lints of the Rust code.
test: install-test lint-php test-plugin test-runner

lint: install-test lint-php
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

lint-php:
	@tests/plugin/lint.sh

# The plugin's pure parts, under the oldest PHP that it claims, this machine's, and a newer one.
test-plugin:
	@tests/plugin/run.sh

test-runner:
	@if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --config-file tests/nextest.toml; else cargo test; fi

# The panel in wp-admin alone, through a real browser and attacked; pictures of it are in target/browser afterwards.
browser: install-test
	@if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --config-file tests/nextest.toml -E 'test(/^(browser|panel)::/)'; \
	else cargo test --test integration -- browser:: panel::; fi

# Lateness, and the CPU time and number of events, beside WordPress's own ways. QUICK=1 takes minutes, without it half an hour.
target = $(or $(CARGO_TARGET_DIR),target)
bench: install-test
	cargo build --release
	@rm -f $(target)/bench.json
	@WP_CRON_RUNNER_BINARY=$(abspath $(target))/release/wp-cron-runner QUICK=$(QUICK) \
		cargo test --quiet --test integration -- --ignored --nocapture --test-threads=1 bench::

# Injects faults as long as they are meant, and ends with each row's figure. ROW=3 alone; BREAK=merge takes a guard away.
faults: install-test
	@tests/faults/run.sh

# Everything at random for MINUTES=10, from SEED=n where given.
soak: install-test
	@SOAK_MINUTES="$${MINUTES:-10}" ROW=soak tests/faults/run.sh

.PHONY: install-test
install-test:
	@tests/support/install.sh test

clean:
	cargo clean
