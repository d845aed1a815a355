package gossip

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/hashicorp/memberlist"

	"github.com/aptlyd/aptlyd/cluster/peer"
)

// MaxVersionBytes bounds the text of a node's version.
const MaxVersionBytes = 63

// Meta describes a node in gossip. It is only a hint: members prove themselves on the
// peer port.
type Meta struct {
	Name    string `json:"n"`
	Peer    string `json:"p"` // host:port of the peer port
	Cluster string `json:"c,omitempty"`
	Version string `json:"v,omitempty"`
	Feature uint32 `json:"f,omitempty"`
	// Start counts the starts of the node: of two metadata about it, the one with
	// the higher count is the later.
	Start uint64 `json:"s"`
}

// Neighbour is a node heard of by gossip.
type Neighbour struct {
	Meta
	ID   string
	Addr string // host:port of its gossip
}

// CheckSize returns an error when the metadata of a node could exceed a datagram's room,
// given the texts in it that its operator chooses.
func CheckSize(name, host, version string) error {
	longest, err := json.Marshal(Meta{
		Name: name, Peer: net.JoinHostPort(host, "65535"), Cluster: uuid.Nil.String(),
		Version: version, Feature: math.MaxUint32, Start: math.MaxUint64,
	})
	if err != nil {
		return err
	}
	if len(longest) > memberlist.MetaMaxSize {
		return fmt.Errorf("%d bytes of gossip, at most %d fit", len(longest), memberlist.MetaMaxSize)
	}
	return nil
}

// check returns an error unless the metadata is valid and fits the node's name in memberlist.
func (m Meta) check(name string) error {
	id, start, _ := strings.Cut(name, "/")
	if err := errors.Join(peer.CheckID(id), peer.CheckName(m.Name), peer.CheckAddress(m.Peer)); err != nil {
		return err
	}
	if m.Cluster != "" {
		if err := peer.CheckID(m.Cluster); err != nil {
			return err
		}
	}
	if start != strconv.FormatUint(m.Start, 10) {
		return fmt.Errorf("start %q of %d", peer.Excerpt(start), m.Start)
	}
	if len(m.Version) > MaxVersionBytes || !utf8.ValidString(m.Version) {
		return fmt.Errorf("version of %d bytes", len(m.Version))
	}
	return nil
}

// memberName is memberlist's name of a node that was started so many times.
func memberName(id string, start uint64) string { return fmt.Sprintf("%s/%d", id, start) }
