//go:build !planted

package node

import "github.com/aptlyd/aptlyd/fsm"

// plant is what the tag "planted" breaks, for test/torture to find. Here nothing is.
func (n *Node) plant(fsm.Publish) {}
