package gateway

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/httpio"
	"github.com/aptlyd/aptlyd/gateway/protocol"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/gateway/sse"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// Requests for events and long polls come in two ways. A clean head becomes a connection on
// its own descriptor. Everything else comes through net/http: TLS, POST, other versions of
// HTTP, and requests with something wrong. Behind that both are the same.

const serverKeyPrefix = "sk_"

// channelsOf returns the channels that a request names, for the credential that it shows.
type channelsOf func(text string) ([]op, *refusal.Error)

// newStream reads a request. inBody is nil where its query names the channels.
func (s *Server) newStream(h *sse.Head, inBody channelsOf) (*stream, *refusal.Error) {
	if err := h.Check(); err != nil {
		return nil, refusal.New(refusal.InvalidMessage, err.Error())
	}
	q, err := sse.ParseQuery(h.Query)
	if refused := keyInURL(&q); refused != nil {
		return nil, refused
	}
	if err != nil {
		return nil, refuseQuery(err)
	}
	text, inURL, refused := credentialOf(h, &q)
	if refused != nil {
		return nil, refused
	}
	var ops []op
	if inBody == nil {
		ops = opsOf(&q)
	} else if ops, refused = inBody(text); refused != nil {
		return nil, refused
	}
	s.resumeAt(cmp.Or(h.LastEventID, q.Cursor), ops)
	if len(ops) == 0 {
		return nil, refusal.New(refusal.InvalidChannel, "no channel is named: ?channel=NAME")
	}
	for _, o := range ops {
		if refused := auth.CheckChannel(o.channel); refused != nil {
			return nil, refused
		}
	}
	st := &stream{
		request:     &streamRequest{text: text, inURL: inURL, ops: ops, origin: strings.Clone(h.Origin)},
		takesEvents: h.TakesEvents,
	}
	if h.Poll {
		st.poll = &longPoll{wait: q.Wait, keepAlive: !h.Closes}
	}
	return st, nil
}

func refuseQuery(err error) *refusal.Error {
	if errors.Is(err, sse.ErrChannels) {
		return refusal.New(refusal.TooManyChannels, err.Error())
	}
	return refusal.New(refusal.InvalidMessage, err.Error())
}

// keyInURL refuses a server key in a URL, which servers on the way may have logged.
func keyInURL(q *sse.Query) *refusal.Error {
	for _, text := range q.Values {
		if !strings.HasPrefix(text, serverKeyPrefix) {
			continue
		}
		refused := &refusal.Error{
			Code:   refusal.KeyInURL,
			Reason: "a server key must not be part of a URL, and may have been logged on the way: revoke it",
			Detail: "a server key in the query of a request; it belongs into x-api-key or Authorization",
		}
		return refused.Of(auth.Unknown(text).Attempt(auth.Connect, ""))
	}
	return nil
}

// credentialOf returns the one credential that a request shows.
func credentialOf(h *sse.Head, q *sse.Query) (text string, inURL bool, refused *refusal.Error) {
	shown := 0
	for _, one := range []string{h.APIKey, h.Bearer, q.Key, q.Token} {
		if one != "" {
			shown++
		}
	}
	if shown > 1 {
		return "", false, refusal.New(refusal.InvalidMessage, "more than one key or token is given")
	}
	text = cmp.Or(h.APIKey, h.Bearer, q.Key, q.Token)
	return text, q.Key+q.Token != "", nil
}

var startKinds = map[string]protocol.StartKind{
	"": protocol.StartByRule, "live": protocol.StartLive, "all": protocol.StartAll,
	"last": protocol.StartLast, "time": protocol.StartTime,
}

// opsOf returns the subscribes of a query.
func opsOf(q *sse.Query) []op {
	start := protocol.StartPoint{From: startKinds[q.From.Kind], Offset: q.From.N, Time: int64(q.From.N)}
	ops := make([]op, len(q.Channels))
	for i, name := range q.Channels {
		ops[i] = op{channel: strings.Clone(name), start: start} // or the whole request would be kept with it
	}
	return ops
}

