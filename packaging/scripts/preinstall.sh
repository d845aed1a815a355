#!/bin/sh
# Makes the user that the node runs as. Its id is on files, so it is never removed.
set -e
if ! getent passwd aptlyd >/dev/null; then
	getent group aptlyd >/dev/null || groupadd --system aptlyd
	useradd --system --gid aptlyd --home-dir /var/lib/aptlyd --no-create-home --shell /usr/sbin/nologin \
		--comment "aptlyd realtime broker" aptlyd
fi
