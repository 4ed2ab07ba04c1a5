#!/bin/bash
# The fault tests as long as they are meant, and every row's figure at the end.
#   ROW=3        one row alone
#   BREAK=merge  takes this guard away and shows what the checker then sees
#   SEED=n       the moments of an earlier run
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

filter=faults::
if [ -n "${BREAK:-}" ]; then
	filter="faults::proofs::without_${BREAK//-/_}"
	known=$(grep -o 'fn without_[a-z_]*' tests/faults/proofs.rs | sed 's/^fn without_//; s/_/-/g')
	if ! grep -qxF -- "$BREAK" <<<"$known"; then
		echo "no guard is called \`$BREAK\`; there are: $(paste -sd ' ' <<<"$known")" >&2
		exit 2
	fi
elif [ -n "${ROW:-}" ]; then
	filter="::row_${ROW}_"
	known=$(grep -oh 'fn row_[0-9a-z]*_' tests/faults/*.rs | sed 's/^fn row_//; s/_$//' | sort -uV)
	if ! grep -qxF -- "$ROW" <<<"$known"; then
		echo "no row is called \`$ROW\`; there are: $(paste -sd ' ' <<<"$known")" >&2
		exit 2
	fi
fi

FAULTS_FIGURES=$(mktemp)
trap 'rm -f "$FAULTS_FIGURES"' EXIT
export FAULTS=full FAULTS_FIGURES
code=0
if cargo nextest --version >/dev/null 2>&1; then
	cargo nextest run --config-file tests/nextest.toml --profile faults --no-fail-fast --run-ignored all "$filter" || code=$?
else
	cargo test --test integration -- --include-ignored "$filter" || code=$?
fi
echo
sort -V "$FAULTS_FIGURES"
exit "$code"
