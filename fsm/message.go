package fsm

// ChannelKey names a channel. Names are unique within a project.
type ChannelKey struct {
	Project string // project id
	Name    string
}

// Message is one committed message of a channel. It is immutable, because all readers share
// Data.
type Message struct {
	Offset    uint64 // consecutive; a channel's first message usually has 1
	Timestamp int64  // the cluster's stamp, Unix milliseconds, never going back
	Data      []byte // the JSON value as published
}

// Appended holds the messages that one commit batch added to a channel, oldest first.
type Appended struct {
	Channel  ChannelKey
	Messages []Message
}

// ChannelInfo describes the bounds of a channel.
type ChannelInfo struct {
	Name     string
	Head     uint64 // offset of the newest message; 0 if nothing was ever published
	Earliest uint64 // oldest retained offset; Head+1 if nothing is retained
	Bytes    int64  // payload bytes retained
}

// Page is a run of consecutive messages of one channel, with the bounds of the channel when
// it was read.
type Page struct {
	Messages []Message // oldest first; shorter than asked for if a limit was reached
	Head     uint64
	Earliest uint64
}
