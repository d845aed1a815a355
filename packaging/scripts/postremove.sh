#!/bin/sh
# deb: remove, purge, upgrade and others. rpm: 0 for a removal, 1 for an upgrade.
# A removal keeps settings and data; only purging takes them away.
set -e
case "$1" in
purge) rm -rf /var/lib/aptlyd ;;
esac
case "$1" in
remove | purge | 0)
	if [ -d /run/systemd/system ]; then
		systemctl daemon-reload
	fi
	;;
esac
