package gateway

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/httpio"
	"github.com/aptlyd/aptlyd/gateway/presence"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// memberJSON is a member as REST and the admin API show it.
type memberJSON struct {
	ID          string          `json:"id"`
	Data        json.RawMessage `json:"data"`
	Since       int64           `json:"since"`
	Connections int             `json:"connections"`
}

// membersJSON is a page of the members of a channel.
type membersJSON struct {
	Channel     string       `json:"channel"`
	Count       int          `json:"count"`
	Subscribers int          `json:"subscribers"`
	Complete    bool         `json:"complete"` // false while the part of a node is not known
	Members     []memberJSON `json:"members"`
	Next        string       `json:"next"`
}

// listMembers returns a page of the members of a channel.
func (s *Server) listMembers(channel fsm.ChannelKey, cursor string, limit int) any {
	members, numbers := s.members.List(channel, cursor, limit+1)
	page := membersJSON{
		Channel: channel.Name, Count: numbers.Members, Subscribers: numbers.Subscribers,
		Complete: s.members.Complete(time.Now()), Members: make([]memberJSON, 0, min(len(members), limit)),
	}
	if len(members) > limit {
		members = members[:limit]
		page.Next = members[limit-1].ID
	}
	for _, m := range members {
		page.Members = append(page.Members, showMember(m))
	}
	return page
}

func showMember(m presence.Member) memberJSON {
	return memberJSON{m.ID, json.RawMessage(m.Data), m.Since, m.Connections}
}

// backend returns the caller of a route that only server keys may use.
func (s *Server) backend(w http.ResponseWriter, r *http.Request) (by caller, limit int, refused *refusal.Error) {
	if by, refused = s.authenticate(w, r); refused != nil {
		return by, 0, refused
	}
	attempt := by.Attempt(auth.SeeMembers, r.URL.Query().Get("channel"))
	if by.Kind != auth.ServerKey {
		return by, 0, refusal.New(refusal.Forbidden, "only a server key may ask this").Of(attempt)
	}
	n, err := httpio.QueryNumber(r.URL.Query(), "limit", httpio.DefaultLimit, strictjson.MaxWhole)
	if err != nil {
		return by, 0, s.refusalOf(err, "read a query").Of(attempt)
	}
	return by, int(min(max(n, 1), httpio.MaxLimit)), nil
}

// presenceOf serves GET /realtime/presence.
func (s *Server) presenceOf(w http.ResponseWriter, r *http.Request) {
	by, limit, refused := s.backend(w, r)
	name := r.URL.Query().Get("channel")
	if refused == nil {
		refused = auth.CheckChannel(name)
	}
	if refused != nil {
		s.refuseHTTP(w, r, refused)
		return
	}
	key := fsm.ChannelKey{Project: by.project.ID, Name: name}
	httpio.WriteJSON(w, http.StatusOK, s.listMembers(key, r.URL.Query().Get("cursor"), limit))
}

// occupiedJSON is a channel with what is in it.
type occupiedJSON struct {
	Name        string `json:"name"`
	Subscribers int    `json:"subscribers"`
	Members     int    `json:"members"`
	Offset      uint64 `json:"offset"`
}

// occupied serves GET /realtime/channels: the channels with at least so many subscribers or
// members.
func (s *Server) occupied(w http.ResponseWriter, r *http.Request) {
	by, limit, refused := s.backend(w, r)
	query := r.URL.Query()
	least, err := httpio.QueryNumber(query, "min", 1, strictjson.MaxWhole)
	if refused == nil && err != nil {
		refused = s.refusalOf(err, "read a query")
	}
	if refused != nil {
		s.refuseHTTP(w, r, refused)
		return
	}
	found, err := s.cfg.Broker.Channels(r.Context(), admin.ChannelQuery{
		Project: by.project.ID, Prefix: query.Get("prefix"), Active: least > 0, Min: int(least),
		Cursor: query.Get("cursor"), Limit: limit + 1,
	})
	if err != nil {
		s.refuseHTTP(w, r, s.refusalOf(err, "list channels"))
		return
	}
	answer := struct {
		Channels []occupiedJSON `json:"channels"`
		Complete bool           `json:"complete"`
		Next     string         `json:"next"`
	}{make([]occupiedJSON, 0, min(len(found), limit)), s.members.Complete(time.Now()), ""}
	if len(found) > limit {
		found = found[:limit]
		answer.Next = found[limit-1].Name
	}
	for _, c := range found {
		answer.Channels = append(answer.Channels, occupiedJSON{c.Name, c.Subscribers, c.Members, c.Head})
	}
	httpio.WriteJSON(w, http.StatusOK, answer)
}
