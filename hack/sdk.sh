#!/bin/sh
# Fetches the unmodified JavaScript SDK that the tests run against aptlyd.
set -eu
cd "$(dirname "$0")/../test/sdk"
if ! command -v npm >/dev/null 2>&1; then
	echo "NOTE: npm is not installed: the tests with the JavaScript SDK will be skipped" >&2
	exit 0
fi
if [ ! -d node_modules ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
	npm ci --no-audit --no-fund --loglevel=error
fi
