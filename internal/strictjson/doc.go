// Package strictjson reads JSON by hand, for two reasons. encoding/json takes "CHANNEL" for
// "channel" and lets the last of two equal names win, so two readers of one text can disagree
// on what it says. And a payload is only passed on: it is checked, never decoded.
package strictjson
