package cluster

import "io"

// Session identifies one forwarder: a node process from start to end. A new
// process is a new session, so a sequence number is never used twice.
type Session [16]byte

// Machine is the replicated state that a Cluster drives. BeginEntry,
// ApplyBatch, Notify and Restore are called by one goroutine, in log order; the other methods may
// be called by any goroutine at any time. A Machine that cannot go on (its disk
// fails, it does not know a command) must stop the process: there is no error
// to return from a committed entry.
type Machine interface {
	// Applied returns index and term of the last entry consumed.
	Applied() (index, term uint64)
	// Stamp returns the stamp of the last entry consumed, Unix ms.
	Stamp() int64
	// Deadline returns the stamp at which something next expires, Unix ms, or 0.
	Deadline() int64

	// Check returns the feature level that a command belongs to, or why it must not
	// enter the log. It does not depend on what was applied. A foreign command comes from
	// another node, so nothing in it was checked on this one.
	Check(command []byte, foreign bool) (level uint32, err error)
	// Level returns the feature level that the commands applied so far prove every
	// member to have.
	Level() uint32

	// BeginEntry begins the next entry. Entries that carry no command (a
	// configuration change, a tick) are announced too, so that Applied covers
	// them. A stamp of 0 means that the entry brings none.
	BeginEntry(index, term uint64, stamp int64)
	// ApplyBatch applies the next commands of the entry. They are numbered seq by
	// their forwarder, which will not ask again for results up to acked.
	// A batch seen before is not applied again: its first results are returned.
	// When seq is not the one that follows, results is nil and next says which
	// number the state expects (1: the session is not known).
	// The slices in commands are the machine's to keep.
	ApplyBatch(session [16]byte, seq, acked uint64, commands [][]byte) (results [][]byte, next uint64)
	// Notify ends a run of entries: the machine tells its observers.
	Notify()

	// Flush returns once everything applied is durable.
	Flush() error
	// Snapshot opens the durable state as of index for reading. Its size in bytes
	// is exact. Applying goes on meanwhile.
	Snapshot() (r io.ReadCloser, size int64, index, term uint64, err error)
	// Restore replaces the whole state by an exported one, atomically: on error
	// or crash the old state is still there.
	Restore(r io.Reader) error
}
