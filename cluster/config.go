package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
	"unicode/utf8"

	"github.com/aptlyd/aptlyd/cluster/gossip"
	"github.com/aptlyd/aptlyd/cluster/peer"
	"github.com/aptlyd/aptlyd/cluster/raftlog"
)

// Config says how a node takes part in its cluster. The zero value of every
// field below the line "Tunables" means its default.
type Config struct {
	// Dir is the data folder. The package owns node.json, lock, raft and
	// snapshots inside it.
	Dir string
	// NodeName is the node's name for people, unique among live members.
	NodeName string
	// PeerListener is bound already and becomes the Cluster's own.
	PeerListener net.Listener
	// GossipAddr is the "IP:port" that memberlist binds, TCP and UDP; port 0
	// picks one.
	GossipAddr string
	// Advertise is the host at which others reach this node. Empty means the
	// address of PeerListener, which then must be a specific one.
	Advertise string
	// Join lists gossip addresses of any nodes; it may name the node itself.
	Join []string
	// BootstrapExpect is the number of nodes that form the cluster the first
	// time, 1 when 0.
	BootstrapExpect int
	// Secrets are shared by the nodes of a cluster: a node proves itself with the
	// first and accepts all, so that the secret can change while the cluster runs.
	// Without any every address must be a loopback address.
	Secrets []string
	// Version is the program's version, told to the others.
	Version string
	// FeatureLevel, from 1, is told to the others; it says which commands the node
	// knows. Default 1.
	FeatureLevel uint32
	// Nothing is a command that changes nothing in the machine and that every version of
	// it knows. It is sent in the place of one that was withdrawn.
	Nothing []byte
	// Fatal is called when the node cannot go on: storage that fails, an entry
	// that cannot be decoded. It must not return but by ending the goroutine.
	Fatal func(error)
	// Handle answers a peer's Query. It may block until ctx ends.
	Handle func(ctx context.Context, from string, request []byte) ([]byte, error)
	// Receive takes a peer's Send and answers it. It must not block, and may keep message.
	Receive func(from string, message []byte) ([]byte, error)
	// Extra returns up to 512 bytes that Members shows on every node. May be nil.
	Extra func() []byte
	// Logger takes what is worth telling an operator.
	Logger *slog.Logger
	// Stalls watches applying, and what else the caller has it watch. It may be nil,
	// and is not closed by Close.
	Stalls *StallWatch
	// Synced is told of each write to the log: its time, syncing included, and its entries.
	// It may be nil.
	Synced func(took time.Duration, entries int)
	// Applied is told of each entry that was applied: its commands. It may be nil.
	Applied func(commands int)

	// Tunables

	// ElectionTimeout bounds a follower's wait for its leader. Default 500 ms.
	ElectionTimeout time.Duration
	// LeaderLease bounds the time that a leader leads without hearing a majority. Default
	// ElectionTimeout: before that no other node can lead.
	LeaderLease time.Duration
	// SubmitTimeout bounds a Submit. Default 10 s.
	SubmitTimeout time.Duration
	// MaxCommandBytes bounds one command. Default 2 MiB.
	MaxCommandBytes int
	// QueueBytes bounds what waits for the leader on this node. Default 64 MiB.
	QueueBytes int
	// BatchBytes is the size at which a batch or an entry is full. Default 256 KiB.
	BatchBytes int
	// ForwardWindow bounds the batches of a node that are on their way. Default 4.
	ForwardWindow int
	// EntryWindow bounds the entries of the leader that are on their way. Default 4.
	EntryWindow int
	// LogSegmentBytes is the size of one log file. Default 64 MiB.
	LogSegmentBytes int
	// LogCacheBytes bounds the memory for the newest entries. Default 16 MiB.
	LogCacheBytes int
	// SnapshotBytes is the size of log after which a snapshot is due. Default 64 MiB.
	SnapshotBytes int64
	// SnapshotEntries is the number of entries after which a snapshot is due.
	// Default 100,000.
	SnapshotEntries uint64
	// TrailingBytes is about the size of log that is kept behind a snapshot, so
	// that a node shortly away needs no snapshot. Default 64 MiB.
	TrailingBytes int64
	// WriteStall bounds one write to the log, after which the node gives
	// up. Default DefaultWriteStall.
	WriteStall time.Duration
	// NameFreeAfter is the silence of a member after which another node may
	// take its name. Default 30 s.
	NameFreeAfter time.Duration
	// LookUp returns the addresses of a host. Default: the system's resolver.
	LookUp func(ctx context.Context, host string) ([]net.IP, error)
	// WithoutNudge leaves it to Raft to tell followers of a commit. It exists so
	// that a benchmark can show the difference.
	WithoutNudge bool
}

// DefaultWriteStall bounds a write to the disk, after which the node
// counts as stalled.
const DefaultWriteStall = 2500 * time.Millisecond

// MaxVoters bounds how many members of a cluster vote.
const MaxVoters = 5

const maxExtraBytes = 512

