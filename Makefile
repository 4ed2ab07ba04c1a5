# Every target works on a fresh clone and first; what is missing is installed by tests/support/install.sh.
.PHONY: build test demo lint lint-php test-plugin test-runner clean

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

.PHONY: install-test
install-test:
	@tests/support/install.sh test

clean:
	cargo clean
