package gateway

import "net/http"

// listConnections serves GET /connections: those of the whole cluster by id.
func (s *Server) listConnections(r *http.Request) (int, any, error) {
	cursor, limit, query, err := listQuery(r)
	if err != nil {
		return 0, nil, err
	}
	return s.connectionPage(r, ConnectionQuery{
		Project: query.Get("project"), KeyID: query.Get("key"), Cursor: cursor, Limit: limit,
	})
}

// keyConnections serves GET /keys/{id}/connections.
func (s *Server) keyConnections(r *http.Request) (int, any, error) {
	cursor, limit, _, err := listQuery(r)
	if err != nil {
		return 0, nil, err
	}
	return s.connectionPage(r, ConnectionQuery{KeyID: r.PathValue("id"), Cursor: cursor, Limit: limit})
}

func (s *Server) connectionPage(r *http.Request, q ConnectionQuery) (int, any, error) {
	limit := q.Limit
	q.Limit++ // one more tells whether there is a next page
	found, err := s.cfg.Broker.Connections(r.Context(), q)
	if err != nil {
		return 0, nil, err
	}
	found, next := cutPage(found, limit, func(c ConnectionStatus) string { return c.ID })
	if found == nil {
		found = []ConnectionStatus{}
	}
	return http.StatusOK, struct {
		Connections []ConnectionStatus `json:"connections"`
		Next        string             `json:"next"`
	}{found, next}, nil
}

// disconnect serves DELETE /connections/{id}.
func (s *Server) disconnect(r *http.Request) (int, any, error) {
	id := r.PathValue("id")
	// First, as with the removal of a member.
	if err := s.cfg.Broker.Note(r.Context(), actorOf(r), "connection.close", id); err != nil {
		return 0, nil, err
	}
	if err := s.cfg.Broker.Disconnect(r.Context(), id); err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, nil
}
