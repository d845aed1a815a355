package gateway

import (
	"net/http"
	"time"

	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// consoleTokenLife is how long a console token is good for while the session or
// admin token that asked for it lives; the console asks again for as long as it runs.
const consoleTokenLife = 5 * time.Minute

// createConsoleToken serves POST /projects/{id}/console-token: what the console
// watches the channels of a project with, over WebSocket. It may read everything
// and publish nothing.
func (s *Server) createConsoleToken(r *http.Request) (int, any, error) {
	project, err := s.project(r)
	if err != nil {
		return 0, nil, err
	}
	secret := s.cfg.Broker.ConsoleSecret()
	if len(secret) == 0 {
		return 0, nil, &refusal.Error{Code: refusal.Unavailable, Reason: "this node cannot read the cluster's keys yet", RetryAfter: time.Second}
	}
	expires := time.UnixMilli(s.cfg.Broker.Stamp()).Add(consoleTokenLife).Truncate(time.Second)
	text, err := auth.SignConsoleToken(secret, operatorOf(r).token.ID, project.ID, expires)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, struct {
		Token     string `json:"token"`
		ExpiresAt int64  `json:"expiresAt"`
	}{text, expires.UnixMilli()}, nil
}
