//go:build !next

package node

import "context"

// useNext is what the tag "next" adds, for tests of an upgrade. Here nothing is.
func (n *Node) useNext(context.Context) {}
