package admin

import (
	"net/http"
	"time"

	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// ConsoleTokenLife is the life of a console token. It ends sooner with the session or
// admin token that asked for it. The console renews it while it runs.
const ConsoleTokenLife = 5 * time.Minute

// createConsoleToken serves POST /projects/{id}/console-token. With the token the console
// watches the channels of a project over WebSocket.
func (h *Handler) createConsoleToken(r *http.Request) (int, any, error) {
	project, err := h.project(r)
	if err != nil {
		return 0, nil, err
	}
	secret := h.cfg.Broker.ConsoleSecret()
	if len(secret) == 0 {
		return 0, nil, &refusal.Error{
			Code: refusal.Unavailable, Reason: "this node cannot read the cluster's keys yet", RetryAfter: time.Second,
		}
	}
	expires := time.UnixMilli(h.cfg.Broker.Stamp()).Add(ConsoleTokenLife).Truncate(time.Second)
	text, err := auth.SignConsoleToken(secret, operatorOf(r).token.ID, project.ID, expires)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, struct {
		Token     string `json:"token"`
		ExpiresAt int64  `json:"expiresAt"`
	}{text, expires.UnixMilli()}, nil
}
