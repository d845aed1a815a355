package gateway

import (
	"net/http"

	"github.com/aptlyd/aptlyd/fsm"
)

// namedChannel returns the channel that a call's query names. Clients choose the
// names of channels, so one in a path could be made to mean another resource.
func (s *Server) namedChannel(r *http.Request) (fsm.ChannelKey, error) {
	project, err := s.project(r)
	if err != nil {
		return fsm.ChannelKey{}, err
	}
	name := r.URL.Query().Get("channel")
	if refusal := checkChannel(name); refusal != nil {
		return fsm.ChannelKey{}, refusal
	}
	return fsm.ChannelKey{Project: project.ID, Name: name}, nil
}

func (s *Server) purgeChannel(r *http.Request) (int, any, error) {
	channel, err := s.namedChannel(r)
	if err != nil {
		return 0, nil, err
	}
	purged, err := s.cfg.Broker.PurgeChannel(r.Context(), actorOf(r), channel)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, struct {
		Channel string `json:"channel"`
		Purged  uint64 `json:"purged"`
		Offset  uint64 `json:"offset"`
	}{channel.Name, purged.Messages, purged.Offset}, nil
}

var operatorPostShape = objectShape{strict: true, names: []string{"message", "id"}}

// publishAsOperator publishes to a channel as a server key of its project would.
func (s *Server) publishAsOperator(r *http.Request) (int, any, error) {
	channel, err := s.namedChannel(r)
	if err != nil {
		return 0, nil, err
	}
	var values [2][]byte
	if err := adminBody(r, &operatorPostShape, values[:]); err != nil {
		return 0, nil, err
	}
	id, refusal := parseID(values[1])
	switch {
	case refusal != nil:
		return 0, nil, refusal
	case values[0] == nil:
		return 0, nil, Refuse(CodeInvalidMessage, "message is missing")
	case len(values[0]) > s.cfg.MaxMessageBytes:
		return 0, nil, Refuse(CodeMessageTooLarge, "message is too large")
	}
	p := &posted{publish: fsm.Publish{Channel: channel, ID: id, Data: values[0]}}
	p.send(s)
	answer := p.result(r.Context(), s)
	if p.refusal != nil {
		return 0, nil, p.refusal
	}
	return http.StatusOK, answer, nil
}
