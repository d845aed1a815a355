package client

import (
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Token states what a backend allows one client until a moment: it travels where a key
// would, and no broker is asked for it.
type Token struct {
	KeyID     string // of the server key whose signing secret signs
	Subject   string // who the client is, in the backend's words; may be empty
	ExpiresAt time.Time
	// Channels maps patterns of channels to what is allowed there: "subscribe",
	// "publish", "history".
	Channels map[string][]string
	// Origins are rules for the pages that may use the token. Nil means any client.
	Origins []string
}

// Sign returns the token as a JSON Web Token (RFC 7519), signed with HS256 under
// the text of a signing secret, "ss_…" included.
func (t Token) Sign(signingSecret string) (string, error) {
	if !strings.HasPrefix(signingSecret, "ss_") {
		return "", fmt.Errorf("sign token: a signing secret begins with ss_")
	}
	claims := jwt.MapClaims{"kid": t.KeyID, "exp": t.ExpiresAt.Unix(), "channels": t.Channels}
	if t.Subject != "" {
		claims["sub"] = t.Subject
	}
	if t.Origins != nil {
		claims["origins"] = t.Origins
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(signingSecret))
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return text, nil
}
