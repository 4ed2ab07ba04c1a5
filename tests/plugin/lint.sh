#!/bin/bash
# Is every PHP file of the plugin read by the oldest PHP that it claims, by this machine's, and by a newer one? Is what it prints
# escaped, and what it asks of the database prepared?
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tests/support/cache.sh

mapfile -t plugin < <(find wp-plugin -name '*.php' | sort)
mapfile -t tests < <(find tests -name '*.php' | sort)
if [ "${#plugin[@]}" -lt 10 ] || [ "${#tests[@]}" -lt 5 ]; then
	echo "lint.sh: found ${#plugin[@]} PHP files of the plugin, ${#tests[@]} of the tests; expected more" >&2
	exit 1
fi

lint_with() {
	# php -l reads one file at a time (before 8.3) and says of every good one that it has no errors.
	local said
	if ! said=$(printf '%s\0' "${files[@]}" | xargs -0 -n1 -P2 "$@" -l 2>&1); then
		grep -v '^No syntax errors' <<<"$said" >&2
		exit 1
	fi
}
files=("${plugin[@]}" "${tests[@]}")
lint_with php -d display_errors=stderr -d log_errors=0
# What only the tests load runs on this machine alone.
files=("${plugin[@]}")
for version in 7.4 8.4; do
	lint_with node "$cache/php-wasm/php.mjs" "$version" "$PWD"
done

sniff() { phpcs --standard=tests/plugin/phpcs/WordPress --extensions=php "$@"; }
found=$(sniff --report=emacs tests/plugin/phpcs/bad.php | grep -c ' error - ' || true)
if [ "$found" != 8 ]; then
	echo "lint.sh: the sniffs found $found of 8 faults in tests/plugin/phpcs/bad.php" >&2
	exit 1
fi
sniff -q -s wp-plugin
echo "lint.sh: ${#plugin[@]} PHP files of the plugin, read by PHP 7.4, $(php -r 'echo PHP_VERSION;') and 8.4"
