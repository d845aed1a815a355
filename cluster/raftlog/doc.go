// Package raftlog is Raft's log on the disk, over raft-wal: checksums, repairs and a
// watchdog around it. It knows nothing of what an entry means, nor of other nodes.
package raftlog
