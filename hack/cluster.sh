#!/bin/sh
# Runs three nodes on loopback until Ctrl-C. Their data stays in .cluster, so the
# next start goes on where this one ended. With a number it runs that node alone, after
# it was killed.
set -eu
cd "$(dirname "$0")/.."
umask 077
mkdir -p .cluster
# The nodes share a secret, so that nobody else on this machine can act as one. Folders
# of before that go on without.
secret=.cluster/cluster-secret
if [ ! -f "$secret" ] && [ ! -d .cluster/node1 ]; then
	head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$secret"
fi
if [ -f "$secret" ]; then
	APTLYD_CLUSTER_SECRET=$(cat "$secret")
	export APTLYD_CLUSTER_SECRET
fi
join=127.0.0.1:7411,127.0.0.1:7421,127.0.0.1:7431
pids=
# A Ctrl-C reaches the nodes by itself, and a second signal would cut their
# draining short; any other end has to be passed on.
stop() {
	trap '' INT TERM
	[ "$1" = INT ] || kill -TERM $pids 2>/dev/null || true
	wait
	exit 0
}
trap 'stop INT' INT
trap 'stop TERM' TERM
node() {
	exec bin/aptlyd serve --node-name "node$1" --data-dir ".cluster/node$1" \
		--listen "127.0.0.1:808$1" --peer-listen "127.0.0.1:74${1}0" --gossip-listen "127.0.0.1:74${1}1" \
		--join "$join" --bootstrap-expect 3 --log-level warn
}
if [ $# -gt 0 ]; then
	node "$1"
fi
for i in 1 2 3; do
	node "$i" &
	pids="$pids $!"
	last="kill -9 $!    # ends node$i; to start it again: hack/cluster.sh $i"
done
echo "nodes: ws://127.0.0.1:8081 ws://127.0.0.1:8082 ws://127.0.0.1:8083 (Ctrl-C stops all)"
echo "$last"
wait
