package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
)

// Listener is a Protocol whose subscribers speak plain HTTP, each on a connection with one
// channel. What they hear is a stream, however it is cut.
type Listener interface {
	Protocol
	// AppendListen appends the request of a subscriber. Its first answer is a Ready event.
	AppendListen(dst []byte, host, channel string, after Position) []byte
	// ParseListen is Parse for what a subscriber hears.
	ParseListen(data []byte, emit func(Event)) (used int, err error)
}

// listens reports whether a member is a subscriber of a Listener.
func (s *swarm) listens(m *member) bool { return s.listener != nil && m.channel != "" }

// sse is aptlyd's protocol with subscribers that get Server-Sent Events.
type sse struct{ aptly }

// AppendListen implements Listener.
func (p sse) AppendListen(dst []byte, host, channel string, after Position) []byte {
	dst = fmt.Appendf(dst, "GET /realtime/sse?channel=%s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n"+
		"X-Api-Key: %s\r\n", url.QueryEscape(channel), host, p.key)
	if after.Offset > 0 {
		dst = fmt.Appendf(dst, "Last-Event-ID: %s.%d\r\n", after.Epoch, after.Offset)
	}
	return append(dst, "\r\n"...)
}

var (
	headEnd      = []byte("\r\n\r\n")
	headBegin    = []byte("HTTP/1.1 ")
	headOK       = []byte("HTTP/1.1 200 ")
	blockEnd     = []byte("\n\n")
	dataField    = []byte("data: ")
	eventMessage = []byte(`{"channel":"`)
)

// ParseListen implements Listener.
func (p sse) ParseListen(data []byte, emit func(Event)) (used int, err error) {
	if bytes.HasPrefix(data, headBegin) {
		end := bytes.Index(data, headEnd)
		if end < 0 {
			return 0, nil
		}
		if !bytes.HasPrefix(data, headOK) {
			return 0, fmt.Errorf("the answer is %q", data)
		}
		used = end + len(headEnd)
	}
	for {
		end := bytes.Index(data[used:], blockEnd)
		if end < 0 {
			return used, nil
		}
		if err := p.parseBlock(data[used:used+end], emit); err != nil {
			return used, err
		}
		used += end + len(blockEnd)
	}
}

// parseBlock reads one event.
func (p sse) parseBlock(block []byte, emit func(Event)) error {
	at := bytes.Index(block, dataField)
	if at < 0 {
		return nil // a comment
	}
	text, _, _ := bytes.Cut(block[at+len(dataField):], []byte{'\n'})
	if at > 0 {
		_, err := p.Parse(text, emit) // it has a type
		return err
	}
	rest, ok := bytes.CutPrefix(text, eventMessage)
	if !ok {
		return fmt.Errorf("event: %q", text)
	}
	e, ok := scanData(rest)
	if !ok {
		return fmt.Errorf("event: %q", text)
	}
	emit(e)
	return nil
}

// longPoll is aptlyd's protocol with subscribers that poll.
type longPoll struct{ aptly }

// AppendListen implements Listener. The first poll waits for nothing, so that its answer
// shows that the client is there.
func (p longPoll) AppendListen(dst []byte, host, channel string, after Position) []byte {
	cursor := ""
	if after.Offset > 0 {
		cursor = after.Epoch + "." + strconv.FormatUint(after.Offset, 10)
	}
	return p.appendPoll(dst, host, channel, cursor, 0)
}

func (p longPoll) appendPoll(dst []byte, host, channel, cursor string, wait int) []byte {
	return fmt.Appendf(dst, "GET /realtime/poll?channel=%s&cursor=%s&wait=%d HTTP/1.1\r\nHost: %s\r\n"+
		"X-Api-Key: %s\r\n\r\n", url.QueryEscape(channel), cursor, wait, host, p.key)
}

var lengthField = []byte("\r\nContent-Length: ")

// ParseListen implements Listener. Each answer is followed by the next poll.
func (p longPoll) ParseListen(data []byte, emit func(Event)) (used int, err error) {
	for {
		rest := data[used:]
		end := bytes.Index(rest, headEnd)
		if end < 0 {
			return used, nil
		}
		at := bytes.Index(rest[:end+2], lengthField)
		if !bytes.HasPrefix(rest, headOK) || at < 0 {
			return used, fmt.Errorf("the answer is %q", rest)
		}
		digits, _, _ := bytes.Cut(rest[at+len(lengthField):], []byte{'\r'})
		length, err := strconv.Atoi(string(digits))
		if err != nil {
			return used, fmt.Errorf("the answer is %q: %w", rest[:end], err)
		}
		if end += len(headEnd); len(rest)-end < length {
			return used, nil
		}
		if err := p.parseAnswer(rest[end:end+length], emit); err != nil {
			return used, err
		}
		used += end + length
	}
}

func (p longPoll) parseAnswer(body []byte, emit func(Event)) error {
	var answer struct {
		Cursor, Epoch string
		Channels      []struct {
			Channel          string
			Offset, Earliest uint64
			Gap              *struct{ From, To uint64 }
			Messages         []struct {
				Offset uint64
				Data   json.RawMessage
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil || len(answer.Channels) != 1 {
		return fmt.Errorf("the answer is %q: %w", body, err)
	}
	channel := &answer.Channels[0]
	emit(Event{Kind: Ready, Offset: channel.Offset, Earliest: channel.Earliest, Epoch: answer.Epoch})
	if channel.Gap != nil {
		emit(Event{Kind: Gap, Offset: channel.Gap.From, To: channel.Gap.To})
	}
	for _, m := range channel.Messages {
		emit(Event{Kind: Delivered, Data: m.Data, Offset: m.Offset})
	}
	emit(Event{Kind: Ping, Data: p.appendPoll(nil, "localhost", channel.Channel, answer.Cursor, 55)})
	return nil
}
