package admin

import (
	"net/http"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/httpio"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

func (h *Handler) listChannels(r *http.Request) (int, any, error) {
	cursor, limit, query, err := listQuery(r)
	if err != nil {
		return 0, nil, err
	}
	active, err := httpio.QueryFlag(query, "active")
	if err != nil {
		return 0, nil, err
	}
	project, err := h.project(r)
	if err != nil {
		return 0, nil, err
	}
	if err := h.cfg.Broker.ReadYourWrites(r.Context()); err != nil {
		return 0, nil, err
	}
	found, err := h.cfg.Broker.Channels(r.Context(), ChannelQuery{
		Project: project.ID, Prefix: query.Get("prefix"), Active: active, Cursor: cursor, Limit: limit + 1,
	})
	if err != nil {
		return 0, nil, err
	}
	found, next := cutPage(found, limit, func(c ChannelStatus) string { return c.Name })
	type channelJSON struct {
		Name        string `json:"name"`
		Offset      uint64 `json:"offset"`
		Earliest    uint64 `json:"earliest"`
		Bytes       int64  `json:"bytes"`
		Subscribers int    `json:"subscribers"`
		Members     int    `json:"members"`
	}
	channels := make([]channelJSON, len(found))
	for i, c := range found {
		channels[i] = channelJSON{c.Name, c.Head, c.Earliest, c.Bytes, c.Subscribers, c.Members}
	}
	return http.StatusOK, struct {
		Channels []channelJSON `json:"channels"`
		Next     string        `json:"next"`
	}{channels, next}, nil
}

// listMembers lists the members of a channel.
func (h *Handler) listMembers(r *http.Request) (int, any, error) {
	cursor, limit, _, err := listQuery(r)
	if err != nil {
		return 0, nil, err
	}
	channel, err := h.namedChannel(r)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, h.cfg.Members(channel, cursor, limit), nil
}

func (h *Handler) channelMessages(r *http.Request) (int, any, error) {
	channel, err := h.namedChannel(r)
	if err != nil {
		return 0, nil, err
	}
	op := operatorOf(r)
	page, err := h.cfg.ReadHistory(r.Context(), op.principal(), op.address, channel, r.URL.Query())
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, page, nil
}

// namedChannel returns the channel that a call's query names. Clients choose the names of
// channels, so a name in a path could be made to mean another resource.
func (h *Handler) namedChannel(r *http.Request) (fsm.ChannelKey, error) {
	project, err := h.project(r)
	if err != nil {
		return fsm.ChannelKey{}, err
	}
	name := r.URL.Query().Get("channel")
	if refused := auth.CheckChannel(name); refused != nil {
		return fsm.ChannelKey{}, refused
	}
	return fsm.ChannelKey{Project: project.ID, Name: name}, nil
}

func (h *Handler) purgeChannel(r *http.Request) (int, any, error) {
	channel, err := h.namedChannel(r)
	if err != nil {
		return 0, nil, err
	}
	purge, forget := h.cfg.Broker.PurgeChannel, false
	switch r.URL.Query().Get("forget") {
	case "", "false":
	case "true":
		purge, forget = h.cfg.Broker.ForgetChannel, true
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

// forgetChannels forgets the channels whose names begin with a prefix, some at a time.
func (h *Handler) forgetChannels(r *http.Request) (int, any, error) {
	project, err := h.project(r)
	if err != nil {
		return 0, nil, err
	}
	prefix := r.URL.Query().Get("prefix")
	if refused := auth.CheckChannel(prefix); refused != nil {
		return 0, nil, refusal.New(refusal.InvalidMessage, "prefix is not the beginning of a channel's name")
	}
	forgotten, more, err := h.cfg.Broker.ForgetChannels(r.Context(), actorOf(r), project.ID, prefix)
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
func (h *Handler) publishAsOperator(r *http.Request) (int, any, error) {
	channel, err := h.namedChannel(r)
	if err != nil {
		return 0, nil, err
	}
	var values [2][]byte
	if err := h.body(r, &operatorPostShape, values[:]); err != nil {
		return 0, nil, err
	}
	by := actorOf(r)
	answer, refused := h.cfg.Publish(r.Context(), by.Sender(), channel, values[0], values[1])
	if refused != nil {
		return 0, nil, refused
	}
	return http.StatusOK, answer, nil
}
