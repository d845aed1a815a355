package bench

// Protocol is the language of one kind of broker. A swarm calls it from one goroutine.
// Members are numbered from 0.
type Protocol interface {
	// Transport says how bytes travel.
	Transport() Transport
	// AppendLogin appends what a member says first.
	AppendLogin(dst []byte, member int) []byte
	// AppendSubscribe appends what asks for a channel's messages after a position.
	AppendSubscribe(dst []byte, member int, channel string, after Position) []byte
	// AppendPublish appends the publication of data, a JSON string. The broker's
	// answer carries the id, which is not 0, or comes in order of publishing.
	AppendPublish(dst []byte, member int, channel string, id uint64, data []byte) []byte
	// Parse calls emit for everything that member was told. Its argument is one
	// WebSocket message, or the part of a stream that has not been used; it
	// returns how much of it is done with. Events share the argument's memory.
	Parse(data []byte, emit func(Event)) (used int, err error)
}

// Transport is how the bytes of a protocol travel.
type Transport struct {
	WebSocket bool   // else plain TCP
	Path      string // of the WebSocket
	Binary    bool   // what is sent are binary messages, else text
	Stream    bool   // what is received is one stream, however it is cut
	Silent    bool   // publications are not acknowledged
}

// Position is a place in a channel. The zero Position is where a new subscriber
// begins.
type Position struct {
	Offset uint64
	Epoch  string
}

// EventKind says what an Event tells.
type EventKind int

// The kinds of Event.
const (
	// Ready: what was asked for last, login or subscription, is done.
	Ready EventKind = iota
	// Delivered: a message.
	Delivered
	// Acknowledged: a publication is accepted.
	Acknowledged
	// Gap: messages from Offset to To will not come.
	Gap
	// Ping: the member sends Data back.
	Ping
	// Refused: the broker refuses something, in the words of Data.
	Refused
	// Changed: the members of the channel have changed, see Event.Change.
	Changed
	// Counted: the channel has Count members, which are too many to name.
	Counted
)

// Event is something that a broker told a member.
type Event struct {
	Kind     EventKind
	Channel  []byte // of Acknowledged without ID
	Data     []byte
	ID       uint64 // of Acknowledged; 0 where answers come in order
	Offset   uint64 // 0 where the broker has none
	To       uint64
	Earliest uint64 // of Ready: oldest message retained, where the broker tells
	Epoch    string // of Ready, where the broker has one
	Count    int    // of Counted
	Change   *MemberChange
}
