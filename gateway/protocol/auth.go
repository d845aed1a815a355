package protocol

import (
	"strings"
	"unique"

	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// AuthFrame holds an auth frame.
type AuthFrame struct {
	APIKey    string // text of a key or token
	Announced unique.Handle[Announced]
	Replaces  string // id of a connection of the same client; empty for none
	Replaced  bool   // that one is not counted any more
}

// Announced holds what the software of a client says of itself. Published clients say
// nothing. Equal ones are shared, since most clients run the same software.
type Announced struct {
	Features Feature
	SDK      string // "name/version", empty when it did not say
}

var (
	// NothingAnnounced stands for the silence of published clients.
	NothingAnnounced = unique.Make(Announced{})
	// AnnouncesGoAway stands for a client of Server-Sent Events.
	AnnouncesGoAway = unique.Make(Announced{Features: FeatureGoAway})
)

// Feature is a set of additions to the published protocol that a client knows.
type Feature uint8

// Features that change what the server sends or accepts.
const (
	FeatureGoAway   Feature = 1 << iota // takes goaway frames
	FeaturePing                         // sends pings
	FeatureStrict                       // subscribes with strict
	FeaturePresence                     // is a member of channels, or sees members
)

// featureNames are the features that a client may announce. Others are those of a
// newer client, and are ignored.
var featureNames = map[string]Feature{
	"goaway": FeatureGoAway, "ping": FeaturePing, "strict": FeatureStrict, "presence": FeaturePresence,
}

// Bounds of what a client may say.
const (
	MaxFeatures = 32 // in one list
	MaxSDK      = 64 // bytes
	MaxPingID   = 64 // bytes
	maxReplaces = 64 // bytes
)

// parseAuth reads an auth frame.
func parseAuth(values *[requestFields][]byte) (AuthFrame, *refusal.Error) {
	var f AuthFrame
	var says Announced
	f.APIKey, _ = strictjson.Unquote(values[fieldAPIKey])
	if raw := values[fieldSDK]; !strictjson.IsNull(raw) {
		text, ok := strictjson.Unquote(raw)
		if !ok || len(text) > MaxSDK || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return f, refusal.New(refusal.InvalidMessage, "sdk is not a string of at most 64 printable ASCII characters")
		}
		says.SDK = text
	}
	if raw := values[fieldFeatures]; !strictjson.IsNull(raw) {
		bad := refusal.New(refusal.InvalidMessage, "features is not a list of at most 32 strings")
		n := 0
		err := strictjson.ScanArray(raw, 0, func(raw []byte) error {
			name, ok := strictjson.Unquote(raw)
			if n++; !ok || n > MaxFeatures {
				return bad
			}
			says.Features |= featureNames[name]
			return nil
		})
		if err != nil {
			return f, bad
		}
	}
	if raw := values[fieldReplaces]; !strictjson.IsNull(raw) {
		var ok bool
		if f.Replaces, ok = strictjson.Unquote(raw); !ok || len(f.Replaces) > maxReplaces {
			return f, refusal.New(refusal.InvalidMessage, "replaces is not a string of at most 64 bytes")
		}
	}
	f.Announced = unique.Make(says)
	return f, nil
}
