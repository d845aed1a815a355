package sse

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// The paths of the two transports.
const (
	EventsPath = "/realtime/sse"
	PollPath   = "/realtime/poll"
)

const (
	// MaxChannels is how many channels one request may name.
	MaxChannels = 50
	// DefaultWait is how long a poll waits for messages unless it says so.
	DefaultWait = 25 * time.Second
	// MaxWait is how long it may wait at most. Many proxies give up after a minute.
	MaxWait = 55 * time.Second
)

// Head holds what the head of a request says, whoever has read it.
type Head struct {
	Poll          bool // a long poll, otherwise events
	Query         string
	Host          string
	Origin        string
	APIKey        string // X-Api-Key
	Bearer        string // of Authorization
	LastEventID   string
	TakesEvents   bool // accepts text/event-stream
	Closes        bool // wants no other request on the connection
	ForwardedFor  []string
	ForwardedHost []string

	repeated bool // a header that must be there once
	scheme   bool // Authorization has another scheme than Bearer
	fetch    string
	referrer string
}

// ErrRepeated refuses a header that two readers could each take for another value.
var ErrRepeated = errors.New("repeated header")

// ErrScheme refuses an Authorization header of another scheme.
var ErrScheme = errors.New("Authorization is not of the form: Bearer <key or token>")

// Check returns what is wrong with the head.
func (h *Head) Check() error {
	switch {
	case h.repeated:
		return ErrRepeated
	case h.scheme:
		return ErrScheme
	}
	return nil
}

// set notes a header, line by line.
func (h *Head) set(name, value string) {
	once := func(to *string) {
		h.repeated = h.repeated || *to != ""
		*to = value
	}
	switch name {
	case "host":
		once(&h.Host)
	case "origin":
		once(&h.Origin)
	case "x-api-key":
		once(&h.APIKey)
	case "authorization":
		scheme, text, _ := strings.Cut(value, " ")
		h.scheme = h.scheme || !strings.EqualFold(scheme, "Bearer")
		value = strings.Trim(text, " ")
		once(&h.Bearer)
	case "last-event-id":
		once(&h.LastEventID)
	case "sec-fetch-site":
		h.fetch = value
	case "referer":
		h.referrer = value
	case "accept":
		h.TakesEvents = h.TakesEvents || strings.Contains(strings.ToLower(value), "text/event-stream")
	case "connection":
		h.Closes = h.Closes || strings.Contains(strings.ToLower(value), "close")
	case "x-forwarded-for":
		h.ForwardedFor = append(h.ForwardedFor, value)
	case "x-forwarded-host":
		h.ForwardedHost = append(h.ForwardedHost, value)
	}
}

// finish fills in the origin of a page that asks its own host. Browsers leave it out of a
// GET, but say that it is such a request, and from which page.
func (h *Head) finish() {
	if h.Origin != "" || h.fetch != "same-origin" {
		return
	}
	if page, err := url.Parse(h.referrer); err == nil && page.Host != "" {
		h.Origin = page.Scheme + "://" + page.Host
	}
}

// ParseHead reads a head whose lines are known to be well formed. It reports false unless it
// is a request for events or a poll with nothing wrong. All others are for net/http to answer.
func ParseHead(head string) (h Head, clean bool) {
	first, rest, _ := strings.Cut(head, "\r\n")
	target, found := strings.CutPrefix(first, "GET ")
	if !found {
		return h, false
	}
	if target, found = strings.CutSuffix(target, " HTTP/1.1"); !found {
		return h, false
	}
	path, query, _ := strings.Cut(target, "?")
	if path != EventsPath && path != PollPath || strings.Contains(query, "#") {
		return h, false
	}
	h.Poll, h.Query = path == PollPath, query
	hosts := 0
	for line := range strings.SplitSeq(rest, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		switch name = strings.ToLower(name); name {
		case "content-length", "transfer-encoding", "trailer", "expect", "upgrade":
			return h, false
		case "host":
			hosts++
		}
		h.set(name, strings.Trim(value, " \t"))
	}
	h.finish()
	return h, hosts == 1 && clientaddr.IsHost(h.Host) && h.Check() == nil
}

// HeadOf returns the head of a request that net/http has read.
func HeadOf(r *http.Request) Head {
	h := Head{Poll: strings.Trim(r.URL.Path, "/") == PollPath[1:], Query: r.URL.RawQuery}
	h.set("host", r.Host)
	for name, values := range r.Header {
		for _, value := range values {
			h.set(strings.ToLower(name), value)
		}
	}
	h.Closes = h.Closes || r.Close
	h.finish()
	return h
}

// From says where a client begins that has no cursor. The zero value leaves it to the rule of
// the channel.
type From struct {
	Kind string // "live", "all", "last" or "time"
	N    uint64 // how many, or Unix ms
}

// Query holds what the query of a request says.
type Query struct {
	Channels []string // each once, in the order given
	From     From
	Cursor   string
	Key      string // credentials that a client shows that cannot set headers
	Token    string
	Wait     time.Duration
	Values   []string // of all that it has, except the names of channels
}

// ErrChannels refuses a request that names too many channels.
var ErrChannels = fmt.Errorf("more than %d channels", MaxChannels)

// ParseQuery reads a query. Names that it does not know mean nothing.
func ParseQuery(raw string) (Query, error) {
	q := Query{Wait: DefaultWait}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, errors.New("the query is not well formed")
	}
	for name, all := range values {
		if name != "channel" {
			q.Values = append(q.Values, all...)
		}
	}
	q.Channels = distinct(values["channel"])
	if len(q.Channels) > MaxChannels {
		return q, ErrChannels
	}
	var from, wait string
	for name, to := range map[string]*string{
		"from": &from, "cursor": &q.Cursor, "key": &q.Key, "token": &q.Token, "wait": &wait,
	} {
		if len(values[name]) > 1 {
			return q, fmt.Errorf("%s is given twice", name)
		}
		*to = values.Get(name)
	}
	if q.From, err = parseFrom(from); err != nil {
		return q, err
	}
	if wait != "" {
		seconds, err := strconv.ParseUint(wait, 10, 16)
		if q.Wait = time.Duration(seconds) * time.Second; err != nil || q.Wait > MaxWait {
			return q, errors.New("wait is not a whole number of seconds from 0 to 55")
		}
	}
	return q, nil
}

var errFrom = errors.New("from is none of live, all, last:N, time:ms")

func parseFrom(text string) (From, error) {
	kind, number, counts := strings.Cut(text, ":")
	switch {
	case text == "" || text == "live" || text == "all":
		return From{Kind: text}, nil
	case !counts || kind != "last" && kind != "time":
		return From{}, errFrom
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || n > strictjson.MaxWhole {
		return From{}, errFrom
	}
	return From{kind, n}, nil
}

// distinct returns the names without those that came before.
func distinct(names []string) []string {
	if len(names) == 1 {
		return names
	}
	seen := make(map[string]bool, len(names))
	return slices.DeleteFunc(names, func(name string) bool {
		before := seen[name]
		seen[name] = true
		return before
	})
}
