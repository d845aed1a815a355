package gateway

import (
	"net/http"
	"net/url"

	"github.com/aptlyd/aptlyd/gateway/httpio"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

const maxAdminBody = 1 << 20

func (s *Server) refuseAdmin(w http.ResponseWriter, r *http.Request, refused *refusal.Error) {
	s.refused(refused, "admin", s.requestPeer(r))
	httpio.WriteRefusal(w, refused, struct {
		Error string       `json:"error"`
		Code  refusal.Code `json:"code"`
	}{refused.Reason, refused.Code})
}

// adminBody reads the body of a call; an empty one has no field. The operator is judged
// anew, because a body may come long after the head that named them.
func (s *Server) adminBody(r *http.Request, shape *strictjson.Shape, values [][]byte) error {
	if r.ContentLength == 0 {
		return nil
	}
	body, refused := httpio.ReadBody(nil, r, maxAdminBody)
	if refused != nil {
		return refused
	}
	if op, ok := r.Context().Value(operatorKey{}).(operator); ok {
		by := op.actor()
		if err := s.cfg.Broker.Alive(by.Sender()); err != nil {
			return err
		}
	}
	if err := shape.Scan(body, strictjson.MaxNesting, values); err != nil {
		return refusal.New(refusal.InvalidMessage, err.Error())
	}
	return nil
}

// listQuery reads ?limit= and ?cursor=, which most lists take.
func listQuery(r *http.Request) (cursor string, limit int, query url.Values, err error) {
	query = r.URL.Query()
	n, err := httpio.QueryNumber(query, "limit", defaultLimit, strictjson.MaxWhole)
	if err != nil {
		return "", 0, nil, err
	}
	return query.Get("cursor"), int(min(max(n, 1), maxLimit)), query, nil
}

// cutPage cuts a list that was asked for with one item more than the limit, and
// returns where the next page begins: after the last item, or nowhere.
func cutPage[T any](items []T, limit int, name func(T) string) (page []T, next string) {
	if len(items) <= limit {
		return items, ""
	}
	return items[:limit], name(items[limit-1])
}

func (s *Server) clusterStatus(r *http.Request) (int, any, error) {
	status, err := s.cfg.Broker.Status(r.Context())
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, status, nil
}

func (s *Server) diagnosis(r *http.Request) (int, any, error) {
	findings, err := s.cfg.Broker.Diagnose(r.Context())
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, struct {
		Findings []Finding `json:"findings"`
	}{findings}, nil
}

func (s *Server) removeMember(r *http.Request) (int, any, error) {
	name := r.URL.Query().Get("name")
	if name == "" {
		return 0, nil, refusal.New(refusal.InvalidMessage, "name is missing in the query")
	}
	// First: what is done and not noted would be hidden, an attempt noted hides nothing.
	if err := s.cfg.Broker.Note(r.Context(), actorOf(r), "member.remove", name); err != nil {
		return 0, nil, err
	}
	if err := s.cfg.Broker.RemoveMember(r.Context(), name); err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, nil
}

func (s *Server) listChannels(r *http.Request) (int, any, error) {
	cursor, limit, query, err := listQuery(r)
	if err != nil {
		return 0, nil, err
	}
	active, err := httpio.QueryFlag(query, "active")
	if err != nil {
		return 0, nil, err
	}
	project, err := s.project(r)
	if err != nil {
		return 0, nil, err
	}
	if err := s.cfg.Broker.ReadYourWrites(r.Context()); err != nil {
		return 0, nil, err
	}
	found, err := s.cfg.Broker.Channels(r.Context(), ChannelQuery{
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
	}
	channels := make([]channelJSON, len(found))
	for i, c := range found {
		channels[i] = channelJSON{c.Name, c.Head, c.Earliest, c.Bytes, c.Subscribers}
	}
	return http.StatusOK, struct {
		Channels []channelJSON `json:"channels"`
		Next     string        `json:"next"`
	}{channels, next}, nil
}

func (s *Server) channelMessages(r *http.Request) (int, any, error) {
	channel, err := s.namedChannel(r)
	if err != nil {
		return 0, nil, err
	}
	op := operatorOf(r)
	page, err := s.beginReading(r.Context(), op.principal(), op.address, channel, r.URL.Query())
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, page, nil
}