// withDefaults fills the tunables that are zero.
func (c Config) withDefaults() Config {
	orDefault(&c.BootstrapExpect, 1)
	orDefault(&c.FeatureLevel, 1)
	orDefault(&c.ElectionTimeout, 500*time.Millisecond)
	orDefault(&c.LeaderLease, c.ElectionTimeout)
	orDefault(&c.SubmitTimeout, 10*time.Second)
	orDefault(&c.MaxCommandBytes, 2<<20)
	orDefault(&c.QueueBytes, 64<<20)
	orDefault(&c.BatchBytes, 256<<10)
	orDefault(&c.ForwardWindow, 4)
	orDefault(&c.EntryWindow, 4)
	orDefault(&c.LogSegmentBytes, 64<<20)
	orDefault(&c.LogCacheBytes, 16<<20)
	orDefault(&c.SnapshotBytes, 64<<20)
	orDefault(&c.SnapshotEntries, 100_000)
	orDefault(&c.TrailingBytes, 64<<20)
	orDefault(&c.WriteStall, DefaultWriteStall)
	orDefault(&c.NameFreeAfter, 30*time.Second)
	if c.Advertise == "" && c.PeerListener != nil {
		if addr, ok := c.PeerListener.Addr().(*net.TCPAddr); ok && !addr.IP.IsUnspecified() {
			c.Advertise = addr.IP.String()
		}
	}
	if c.LookUp == nil {
		c.LookUp = func(ctx context.Context, host string) ([]net.IP, error) {
			return net.DefaultResolver.LookupIP(ctx, "ip", host)
		}
	}
	if c.Applied == nil {
		c.Applied = func(int) {}
	}
	if c.Extra == nil {
		c.Extra = func() []byte { return nil }
	}
	return c
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate names the first field that is wrong. It expects the defaults filled in.
func (c Config) Validate() error {
	switch {
	case c.Dir == "":
		return errors.New("cluster: Dir is empty")
	case c.NodeName == "" || len(c.NodeName) > peer.MaxNameBytes || !utf8.ValidString(c.NodeName):
		return fmt.Errorf("cluster: NodeName must have 1 to %d bytes of UTF-8", peer.MaxNameBytes)
	case len(c.Version) > gossip.MaxVersionBytes:
		return fmt.Errorf("cluster: Version must have at most %d bytes", gossip.MaxVersionBytes)
	case c.PeerListener == nil:
		return errors.New("cluster: PeerListener is nil")
	case c.Advertise == "" || len(c.Advertise) > peer.MaxHostBytes:
		return fmt.Errorf("cluster: Advertise must name a host (at most %d bytes) "+
			"when the peer port listens on every address", peer.MaxHostBytes)
	case c.BootstrapExpect < 1 || c.BootstrapExpect > MaxVoters:
		return fmt.Errorf("cluster: BootstrapExpect must be between 1 and %d", MaxVoters)
	case len(c.Nothing) == 0:
		return errors.New("cluster: Nothing is empty")
	case c.Fatal == nil:
		return errors.New("cluster: Fatal is nil")
	case c.Handle == nil:
		return errors.New("cluster: Handle is nil")
	case c.Receive == nil:
		return errors.New("cluster: Receive is nil")
	case c.Logger == nil:
		return errors.New("cluster: Logger is nil")
	case c.ElectionTimeout < 5*time.Millisecond:
		return errors.New("cluster: ElectionTimeout is below 5ms")
	case c.LeaderLease > c.ElectionTimeout:
		return errors.New("cluster: LeaderLease is longer than ElectionTimeout")
	case c.MaxCommandBytes+c.BatchBytes > peer.MaxFrameBytes-peer.FrameOverhead:
		return fmt.Errorf("cluster: MaxCommandBytes and BatchBytes together exceed %d", peer.MaxFrameBytes-peer.FrameOverhead)
	case c.MaxCommandBytes < 0 || c.QueueBytes < 0 || c.BatchBytes < 0:
		return errors.New("cluster: MaxCommandBytes, QueueBytes and BatchBytes must be positive")
	case c.ForwardWindow < 0 || c.EntryWindow < 0:
		return errors.New("cluster: ForwardWindow and EntryWindow must be positive")
	}
	if err := gossip.CheckSize(c.NodeName, c.Advertise, c.Version); err != nil {
		return fmt.Errorf("cluster: NodeName, Advertise and Version together take %w", err)
	}
	gossipAddr, err := net.ResolveTCPAddr("tcp", c.GossipAddr)
	if err != nil {
		return fmt.Errorf("cluster: GossipAddr: %w", err)
	}
	if len(c.Secrets) > 0 {
		return nil
	}
	if addr, ok := c.PeerListener.Addr().(*net.TCPAddr); !ok || !addr.IP.IsLoopback() {
		return fmt.Errorf("cluster: without Secrets the peer port must listen on a loopback address, not %s",
			c.PeerListener.Addr())
	}
	if !gossipAddr.IP.IsLoopback() {
		return fmt.Errorf("cluster: without Secrets GossipAddr must be a loopback address, not %s", c.GossipAddr)
	}
	if !loopback(c.Advertise) {
		return fmt.Errorf("cluster: without Secrets Advertise must be a loopback address, not %s", c.Advertise)
	}
	for _, join := range c.Join {
		host, _, err := net.SplitHostPort(join)
		if err != nil {
			return fmt.Errorf("cluster: Join: %w", err)
		}
		if !loopback(host) {
			return fmt.Errorf("cluster: without Secrets Join must name loopback addresses, not %s", join)
		}
	}
	return nil
}

// loopback reports whether every address of host is a loopback one.
func loopback(host string) bool {
	ips, err := net.LookupIP(host)
	if err != nil {
		return false
	}
	for _, ip := range ips {
		if !ip.IsLoopback() {
			return false
		}
	}
	return len(ips) > 0
}

// logOptions says how the log in dir is kept.
func (c Config) logOptions(dir string, checked bool) raftlog.Options {
	return raftlog.Options{
		Dir:          dir,
		SegmentBytes: c.LogSegmentBytes,
		CacheBytes:   c.LogCacheBytes,
		WriteStall:   c.WriteStall,
		Checked:      checked,
		Fatal:        c.Fatal,
		Logger:       c.Logger,
		Synced:       c.Synced,
	}
}
