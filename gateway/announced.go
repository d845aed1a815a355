package gateway

import (
	"strings"
	"unique"

	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// authFrame holds an auth frame.
type authFrame struct {
	apiKey    string // text of a key or token
	announced unique.Handle[announced]
	replaces  string // id of a connection of the same client; empty for none
	replaced  bool   // that one is not counted any more
}

// announced holds what the software of a client says of itself. Published clients say
// nothing. Equal ones are shared, since most clients run the same software.
type announced struct {
	features feature
	sdk      string // "name/version", empty when it did not say
}

var nothingAnnounced = unique.Make(announced{})

// feature is a set of additions to the published protocol that a client knows.
type feature uint8

const (
	featureGoAway feature = 1 << iota // takes goaway frames
	featurePing                       // sends pings
	featureStrict                     // subscribes with strict
)

// featureNames are the features that a client may announce. Others are those of a
// newer client, and are ignored.
var featureNames = map[string]feature{"goaway": featureGoAway, "ping": featurePing, "strict": featureStrict}

const (
	maxFeatures = 32 // in one list
	maxSDK      = 64 // bytes
	maxPingID   = 64 // bytes
	maxReplaces = 64 // bytes
)

// parseAuth reads an auth frame.
func parseAuth(values *[requestFields][]byte) (authFrame, *refusal.Error) {
	var f authFrame
	var says announced
	f.apiKey, _ = strictjson.Unquote(values[fieldAPIKey])
	if raw := values[fieldSDK]; !strictjson.IsNull(raw) {
		text, ok := strictjson.Unquote(raw)
		if !ok || len(text) > maxSDK || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return f, refusal.New(refusal.InvalidMessage, "sdk is not a string of at most 64 printable ASCII characters")
		}
		says.sdk = text
	}
	if raw := values[fieldFeatures]; !strictjson.IsNull(raw) {
		bad := refusal.New(refusal.InvalidMessage, "features is not a list of at most 32 strings")
		n := 0
		err := strictjson.ScanArray(raw, 0, func(raw []byte) error {
			name, ok := strictjson.Unquote(raw)
			if n++; !ok || n > maxFeatures {
				return bad
			}
			says.features |= featureNames[name]
			return nil
		})
		if err != nil {
			return f, bad
		}
	}
	if raw := values[fieldReplaces]; !strictjson.IsNull(raw) {
		var ok bool
		if f.replaces, ok = strictjson.Unquote(raw); !ok || len(f.replaces) > maxReplaces {
			return f, refusal.New(refusal.InvalidMessage, "replaces is not a string of at most 64 bytes")
		}
	}
	f.announced = unique.Make(says)
	return f, nil
}
