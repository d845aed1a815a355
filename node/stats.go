package node

import (
	"encoding/json"

	"github.com/aptlyd/aptlyd/cluster"
)

// nodeStats travels to the other nodes with every heartbeat. Its encoding must fit into 256
// bytes.
type nodeStats struct {
	Connections int    `json:"connections"`
	StartedAt   int64  `json:"startedAt"` // Unix ms
	DiskUsed    uint64 `json:"diskUsed"`  // bytes in the data folder
	DiskFree    uint64 `json:"diskFree"`  // bytes left on its file system
	// PublicURL is its address for clients, empty unless it serves them and was told.
	PublicURL string `json:"url,omitempty"`
}

// stats returns this node's encoded stats.
func (n *Node) stats() []byte {
	url := ""
	if n.gateway.Serving() {
		url = n.cfg.PublicURL
	}
	encoded, err := json.Marshal(nodeStats{
		Connections: n.gateway.ConnectionCount(),
		StartedAt:   n.startedAt.UnixMilli(),
		DiskUsed:    n.disk.used.Load(),
		DiskFree:    n.disk.left.Load(),
		PublicURL:   url,
	})
	if err != nil {
		panic(err) // numbers and a string
	}
	return encoded
}

// statsOf returns a member's stats, all zero if none was heard yet.
func statsOf(m cluster.Member) nodeStats {
	var v nodeStats
	if err := json.Unmarshal(m.Extra, &v); err != nil || v.Connections < 0 || v.StartedAt < 0 {
		return nodeStats{}
	}
	return v
}
