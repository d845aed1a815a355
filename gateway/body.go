package gateway

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

const (
	// writeTimeout bounds how long an answer may take, from the end of the request on.
	writeTimeout = 60 * time.Second
	// minBodyRate is how fast a body must come on average once its first BodyTimeout
	// is over, in bytes a second.
	minBodyRate = 1 << 10
)

// pacedBody is the body of a request with a deadline that follows its progress: a slow
// body may take its time, one that stands still or trickles may not.
type pacedBody struct {
	io.ReadCloser
	control  *http.ResponseController
	patience time.Duration
	began    time.Time
	received int64
}

// pace gives the body of a request its deadlines. The first one also bounds what
// net/http does with a body that nobody reads.
func (s *Server) pace(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 {
		return
	}
	b := &pacedBody{ReadCloser: r.Body, control: http.NewResponseController(w), patience: s.cfg.BodyTimeout, began: time.Now()}
	b.extend(b.began)
	r.Body = b
}

// deadline is until when something more must have come, or everything.
func (b *pacedBody) deadline(now time.Time) time.Time {
	end := b.began.Add(b.patience + time.Duration(b.received)*time.Second/minBodyRate)
	if stall := now.Add(b.patience); stall.Before(end) {
		return stall
	}
	return end
}

// extend moves the deadlines as far as the progress allows. A socket that has ended
// cannot have them, which a read then says.
func (b *pacedBody) extend(now time.Time) {
	end := b.deadline(now)
	_ = b.control.SetReadDeadline(end)
	_ = b.control.SetWriteDeadline(end.Add(writeTimeout))
}

func (b *pacedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.received += int64(n)
	switch {
	case err == nil:
		b.extend(time.Now())
	case errors.Is(err, io.EOF): // net/http takes the read deadline back
		_ = b.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	}
	return n, err
}

// readBody returns the JSON text of a request, at most limit bytes of it, also where
// it was compressed.
func readBody(w http.ResponseWriter, r *http.Request, limit int) ([]byte, *refusal.Error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset, given := params["charset"]
	if err != nil || kind != "application/json" || given && !strings.EqualFold(charset, "utf-8") {
		return nil, unsupported("Content-Type is not application/json")
	}
	var body io.Reader = http.MaxBytesReader(w, r.Body, int64(limit))
	switch coding := strings.ToLower(strings.TrimSpace(strings.Join(r.Header.Values("Content-Encoding"), ","))); coding {
	case "", "identity":
	case "gzip", "x-gzip":
		unzipped, err := gzip.NewReader(body)
		if err != nil {
			return nil, refuseBody(err, r)
		}
		body = io.LimitReader(unzipped, int64(limit)+1)
	default:
		if w != nil {
			w.Header().Set("Accept-Encoding", "gzip") // RFC 9110 section 12.5.3
		}
		return nil, unsupported(fmt.Sprintf("Content-Encoding %s is not known here, only gzip is", refusal.Clip(coding)))
	}
	text, err := io.ReadAll(body)
	switch {
	case err != nil:
		return nil, refuseBody(err, r)
	case len(text) > limit:
		return nil, refusal.New(refusal.MessageTooLarge, "body is too large")
	case !utf8.Valid(text):
		return nil, refusal.New(refusal.InvalidMessage, "body is not valid UTF-8")
	}
	return text, nil
}

func unsupported(reason string) *refusal.Error {
	return &refusal.Error{Code: refusal.InvalidMessage, Reason: reason, Status: http.StatusUnsupportedMediaType}
}

// refuseBody says why a body could not be read.
func refuseBody(err error, r *http.Request) *refusal.Error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return refusal.New(refusal.MessageTooLarge, "body is too large")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refusal.New(refusal.RequestTimeout, "body did not come in time")
	case r.Header.Get("Content-Encoding") != "":
		return refusal.New(refusal.InvalidMessage, "body is not what its Content-Encoding says")
	}
	return refusal.New(refusal.InvalidMessage, "body could not be read")
}
