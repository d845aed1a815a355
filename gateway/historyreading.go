package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/httpio"
	"github.com/aptlyd/aptlyd/gateway/ratelimit"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// History is read and written piece by piece: however large the answer and
// however slow the client, a piece is all that it holds. How many answers are
// under way, and how much is read in a second, is bounded for each address and
// key, so that the memory and the processors that it takes are.

const (
	// historyPiece bounds what is read of an answer at once, except for a message that
	// is larger.
	historyPiece = 64 << 10
	// publicHistoryBytes bounds one answer to a public key or token.
	publicHistoryBytes = 256 << 10
)

// readings bound the answers with history over HTTP.
type readings struct {
	inFlight  *ratelimit.InFlight
	turn      chan struct{}      // held while a piece is read, so that event loops get their share of the CPU
	addresses *ratelimit.Limiter // KiB, by address
	address   ratelimit.Rate
	node      ratelimit.Rate // of all that is not a backend's
	spent     *ratelimit.Limiter
}

func newReadings(l *Limits) *readings {
	return &readings{
		inFlight:  ratelimit.NewInFlight(l.MaxHistoryReads, l.MaxKeyHistoryReads, l.MaxAddressHistoryReads),
		turn:      make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		addresses: ratelimit.NewLimiter(), spent: ratelimit.NewLimiter(),
		address: steady(l.AddressHistory >> 10), node: steady(l.NodeHistory >> 10),
	}
}

// refuse refuses a reader who, or whose address, has read too much.
func (g *readings) refuse(who auth.Principal, address string) *refusal.Error {
	if !bound(who) {
		return nil
	}
	wait := max(g.addresses.Wait(clientaddr.NetworkOf(address), g.address), g.spent.Wait("", g.node))
	if wait == 0 {
		return nil
	}
	return &refusal.Error{
		Code: refusal.RateLimited, Reason: "too much history is read at once", RetryAfter: max(wait, time.Millisecond),
	}
}

// charge counts bytes that a reader is given.
func (g *readings) charge(who auth.Principal, address string, size int) {
	if bound(who) {
		g.addresses.Charge(clientaddr.NetworkOf(address), size>>10+1, g.address)
		g.spent.Charge("", size>>10+1, g.node)
	}
}

// reading is a page of history on its way to a client.
type reading struct {
	server  *Server
	who     auth.Principal
	address string
	key     fsm.ChannelKey
	after   uint64
	limit   int // messages
	most    int // bytes
	page    fsm.Page
	leave   func()
}

// beginReading reads the first piece of a page as query asks for it. The caller has to
// send the reading.
func (s *Server) beginReading(
	ctx context.Context, who auth.Principal, address string, key fsm.ChannelKey, query url.Values,
) (*reading, error) {
	if refused := auth.CheckChannel(key.Name); refused != nil {
		return nil, refused
	}
	after, err := httpio.QueryNumber(query, "after", 0, strictjson.MaxWhole)
	if err != nil {
		return nil, err
	}
	limit, err := httpio.QueryNumber(query, "limit", httpio.DefaultLimit, strictjson.MaxWhole)
	if err != nil {
		return nil, err
	}
	r := &reading{
		server: s, who: who, address: address, key: key,
		after: after, limit: int(min(limit, httpio.MaxLimit)), most: maxListBytes,
	}
	if bound(r.who) {
		r.most = publicHistoryBytes
	}
	if refused := s.readings.refuse(who, address); refused != nil {
		return nil, refused
	}
	leave, full := s.readings.inFlight.Enter(who.KeyID, clientaddr.NetworkOf(address), bound(r.who), 1)
	if full != "" {
		return nil, &refusal.Error{
			Code: refusal.RateLimited, Reason: "too many answers are under way " + full, RetryAfter: time.Second,
		}
	}
	r.leave = leave
	if err = s.cfg.Broker.ReadYourWrites(ctx); err == nil {
		err = r.next(ctx)
	}
	if err != nil {
		leave()
		return nil, err
	}
	return r, nil
}

