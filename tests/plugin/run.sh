#!/bin/bash
# The plugin's pure parts under the oldest PHP that it claims, this machine's, and a newer one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tests/support/cache.sh

with() {
	echo -n "the plugin without WordPress, PHP $1: "
	shift
	"$@" tests/plugin/pure.php
}
with "$(php -r 'echo PHP_VERSION;')" php
for version in 7.4 8.4; do
	with "$version" node "$cache/php-wasm/php.mjs" "$version" "$PWD"
done
