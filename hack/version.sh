#!/bin/sh
# Prints the one version of everything that is built of this tree: that of the tag, without
# its v. Behind a tag follow the number of commits and the commit.
set -eu
cd "$(dirname "$0")/.."
described=$(git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null) || {
	commit=$(git rev-parse --short=10 HEAD 2>/dev/null) || { echo 0.0.0-unknown; exit 0; }
	described=v0.0.0-$(git rev-list --count HEAD)-g$commit
	git diff --quiet HEAD -- || described=$described-dirty
}
echo "${described#v}"
