package torture

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// streamer follows all channels over one stream of Server-Sent Events after the other,
// each time from its cursor, or now and then from the beginning.
type streamer struct {
	*workload
	name   string
	random *rand.Rand
	cursor string
}

func (s *streamer) run() {
	for {
		to := s.pick(s.random)
		if s.random.IntN(6) == 0 {
			s.cursor = ""
		}
		l := &listening{
			workload: s.workload, session: s.tag(s.name), node: to.name,
			last: offsetsOf(s.cursor), from: offsetsOf(s.cursor),
		}
		if s.stream(l, to.address, time.Now().Add(time.Duration(1500+s.random.IntN(8000))*time.Millisecond)) {
			return
		}
		if f := s.finish.Load(); f != nil && time.Now().After(f.deadline) {
			s.caughtUp(s.tag(s.name), "", f.heads)
			return
		}
		time.Sleep(time.Duration(20+s.random.IntN(300)) * time.Millisecond)
	}
}

// offsetsOf returns what a cursor of all channels says of each. Clients do not look into
// one; the rules that are checked need to know where a stream begins.
func offsetsOf(cursor string) map[string]uint64 {
	names := slices.Sorted(slices.Values(channels))
	offsets := make(map[string]uint64)
	if parts := strings.Split(cursor, "."); len(parts) == 3 {
		for i, text := range strings.Split(parts[2], ",") {
			offsets[names[i]], _ = strconv.ParseUint(text, 10, 64)
		}
	}
	return offsets
}

// channelQuery names all channels that are logged.
func channelQuery() string { return url.Values{"channel": channels}.Encode() }

// stream listens until then, and when there is an end in sight up to that. It reports
// whether it got that far.
func (s *streamer) stream(l *listening, address string, until time.Time) (done bool) {
	socket, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return false
	}
	defer socket.Close()
	_ = socket.SetDeadline(time.Now().Add(5 * time.Second))
	_, err = fmt.Fprintf(socket, "GET /realtime/sse?%s&from=all HTTP/1.1\r\nHost: %s\r\nX-Api-Key: %s\r\n"+
		"Accept: text/event-stream\r\nLast-Event-ID: %s\r\n\r\n", channelQuery(), address, s.serverKey, s.cursor)
	if err != nil {
		return false
	}
	in := bufio.NewReader(socket)
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return false
	}
	body := bufio.NewReader(response.Body)
	var line, data, cursor string
	heard, joined := time.Now(), 0
	for {
		_ = socket.SetDeadline(time.Now().Add(200 * time.Millisecond))
		part, err := body.ReadString('\n')
		line += part
		switch {
		case err == nil:
			heard = time.Now()
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			line = ""
			switch name {
			case "data":
				data = value
			case "id":
				cursor = value
			case "":
				if data != "" {
					ok, subscribed := l.takeEvent(data)
					if !ok {
						return false
					}
					if subscribed {
						joined++
					}
				}
				if cursor != "" {
					s.cursor = cursor
					l.checkCursor(cursor)
				}
				data, cursor = "", ""
			}
		case !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(heard) > silence:
			return false
		}
		end := s.finish.Load()
		if end == nil {
			if time.Now().After(until) {
				return false
			}
			continue
		}
		if reached(l.last, end.heads) && joined == len(channels) || time.Now().After(end.deadline) {
			s.caughtUp(l.session, l.node, end.heads)
			return true
		}
	}
}

// checkCursor records a gap where a cursor says that the client has more than it has.
func (l *listening) checkCursor(cursor string) {
	for channel, offset := range offsetsOf(cursor) {
		if last := l.last[channel]; offset > last {
			l.recorder.Add(Event{
				Kind: Gap, Session: l.session, Node: l.node, Channel: channel, Offset: last + 1, Head: offset,
			})
		}
	}
}

// takeEvent takes the data of an event.
func (l *listening) takeEvent(data string) (ok, subscribed bool) {
	f := frame{Type: "message"}
	if json.Unmarshal([]byte(data), &f) != nil {
		return false, false
	}
	return l.take(f)
}
