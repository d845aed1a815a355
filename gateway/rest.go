package gateway

import (
	"context"
	"errors"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/httpio"
	"github.com/aptlyd/aptlyd/gateway/origin"
	"github.com/aptlyd/aptlyd/gateway/protocol"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

const (
	maxBatch      = 1000    // messages of one batch
	maxListBytes  = 1 << 20 // payload of one answer
	bodyAllowance = 8 << 10 // of a body besides its message
)

// caller is the sender of a REST request.
type caller struct {
	auth.Principal
	project *fsm.Project
	from    peer
}

// authenticate returns the caller of a REST request.
func (s *Server) authenticate(w http.ResponseWriter, r *http.Request) (caller, *refusal.Error) {
	var by caller
	if len(r.Header.Values("X-Api-Key")) > 1 || len(r.Header.Values("Origin")) > 1 {
		return by, refusal.New(refusal.InvalidMessage, "repeated header")
	}
	text := r.Header.Get("X-Api-Key")
	if text != "" {
		if refused := s.available(); refused != nil {
			return by, refused
		}
	}
	from := s.requestPeer(r)
	by.from = from
	var refused *refusal.Error
	if by.Principal, refused = s.identifyNow(r.Context(), text, from.address); refused != nil {
		return by, refused.Of(by.Principal.Attempt(auth.Connect, ""))
	}
	header, host := from.origin.Value(), from.host.Value()
	if by.project, refused = auth.Admit(by.Principal, header, host, s.cfg.Broker); refused != nil {
		w.Header().Del("Access-Control-Allow-Origin")
		return by, refused.Of(by.Principal.Attempt(auth.Connect, ""))
	}
	if by.Kind == auth.ServerKey &&
		!origin.Judge(by.project.AllowedOrigins, by.project.AllowNativeClients, header, host).Allowed {
		w.Header().Del("Access-Control-Allow-Origin")
	}
	if by.Kind != auth.ServerKey {
		refused = s.flooded(by.Principal, from.address)
		if refused == nil {
			refused = s.overloaded()
		}
		if refused != nil {
			return by, refused.Of(by.Principal.Attempt(auth.Connect, ""))
		}
	}
	s.cfg.Broker.KeyUsed(by.KeyID)
	proven(r, by.Kind)
	return by, nil
}

// bodyOf reads the body of a request and judges its caller anew: the body may have taken
// so long that the key has ended, or its origin is no longer allowed.
func (s *Server) bodyOf(by *caller, w http.ResponseWriter, r *http.Request, limit int) ([]byte, *refusal.Error) {
	body, refused := httpio.ReadBody(w, r, limit)
	if refused == nil {
		refused = s.available()
	}
	if refused == nil {
		if err := s.cfg.Broker.Alive(by.Sender()); err != nil {
			refused = s.refusalOf(err, "judge who publishes")
		}
	}
	if refused == nil {
		by.project, refused = auth.Admit(by.Principal, by.from.origin.Value(), by.from.host.Value(), s.cfg.Broker)
	}
	if refused != nil {
		return nil, refused.Of(by.Principal.Attempt(auth.Publish, ""))
	}
	return body, nil
}

// identifyNow identifies a caller, and asks the cluster when this node does not know the
// key.
func (s *Server) identifyNow(ctx context.Context, text, address string) (auth.Principal, *refusal.Error) {
	who, failed := auth.Identify(text, s.cfg.Broker)
	if failed == nil {
		return who, nil
	}
	if limited := s.failures.Count(address, text, failed); limited != nil {
		return who, limited
	}
	if !failed.Unknown {
		return who, failed.Refusal
	}
	endRequestTurn(ctx)
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	if err := s.cfg.Broker.CatchUp(ctx); err != nil {
		return who, s.refusalOf(err, "catch up for a key")
	}
	if who, failed = auth.Identify(text, s.cfg.Broker); failed != nil {
		return who, failed.Refusal
	}
	return who, nil
}

// may decides what a caller may do in a channel now.
func (s *Server) may(by caller, do auth.Action, channel string) *refusal.Error {
	if refused := auth.Authorise(by.Principal, do, by.project, channel); refused != nil {
		return refused
	}
	return s.throttleRequest(by.Principal, do, by.project, channel, by.from.address)
}

// publishResult is the answer to one publish over HTTP.
type publishResult struct {
	Success   bool         `json:"success"`
	Error     *string      `json:"error"`
	Code      refusal.Code `json:"code,omitempty"`
	Channel   string       `json:"channel,omitempty"`
	Offset    uint64       `json:"offset"`
	Timestamp int64        `json:"timestamp"`
	ID        string       `json:"id,omitempty"`
	Duplicate bool         `json:"duplicate,omitempty"`
}

// restPublish is a message on its way in from HTTP.
type restPublish struct {
	publish fsm.Publish
	refusal *refusal.Error
	outcome chan outcome
}

type outcome struct {
	receipt fsm.Receipt
	err     error
}

var (
	postShape  = strictjson.Shape{Names: []string{"channel", "message", "id"}}
	batchShape = strictjson.Shape{Names: []string{"messages"}}
)

// readPost takes apart one message as it comes over HTTP.
func (s *Server) readPost(by caller, raw []byte, id string) *restPublish {
	p := &restPublish{}
	var values [3][]byte
	if err := postShape.Scan(raw, s.cfg.MaxDepth, values[:]); err != nil {
		p.refusal = refusal.New(refusal.InvalidMessage, err.Error())
		return p
	}
	var badID *refusal.Error
	p.publish.ID, badID = protocol.ParseID(values[2]) // whatever else is wrong, the result has the id
	var channel string
	if channel, p.refusal = protocol.ParseChannel(values[0]); p.refusal != nil {
		return p
	}
	p.publish.Channel = fsm.ChannelKey{Project: by.project.ID, Name: channel}
	p.publish.From = by.Sender()
	if p.refusal = badID; p.refusal != nil {
		return p
	}
	switch {
	case id == "":
	case p.publish.ID == "":
		p.publish.ID = id
	case p.publish.ID != id:
		p.refusal = refusal.New(refusal.InvalidMessage, "id and Idempotency-Key differ")
		return p
	}
	if p.publish.Data = values[1]; p.publish.Data == nil {
		p.refusal = refusal.New(refusal.InvalidMessage, "message is missing")
	} else if len(p.publish.Data) > s.cfg.MaxMessageBytes {
		p.refusal = refusal.New(refusal.MessageTooLarge, "message is too large")
	} else {
		p.refusal = s.may(by, auth.Publish, channel)
	}
	return p
}

// send passes the message on unless it is refused already.
func (p *restPublish) send(s *Server) {
	if p.refusal != nil {
		return
	}
	p.outcome = make(chan outcome, 1)
	s.metrics.published.Add(1)
	s.traffic.Of(p.publish.Channel.Project).Publishes.Add(1)
	s.cfg.Broker.Publish([]fsm.Publish{p.publish}, func(_ int, r fsm.Receipt, err error) { p.outcome <- outcome{r, err} })
}

// result waits for the outcome of the message.
func (p *restPublish) result(ctx context.Context, s *Server) publishResult {
	res := publishResult{Channel: p.publish.Channel.Name, ID: p.publish.ID}
	if p.refusal == nil {
		select {
		case out := <-p.outcome:
			if out.err != nil {
				p.refusal = s.refusalOf(out.err, "publish")
				break
			}
			res.Success = true
			res.Offset, res.Timestamp, res.Duplicate = out.receipt.Offset, out.receipt.Timestamp, out.receipt.Duplicate
		case <-ctx.Done():
			p.refusal = refusal.New(refusal.OutcomeUnknown, "the request was given up")
		case <-s.ctx.Done():
			p.refusal = refusal.New(refusal.OutcomeUnknown, "node is stopping")
		}
	}
	if p.refusal != nil {
		res.Error, res.Code = &p.refusal.Reason, p.refusal.Code
	}
	return res
}

// refused returns the refusal with whose attempt it was.
func (p *restPublish) refused(by caller) *refusal.Error {
	if p.refusal.Action != "" {
		return p.refusal
	}
	return p.refusal.Of(by.Attempt(auth.Publish, p.publish.Channel.Name))
}

// beginBody decides whether the body of a publish is read at all, before its first byte.
// It refuses callers that may publish nowhere or have too much under way. The caller
// calls leave at the end.
func (s *Server) beginBody(
	by caller, w http.ResponseWriter, r *http.Request, most int,
) (leave func(), refused *refusal.Error) {
	defer func() {
		if refused != nil {
			w.Header().Set("Connection", "close") // or net/http would wait for the body
		}
	}()
	// Of a small one the refusal can name the channel.
	small := r.ContentLength >= 0 && r.ContentLength <= maxUnprivilegedBytes
	if !small && !auth.MayPublishAnywhere(by.Principal, by.project) {
		return nil, auth.Authorise(by.Principal, auth.Publish, by.project, "")
	}
	if r.ContentLength >= 0 {
		most = int(min(r.ContentLength, int64(most)))
	}
	return s.admitBody(by.Principal, by.from.address, most, auth.Publish)
}

// admitBody counts in the bytes of a body, unless too many are under way. The caller calls
// leave when the body has been read.
func (s *Server) admitBody(
	who auth.Principal, address string, most int, to auth.Action,
) (leave func(), refused *refusal.Error) {
	leave, full := s.bodies.Enter(who.KeyID, clientaddr.NetworkOf(address), bound(who), most)
	if full != "" {
		refused = &refusal.Error{
			Code: refusal.RateLimited, Reason: "too many bytes of bodies are under way " + full, RetryAfter: time.Second,
		}
		return nil, refused.Of(who.Attempt(to, ""))
	}
	return leave, nil
}

// publishOne serves POST /realtime.
func (s *Server) publishOne(w http.ResponseWriter, r *http.Request) {
	by, refused := s.authenticate(w, r)
	if refused != nil {
		s.refuseHTTP(w, r, refused)
		return
	}
	leave, refused := s.beginBody(by, w, r, s.cfg.MaxMessageBytes+bodyAllowance)
	if refused != nil {
		s.refuseHTTP(w, r, refused)
		return
	}
	defer leave()
	body, refused := s.bodyOf(&by, w, r, s.cfg.MaxMessageBytes+bodyAllowance)
	if refused != nil {
		s.refuseHTTP(w, r, refused)
		return
	}
	id, refused := idempotencyKey(r.Header.Values("Idempotency-Key"))
	if refused != nil {
		s.refuseHTTP(w, r, refused.Of(by.Principal.Attempt(auth.Publish, "")))
		return
	}
	p := s.readPost(by, body, id)
	p.send(s)
	res := p.result(r.Context(), s)
	if p.refusal != nil {
		s.refuseHTTP(w, r, p.refused(by))
		return
	}
	httpio.WriteJSON(w, http.StatusOK, res)
}

// idempotencyKey reads the Idempotency-Key header, empty when there is none. A string in
// quotes (RFC 9651 section 3.3.3), as in the IETF's draft of the header, means the text
// within. Everything else is taken as it is.
func idempotencyKey(values []string) (string, *refusal.Error) {
	if len(values) == 0 || len(values) == 1 && values[0] == "" {
		return "", nil
	}
	id := values[0]
	if text, quoted := unquoteField(id); quoted {
		id = text
	}
	if len(values) > 1 || id == "" || len(id) > protocol.MaxMessageID || !utf8.ValidString(id) {
		return "", refusal.New(refusal.InvalidMessage, "Idempotency-Key is not one value of 1 to 128 bytes")
	}
	return id, nil
}

// unquoteField returns the text of a structured field that is one string.
func unquoteField(field string) (string, bool) {
	if len(field) < 2 || field[0] != '"' || field[len(field)-1] != '"' {
		return "", false
	}
	inner := field[1 : len(field)-1]
	text := make([]byte, 0, len(inner))
	for i := 0; i < len(inner); i++ {
		b := inner[i]
		if b == '\\' && i+1 < len(inner) && (inner[i+1] == '"' || inner[i+1] == '\\') {
			i++
			b = inner[i]
		} else if b == '"' || b == '\\' || b < ' ' || b > '~' {
			return "", false
		}
		text = append(text, b)
	}
	return string(text), true
}

var errBatchSize = errors.New("a batch holds at most 1,000 messages")

// publishBatch serves POST /realtime/batch: one result for each message.
func (s *Server) publishBatch(w http.ResponseWriter, r *http.Request) {
	by, refused := s.authenticate(w, r)
	if refused != nil {
		s.refuseHTTP(w, r, refused)
		return
	}
	leave, refused := s.beginBody(by, w, r, s.cfg.MaxBatchBytes)
	if refused != nil {
		s.refuseHTTP(w, r, refused)
		return
	}
	defer leave()
	body, refused := s.bodyOf(&by, w, r, s.cfg.MaxBatchBytes)
	if refused != nil {
		s.refuseHTTP(w, r, refused)
		return
	}
	var values [1][]byte
	// Of one message that is nested too deeply the others are to know nothing.
	err := batchShape.Scan(body, strictjson.MaxNesting, values[:])
	var all []*restPublish
	if err == nil {
		err = strictjson.ScanArray(values[0], strictjson.MaxNesting, func(raw []byte) error {
			if len(all) == maxBatch {
				return errBatchSize
			}
			all = append(all, s.readPost(by, raw, ""))
			return nil
		})
	}
	if err != nil {
		s.refuseHTTP(w, r, refusal.New(refusal.InvalidMessage, err.Error()))
		return
	}
	for _, p := range all {
		p.send(s)
	}
	results := make([]publishResult, len(all))
	for i, p := range all {
		results[i] = p.result(r.Context(), s)
		if p.refusal != nil {
			s.refused(p.refused(by), "rest", s.requestPeer(r))
		}
	}
	httpio.WriteJSON(w, http.StatusOK, struct {
		Results []publishResult `json:"results"`
	}{results})
}

// history serves GET /realtime/history.
func (s *Server) history(w http.ResponseWriter, r *http.Request) {
	by, refused := s.authenticate(w, r)
	if refused != nil {
		s.refuseHTTP(w, r, refused)
		return
	}
	query := r.URL.Query()
	channel := query.Get("channel")
	if refused := s.may(by, auth.ReadHistory, channel); refused != nil {
		s.refuseHTTP(w, r, refused)
		return
	}
	key := fsm.ChannelKey{Project: by.project.ID, Name: channel}
	page, err := s.beginReading(r.Context(), by.Principal, by.from.address, key, query)
	if err != nil {
		s.refuseHTTP(w, r, s.refusalOf(err, "read history").Of(by.Principal.Attempt(auth.ReadHistory, channel)))
		return
	}
	page.Send(w, r)
}