// resumeAt has subscribes go on at a cursor, whatever else the request says. A cursor of
// other channels or of another epoch counts as none.
func (s *Server) resumeAt(cursor string, ops []op) {
	if cursor == "" {
		return
	}
	names := make([]string, len(ops))
	for i, o := range ops {
		names[i] = o.channel
	}
	slices.Sort(names)
	epoch := s.cfg.Broker.Epoch()
	offsets, usable := sse.ParseCursor(cursor, epoch, names)
	for i := range ops {
		start := &ops[i].start
		if start.Lost = !usable; usable {
			at, _ := slices.BinarySearch(names, ops[i].channel)
			*start = protocol.StartPoint{From: protocol.StartAfter, Offset: offsets[at], Epoch: epoch}
		}
	}
}

// maxStreamBody bounds the body of a request for events.
const maxStreamBody = 64 << 10

var (
	streamShape  = strictjson.Shape{Names: []string{"channels"}}
	channelShape = strictjson.Shape{Names: []string{"name", "fromOffset", "epoch", "from"}}
)

// readStreamBody reads the body of a request for events. Nothing is read of it before it is
// known whose it is. A loop judges the caller again, with all that is left to judge.
func (s *Server) readStreamBody(w http.ResponseWriter, r *http.Request, text string) ([]op, *refusal.Error) {
	if text != "" {
		if refused := s.available(); refused != nil {
			return nil, refused.Of(auth.Unknown(text).Attempt(auth.Connect, ""))
		}
	}
	address := s.requestPeer(r).address
	who, refused := s.identifyNow(r.Context(), text, address)
	if refused != nil {
		return nil, refused.Of(who.Attempt(auth.Connect, ""))
	}
	most := maxStreamBody
	if r.ContentLength >= 0 {
		most = int(min(r.ContentLength, maxStreamBody))
	}
	leave, refused := s.admitBody(who, address, most, auth.Connect)
	if refused != nil {
		return nil, refused
	}
	defer leave()
	body, refused := httpio.ReadBody(w, r, maxStreamBody)
	if refused != nil {
		return nil, refused.Of(who.Attempt(auth.Connect, ""))
	}
	return parseStreamBody(body, s.cfg.MaxDepth)
}

// parseStreamBody reads the channels of a body.
func parseStreamBody(body []byte, depth int) ([]op, *refusal.Error) {
	var values [1][]byte
	if err := streamShape.Scan(body, depth, values[:]); err != nil {
		return nil, refusal.New(refusal.InvalidMessage, err.Error())
	}
	var ops []op
	var refused *refusal.Error
	err := strictjson.ScanArray(values[0], depth, func(raw []byte) error {
		var of [4][]byte
		if err := channelShape.Scan(raw, depth, of[:]); err != nil {
			return err
		}
		name, ok := strictjson.Unquote(of[0])
		var start protocol.StartPoint
		switch start, refused = protocol.ParseStart(of[1], of[3], of[2], nil); {
		case refused != nil:
			return refused
		case !ok:
			refused = refusal.New(refusal.InvalidChannel, "name is not a string of whole characters")
			return refused
		case slices.ContainsFunc(ops, func(o op) bool { return o.channel == name }):
			refused = refusal.New(refusal.InvalidChannel, "a channel is named twice")
			return refused
		case len(ops) == sse.MaxChannels:
			refused = refusal.New(refusal.TooManyChannels, sse.ErrChannels.Error())
			return refused
		}
		ops = append(ops, op{channel: name, start: start})
		return nil
	})
	if err != nil && refused == nil {
		refused = refusal.New(refusal.InvalidMessage, "channels is not a list of objects")
	}
	if refused == nil && len(ops) == 0 {
		refused = refusal.New(refusal.InvalidChannel, "no channel is named")
	}
	return ops, refused
}

// newStreamConn makes the connection of a request. It belongs to the loop.
func newStreamConn(l *loop, p peer, id uint64, st *stream) *conn {
	c := newConn(l, p, id)
	c.stream = st
	switch {
	case st.poll != nil:
		c.encoding = protocol.AsItems
	case len(st.request.ops) > 1:
		c.encoding = protocol.AsBlocks
	default:
		c.encoding = protocol.AsEvents
	}
	return c
}

