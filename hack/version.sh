#!/bin/sh
# Prints the one version of everything that is built of this tree: that of the tag, without
# its v. What follows a release sorts before the next one: 1.0.1-0.5.gabc is five commits
# after 1.0.0.
set -eu
cd "$(dirname "$0")/.."
described=$(git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null) || {
	commit=$(git rev-parse --short=10 HEAD 2>/dev/null) || { echo 0.0.0-unknown; exit 0; }
	described=v0.0.0-$(git rev-list --count HEAD)-g$commit
	git diff --quiet HEAD -- || described=$described-dirty
	echo "${described#v}"
	exit 0
}
echo "${described#v}" |
	awk '/^[0-9]+\.[0-9]+\.[0-9]+-[0-9]+-g[0-9a-f]+(-dirty)?$/ {
		split($0, part, "-"); split(part[1], number, ".")
		sub(/^[^-]*-[0-9]+-/, "")
		$0 = number[1] "." number[2] "." number[3]+1 "-0." part[2] "." $0
	} { print }'
