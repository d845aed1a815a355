#!/bin/sh
# deb: configure [VERSION-BEFORE] and others. rpm: 1 for an installation, 2 for an upgrade.
set -e
case "$1" in
configure) if [ -z "$2" ]; then what=installed; else what=upgraded; fi ;;
1) what=installed ;;
2) what=upgraded ;;
*) what=nothing ;;
esac
# The offline commands, such as restore, need the folder before the first start.
[ -d /var/lib/aptlyd ] || install -d -m 0700 -o aptlyd -g aptlyd /var/lib/aptlyd
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# A node that runs goes on as the new version, a stopped one stays stopped. Nobody waits
	# until it serves: that takes a majority of the nodes.
	[ $what != upgraded ] || systemctl --no-block try-restart aptlyd.service
fi
# It is not started: a node that began alone cannot form a cluster with others.
[ $what != installed ] || echo "aptlyd: edit /etc/aptlyd/aptlyd.yaml, then: systemctl enable --now --no-block aptlyd"
