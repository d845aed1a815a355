#!/bin/sh
# Fetches what the tests run against aptlyd from npm: the unmodified JavaScript
# SDK, and what drives a browser. Builds our own SDK.
set -eu
cd "$(dirname "$0")/../test"
if ! command -v npm >/dev/null 2>&1; then
	echo "NOTE: npm is not installed: the tests with the JavaScript SDK and of the console will be skipped" >&2
	exit 0
fi
for folder in sdk console; do
	if [ ! -d "$folder/node_modules" ] || [ "$folder/package-lock.json" -nt "$folder/node_modules/.package-lock.json" ]; then
		(cd "$folder" && npm ci --no-audit --no-fund --loglevel=error)
	fi
done
cd ../sdk/js
for folder in . test/react18; do
	if [ ! -d "$folder/node_modules" ] || [ "$folder/package-lock.json" -nt "$folder/node_modules/.package-lock.json" ]; then
		(cd "$folder" && npm ci --no-audit --no-fund --loglevel=error)
	fi
done
node build.mjs
command -v chromium >/dev/null 2>&1 || echo "NOTE: chromium is not installed: the test of the console will be skipped" >&2
