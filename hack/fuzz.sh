#!/bin/sh
# Runs every fuzz target of the project for FUZZTIME, one after the other.
set -eu
cd "$(dirname "$0")/.."
grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r pkg; do
	for target in $(grep -h '^func Fuzz' "$pkg"/*_test.go | sed 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/'); do
		echo "== $pkg $target"
		go test -C "$pkg" . -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-20s}"
	done
done
