#!/bin/bash
# The plugin's pure parts under the oldest PHP that it claims, this machine's, and a newer one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tests/support/cache.sh

php tests/plugin/run.php
for version in 7.4 8.4; do
	node "$cache/php-wasm/php.mjs" "$version" "$PWD" tests/plugin/run.php
done
