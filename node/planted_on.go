//go:build planted

package node

import (
	"os"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

var plantedEarly = os.Getenv("APTLYD_PLANTED") == "deliver-before-commit"

// plant delivers a message to the clients of this node at once, under the offset
// that it is likely to get.
func (n *Node) plant(p fsm.Publish) {
	if !plantedEarly {
		return
	}
	if info, err := n.state.Channel(p.Channel); err == nil {
		m := fsm.Message{Offset: info.Head + 1, Timestamp: time.Now().UnixMilli(), Data: p.Data}
		n.gateway.Appended([]fsm.Appended{{Channel: p.Channel, Messages: []fsm.Message{m}}})
	}
}
