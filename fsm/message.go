package fsm

// ChannelKey names a channel: names are unique within a project.
type ChannelKey struct {
	Project string // project id
	Name    string
}

// Message is one committed message of a channel. It is immutable: Data is
// shared between everyone who reads it.
type Message struct {
	Offset    uint64 // 1 for a channel's first message, then without a hole
	Timestamp int64  // the cluster's stamp, Unix milliseconds, never going back
	Data      []byte // the JSON value as it was published
}

// Appended is what one commit batch added to one channel: consecutive
// messages, oldest first.
type Appended struct {
	Channel  ChannelKey
	Messages []Message
}

// ChannelInfo says how far a channel reaches and what is retained of it.
type ChannelInfo struct {
	Name     string
	Head     uint64 // offset of the newest message; 0 when nothing was ever published
	Earliest uint64 // oldest retained offset; Head+1 when nothing is retained
	Bytes    int64  // payload bytes retained
}

// Page is a run of consecutive messages of one channel together with the
// bounds of the channel at the moment of reading.
type Page struct {
	Messages []Message // oldest first; shorter than asked for when a limit was reached
	Head     uint64
	Earliest uint64
}
