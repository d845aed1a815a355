package auth

import (
	"errors"

	"github.com/golang-jwt/jwt/v5"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/origin"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// Keys is the part of the node that knows keys, tokens and projects. All of it answers from
// memory.
type Keys interface {
	// Key returns the live key with this text.
	Key(text string) (fsm.Key, bool)
	// KeyByID returns the live key with this id.
	KeyByID(id string) (fsm.Key, bool)
	// HasImportedKeys reports whether a live key may lack the checksum.
	HasImportedKeys() bool
	// SigningSecret returns the text of the secret that signs the tokens of a live
	// server key.
	SigningSecret(keyID string) (secret []byte, ok bool)
	// ConsoleSecret returns the key that signs console tokens, nil when this node
	// cannot open the cluster's keyring.
	ConsoleSecret() []byte
	// AdminTokenByID returns the live admin token, or console session, with this id.
	AdminTokenByID(id string) (fsm.AdminToken, bool)
	// Project returns a project of the cluster. The result must not be changed.
	Project(id string) (*fsm.Project, bool)
	// Stamp returns the cluster's time, Unix ms. It is the same on every node that is up
	// to date, never goes back, and is at most some seconds old.
	Stamp() int64
}

// Identify returns the principal that the text of a key or a token shows, or why the text is
// not accepted.
func Identify(text string, keys Keys) (Principal, *Failure) {
	switch {
	case text == "":
		return Principal{}, &Failure{Refusal: refusal.New(refusal.AuthRequired, "the API key is missing")}
	case looksLikeToken(text):
		who, err := ReadToken(text, keys)
		if err != nil {
			return who, tokenFailure(who, err)
		}
		return who, nil
	case !looksLikeKey(text):
		return Unknown(text), &Failure{Refusal: &refusal.Error{
			Code: refusal.InvalidKey, Reason: invalidKey, Detail: "a text that is not well formed: mistyped, or no key at all",
		}}
	}
	if key, found := keys.Key(text); found {
		return ofKey(key), nil
	}
	if CheckKeyText(text) != nil {
		// Where keys were imported, the cluster may know one that this node does not know yet.
		return Unknown(text), &Failure{Unknown: keys.HasImportedKeys(), Refusal: &refusal.Error{
			Code: refusal.InvalidKey, Reason: invalidKey,
			Detail: "a text with a wrong checksum: mistyped, or a key of elsewhere that was not imported",
		}}
	}
	return Unknown(text), &Failure{Unknown: true, Refusal: &refusal.Error{
		Code: refusal.InvalidKey, Reason: invalidKey,
		Detail: "a well-formed key that the cluster does not know: never made, or ended",
	}}
}

// tokenFailure returns the failure for an error of ReadToken.
func tokenFailure(who Principal, err error) *Failure {
	failed := &Failure{
		Refusal: &refusal.Error{Code: refusal.TokenInvalid, Reason: "the token is not valid", Detail: err.Error()},
		Unknown: errors.Is(err, errKeyOfToken),
		Honest:  errors.Is(err, jwt.ErrTokenInvalidClaims), // these are checked only after the signature
	}
	if failed.Unknown {
		failed.KeyID = who.KeyID
	}
	if errors.Is(err, jwt.ErrTokenExpired) {
		failed.Refusal.Code, failed.Refusal.Reason = refusal.TokenExpired, "the token has expired"
	}
	return failed
}

const invalidKey = "the API key is not valid"

// CheckOrigin refuses a principal that may not come from an origin. header is the Origin
// header, host the host that was asked.
func CheckOrigin(who Principal, header, host string, project *fsm.Project) *refusal.Error {
	var verdict origin.Verdict
	switch {
	case who.Kind == PublicKey:
		verdict = origin.Judge(project.AllowedOrigins, project.AllowNativeClients, header, host)
	case who.Kind == Bearer && who.Token.Origins != nil:
		verdict = origin.Judge(who.Token.Origins, false, header, host)
		verdict.Reason = "by the token's own list: " + verdict.Reason
	default:
		return nil
	}
	if verdict.Allowed {
		return nil
	}
	reason := "origin " + refusal.Clip(header) + " is not allowed"
	if header == "" {
		reason = "the project does not allow clients without an origin"
	}
	return &refusal.Error{Code: refusal.OriginNotAllowed, Reason: reason, Detail: verdict.Reason}
}

// Admit returns the project of a principal, or why the principal may not be served: the
// project is gone, or does not allow the origin.
func Admit(who Principal, header, host string, keys Keys) (*fsm.Project, *refusal.Error) {
	project, found := keys.Project(who.Project)
	if !found {
		return nil, &refusal.Error{Code: refusal.InvalidKey, Reason: invalidKey, Detail: "the key's project was deleted"}
	}
	if refused := CheckOrigin(who, header, host, project); refused != nil {
		return nil, refused
	}
	return project, nil
}
