package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/gobwas/ws"
)

// waitError is the error of a wait that its context ended, and says what the client last
// failed at. Only the context's error is in it: what failed last says nothing of an
// attempt that was still under way.
type waitError struct{ ended, last error }

func (e *waitError) Error() string {
	text := "given up"
	if errors.Is(e.ended, context.DeadlineExceeded) {
		text = "not in time"
	}
	if e.last == nil {
		return text + ": there was no answer"
	}
	return text + ": " + e.last.Error()
}

func (e *waitError) Unwrap() error { return e.ended }

// statusError is an answer over HTTP where a WebSocket was asked for.
type statusError struct {
	status int
	text   string // of the body, where it is short and for people
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("HTTP status %d %s instead of a WebSocket", e.status, http.StatusText(e.status))
	if e.text != "" {
		text += ": " + e.text
	}
	return text
}

// newStatusError reads an answer, of which no more than its beginning matters.
func newStatusError(status int, answer io.Reader) *statusError {
	e := &statusError{status: status}
	const enough = 64 << 10
	response, err := http.ReadResponse(bufio.NewReader(io.LimitReader(answer, enough)), nil)
	if err != nil {
		return e // the status says it
	}
	defer response.Body.Close()
	if to := response.Header.Get("Location"); to != "" && status/100 == 3 {
		e.text = "redirected to " + to
		return e
	}
	body := make([]byte, maxPlainReason+1)
	n, _ := io.ReadFull(response.Body, body) // short as a rule
	if text := bytes.TrimSpace(body[:n]); n <= maxPlainReason && !bytes.HasPrefix(text, []byte("<")) {
		e.text = strings.ToValidUTF8(string(text), "?")
	}
	return e
}

// hint says what the scheme of an endpoint has to do with an error of dialling it.
func hint(err error) error {
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &record):
		return fmt.Errorf("%w; where no TLS is spoken the address begins with http:// or ws://", err)
	case errors.Is(err, ws.ErrHandshakeBadProtocol), errors.Is(err, ws.ErrMalformedResponse):
		return fmt.Errorf("%w: no WebSocket is there; where TLS is spoken the address begins with https:// or wss://", err)
	}
	return err
}

// hopeless reports whether dialling the same endpoint again cannot end otherwise,
// unless somebody changes something: nobody there speaks this protocol, or not by this
// name.
func hopeless(err error) bool {
	if status, ok := errors.AsType[*statusError](err); ok {
		switch status.status {
		case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
			return false
		}
		return status.status/100 != 5
	}
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		return name.IsNotFound
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return true
	}
	var address *net.AddrError
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.As(err, &address), errors.As(err, &certificate), errors.As(err, &authority), errors.As(err, &host),
		errors.As(err, &record), errors.As(err, &alert):
		return true
	}
	for _, foreign := range []error{
		ws.ErrMalformedResponse, ws.ErrHandshakeBadProtocol, ws.ErrHandshakeBadUpgrade,
		ws.ErrHandshakeBadConnection, ws.ErrHandshakeBadSecAccept,
	} {
		if errors.Is(err, foreign) {
			return true
		}
	}
	return false
}
