#!/bin/sh
# Runs three nodes on loopback until Ctrl-C. Their data stays in .cluster, so the
# next start goes on where this one ended.
set -eu
cd "$(dirname "$0")/.."
umask 077
mkdir -p .cluster
join=127.0.0.1:7411,127.0.0.1:7421,127.0.0.1:7431
pids=
stop() {
	trap - INT TERM EXIT
	kill -TERM $pids 2>/dev/null || true
	wait
}
trap stop INT TERM EXIT
for i in 1 2 3; do
	bin/aptlyd serve --node-name "node$i" --data-dir ".cluster/node$i" \
		--listen "127.0.0.1:808$i" --peer-listen "127.0.0.1:74${i}0" --gossip-listen "127.0.0.1:74${i}1" \
		--join "$join" --bootstrap-expect 3 --log-level warn &
	pids="$pids $!"
done
echo "nodes: ws://127.0.0.1:8081 ws://127.0.0.1:8082 ws://127.0.0.1:8083 (Ctrl-C stops all)"
wait