// next reads the next piece.
func (r *reading) next(ctx context.Context) error {
	s := r.server
	select {
	case s.readings.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.readings.turn }()
	page, err := s.cfg.Broker.Read(ctx, r.key, r.after, r.limit, min(r.most, historyPiece))
	if err != nil {
		return err
	}
	r.page = page
	s.readings.charge(r.who, r.address, r.size())
	return nil
}

func (r *reading) size() (n int) {
	for _, m := range r.page.Messages {
		n += len(m.Data)
	}
	return n
}

// Send answers a request with the page. A client that does not take it is cut off in the
// middle of the answer.
func (r *reading) Send(w http.ResponseWriter, request *http.Request) {
	defer r.leave()
	w.Header().Set("Content-Type", "application/json")
	head := r.page.Head
	buf := append([]byte(`{"channel":`), strictjson.AppendQuoted(nil, r.key.Name)...)
	buf = append(append(buf, `,"epoch":`...), strictjson.AppendQuoted(nil, r.server.cfg.Broker.Epoch())...)
	buf = strconv.AppendUint(append(buf, `,"earliest":`...), r.page.Earliest, 10)
	buf = strconv.AppendUint(append(buf, `,"offset":`...), head, 10)
	buf = append(buf, `,"messages":[`...)
	out := http.NewResponseController(w)
	for sent := 0; ; {
		full := false
		for _, m := range r.page.Messages {
			if full = m.Offset > head || sent > 0 && len(m.Data) > r.most; full {
				break
			}
			if sent > 0 {
				buf = append(buf, ',')
			}
			buf = appendHistoryMessage(buf, m)
			r.after, r.limit, r.most = m.Offset, r.limit-1, r.most-len(m.Data)
			sent++
		}
		if full || len(r.page.Messages) == 0 || r.after >= head || r.limit <= 0 || r.most <= 0 {
			break
		}
		r.write(w, out, request, buf)
		buf = buf[:0]
		r.page = fsm.Page{}
		if err := r.next(request.Context()); err != nil {
			r.server.refused(r.server.refusalOf(err, "read history").Of(r.who.Attempt(auth.ReadHistory, r.key.Name)), "rest",
				r.server.requestPeer(request))
			panic(http.ErrAbortHandler) // the status is out: a cut answer is no answer
		}
	}
	r.write(w, out, request, append(buf, "]}\n"...))
}

// write gives the client a piece.
func (r *reading) write(w http.ResponseWriter, out *http.ResponseController, request *http.Request, piece []byte) {
	s := r.server
	err := out.SetWriteDeadline(time.Now().Add(s.cfg.HistoryTimeout))
	if errors.Is(err, http.ErrNotSupported) {
		err = nil // a recorder of tests
	}
	if err == nil {
		_, err = bytes.NewReader(piece).WriteTo(w)
	}
	if err == nil {
		err = out.Flush()
	}
	if err == nil || errors.Is(err, http.ErrNotSupported) {
		return
	}
	refused := &refusal.Error{
		Code: refusal.RateLimited, Reason: "the answer was not read in time",
		Detail: fmt.Sprintf("nothing of the answer was taken for %s, or the client has gone", s.cfg.HistoryTimeout),
	}
	s.refused(refused.Of(r.who.Attempt(auth.ReadHistory, r.key.Name)), "rest", s.requestPeer(request))
	panic(http.ErrAbortHandler)
}

func appendHistoryMessage(dst []byte, m fsm.Message) []byte {
	dst = strconv.AppendUint(append(dst, `{"offset":`...), m.Offset, 10)
	dst = strconv.AppendInt(append(dst, `,"timestamp":`...), m.Timestamp, 10)
	dst = append(append(dst, `,"data":`...), m.Data...)
	return append(dst, '}')
}