// serveStream serves GET and POST /realtime/sse and GET /realtime/poll over net/http.
func (s *Server) serveStream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Referrer-Policy", "no-referrer")
	h, via := sse.HeadOf(r), "sse"
	if h.Poll {
		via = "poll"
	}
	refuse := func(refused *refusal.Error) { s.refuseVia(via, w, r, refused) }
	var inBody channelsOf
	switch {
	case r.Method == http.MethodPost && !h.Poll:
		inBody = func(text string) ([]op, *refusal.Error) { return s.readStreamBody(w, r, text) }
	case r.Method != http.MethodGet && h.Poll:
		s.refuseMethod(w, r, "GET, OPTIONS")
		return
	case r.Method != http.MethodGet:
		s.refuseMethod(w, r, "GET, POST, OPTIONS")
		return
	}
	st, refused := s.newStream(&h, inBody)
	if refused != nil {
		if inBody != nil {
			w.Header().Set("Connection", "close") // or net/http would wait for the body
		}
		refuse(refused)
		return
	}
	p := s.requestPeer(r)
	if h.Poll && !strings.HasPrefix(st.request.text, serverKeyPrefix) {
		// A loop would say so, too, and has others to serve.
		if refused := s.readings.refuse(auth.Principal{Kind: auth.PublicKey}, p.address); refused != nil {
			refuse(refused)
			return
		}
	}
	if s.draining.Load() || !s.admitConnection() {
		refuse(refusal.New(refusal.Unavailable, "no room for a connection"))
		return
	}
	p = newPeer(p.address, h.Origin, p.host.Value())
	if !s.countUnauthenticated(p.address) {
		s.connectionEnded()
		refuse(refuseUnauthenticated())
		return
	}
	gone := func() {
		s.connectionEnded()
		s.uncountUnauthenticated(p.address)
	}
	id, l := s.nextConnection()
	if h.Poll {
		st.poll.proven = func(who auth.Kind) { proven(r, who) } // or its socket would be idle for too long
		endRequestTurn(r.Context())
		relay := newPollRelay(l)
		attached := l.mail.post(func() {
			relay.conn = newStreamConn(l, p, id, st)
			l.adopt(relay.conn, relay, nil)
		})
		if !attached {
			gone()
			panic(http.ErrAbortHandler) // the node stops
		}
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(st.poll.wait + httpio.WriteTimeout))
		relay.serve(w, r)
		return
	}
	socket, early, err := s.hijack(w, nil)
	if err != nil {
		gone()
		s.cfg.Logger.Debug("take over connection", "address", r.RemoteAddr, "err", err)
		return
	}
	if !l.mail.post(func() { l.attach(newStreamConn(l, p, id, st), socket, early) }) {
		gone()
		_ = socket.Close()
	}
}

// refuseEvents answers a request for events with a passing refusal as an event: browsers do
// not come back after another status. It reports false for other requests and refusals.
func refuseEvents(w http.ResponseWriter, r *http.Request, refused *refusal.Error) bool {
	if !passing(refused) || strings.Trim(r.URL.Path, "/") != sse.EventsPath[1:] {
		return false
	}
	if h := sse.HeadOf(r); !h.TakesEvents {
		return false
	}
	head := w.Header()
	head.Set("Content-Type", "text/event-stream")
	head.Set("Cache-Control", "no-store, no-transform")
	head.Set("X-Accel-Buffering", "no")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Connection", "close")
	body := protocol.AppendRefusal(sse.AppendRetry(nil, retryRefused), protocol.AsEvents, refused, "", "")
	_, _ = w.Write(body) // where that fails the client has gone
	return true
}

// appendStreamRefusal appends a whole answer with a refusal.
func appendStreamRefusal(dst []byte, r *refusal.Error, origin string) []byte {
	body := refusalBody(r)
	head := sse.Answer{Status: r.HTTPStatus(), Origin: origin, Length: len(body)}
	if head.Status == http.StatusTooManyRequests || head.Status == http.StatusServiceUnavailable {
		head.RetryAfter = max(r.RetryAfter, time.Second)
	}
	return append(head.Append(dst, time.Now()), body...)
}
