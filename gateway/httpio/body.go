package httpio

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
	// WriteTimeout bounds how long an answer may take once the request has been read.
	WriteTimeout = 60 * time.Second
	// minBodyRate is the slowest average pace of a body after its first patience, in
	// bytes a second.
	minBodyRate = 1 << 10
)

// pacedBody is the body of a request with a deadline that follows its progress. A slow body
// may take its time; one that stands still or trickles may not.
type pacedBody struct {
	io.ReadCloser
	control  *http.ResponseController
	patience time.Duration
	began    time.Time
	received int64
}

// PaceBody gives the body of a request its deadlines: it is given up when nothing comes
// for so long, or too little on average. The first deadline also bounds what net/http does
// with a body that is not read.
func PaceBody(w http.ResponseWriter, r *http.Request, patience time.Duration) {
	if r.ContentLength == 0 {
		return
	}
	b := &pacedBody{ReadCloser: r.Body, control: http.NewResponseController(w), patience: patience, began: time.Now()}
	b.extend(b.began)
	r.Body = b
}

// deadline returns the time by which more of the body must have come, or all of it.
func (b *pacedBody) deadline(now time.Time) time.Time {
	end := b.began.Add(b.patience + time.Duration(b.received)*time.Second/minBodyRate)
	if stall := now.Add(b.patience); stall.Before(end) {
		return stall
	}
	return end
}

// extend moves the deadlines as far as the progress allows. On a socket that has ended this
// fails, and the next read says so.
func (b *pacedBody) extend(now time.Time) {
	end := b.deadline(now)
	_ = b.control.SetReadDeadline(end)
	_ = b.control.SetWriteDeadline(end.Add(WriteTimeout))
}

// Read implements io.Reader.
func (b *pacedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.received += int64(n)
	switch {
	case err == nil:
		b.extend(time.Now())
	case errors.Is(err, io.EOF): // net/http takes the read deadline back
		_ = b.control.SetWriteDeadline(time.Now().Add(WriteTimeout))
	}
	return n, err
}

// ReadBody returns the JSON text of a request. A text of more than limit bytes is refused,
// compressed or not.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int) ([]byte, *refusal.Error) {
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

// unsupported returns the refusal of a body in another form than JSON.
func unsupported(reason string) *refusal.Error {
	return &refusal.Error{Code: refusal.InvalidMessage, Reason: reason, Status: http.StatusUnsupportedMediaType}
}

// refuseBody returns why a body could not be read.
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
