package gateway

import (
	"net/http"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// namedChannel returns the channel that a call's query names. Clients choose the
// names of channels, so one in a path could be made to mean another resource.
func (s *Server) namedChannel(r *http.Request) (fsm.ChannelKey, error) {
	project, err := s.project(r)
	if err != nil {
		return fsm.ChannelKey{}, err
	}
	name := r.URL.Query().Get("channel")
	if refused := auth.CheckChannel(name); refused != nil {
		return fsm.ChannelKey{}, refused
	}
	return fsm.ChannelKey{Project: project.ID, Name: name}, nil
}

func (s *Server) purgeChannel(r *http.Request) (int, any, error) {
	channel, err := s.namedChannel(r)
	if err != nil {
		return 0, nil, err
	}
	purge, forget := s.cfg.Broker.PurgeChannel, false
	switch r.URL.Query().Get("forget") {
	case "", "false":
	case "true":
		purge, forget = s.cfg.Broker.ForgetChannel, true
	default:
		return 0, nil, refusal.New(refusal.InvalidMessage, "forget is neither true nor false")
	}
	purged, err := purge(r.Context(), actorOf(r), channel)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, struct {
		Channel   string `json:"channel"`
		Purged    uint64 `json:"purged"`
		Offset    uint64 `json:"offset"`
		Forgotten bool   `json:"forgotten,omitempty"`
	}{channel.Name, purged.Messages, purged.Offset, forget}, nil
}

// forgetChannels forgets channels by what their names begin with, some at a time.
func (s *Server) forgetChannels(r *http.Request) (int, any, error) {
	project, err := s.project(r)
	if err != nil {
		return 0, nil, err
	}
	prefix := r.URL.Query().Get("prefix")
	if refused := auth.CheckChannel(prefix); refused != nil {
		return 0, nil, refusal.New(refusal.InvalidMessage, "prefix is not the beginning of a channel's name")
	}
	forgotten, more, err := s.cfg.Broker.ForgetChannels(r.Context(), actorOf(r), project.ID, prefix)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, struct {
		Prefix    string `json:"prefix"`
		Forgotten int    `json:"forgotten"`
		More      bool   `json:"more"`
	}{prefix, forgotten, more}, nil
}

var operatorPostShape = strictjson.Shape{Strict: true, Names: []string{"message", "id"}}

// publishAsOperator publishes to a channel as a server key of its project would.
func (s *Server) publishAsOperator(r *http.Request) (int, any, error) {
	channel, err := s.namedChannel(r)
	if err != nil {
		return 0, nil, err
	}
	var values [2][]byte
	if err := s.adminBody(r, &operatorPostShape, values[:]); err != nil {
		return 0, nil, err
	}
	id, refused := parseID(values[1])
	switch {
	case refused != nil:
		return 0, nil, refused
	case values[0] == nil:
		return 0, nil, refusal.New(refusal.InvalidMessage, "message is missing")
	case len(values[0]) > s.cfg.MaxMessageBytes:
		return 0, nil, refusal.New(refusal.MessageTooLarge, "message is too large")
	}
	by := actorOf(r)
	p := &posted{publish: fsm.Publish{Channel: channel, ID: id, Data: values[0], From: by.Sender()}}
	p.send(s)
	answer := p.result(r.Context(), s)
	if p.refusal != nil {
		return 0, nil, p.refusal
	}
	return http.StatusOK, answer, nil
}
