package origin

import "strings"

// Note warns of an origin that does not belong to a web site: an operator reads it before
// letting the origin in. It is empty for a web site.
//
// Shells send these: Capacitor capacitor://localhost (iOS) and https://localhost
// (Android); Ionic ionic://localhost; Cordova app://localhost; Tauri tauri://localhost
// and https://tauri.localhost; Electron app://. or app://- by its own protocol. A page
// from a file has null, or file:// where it opens a WebSocket in Chromium.
func Note(header string) string {
	if header == "null" || strings.HasPrefix(strings.ToLower(header), "file:") {
		return "pages from a file and sandboxed frames have no origin of their own: " +
			"only the rule * lets them in, and then everybody; " +
			"serve the page under a scheme of its own (app://.), or let its users in with tokens"
	}
	o, err := parse(header)
	if err != nil {
		return ""
	}
	switch {
	case o.scheme == "moz-extension", o.scheme == "safari-web-extension", o.scheme == "vscode-webview":
		return "the origin differs from one installation to the next, and a rule lets in one of them: only the " +
			"rule * lets all of them in; use tokens"
	case strings.HasSuffix(o.scheme, "-extension"):
		return "an extension's origin is its id: allow it exactly, one rule for each id (an unpacked one has " +
			"another id than that of the store)"
	case o.scheme == "https" && o.host == "localhost", strings.HasSuffix(o.host, "tauri.localhost"):
		return "it can be allowed exactly, but every Android app in a web view can have this origin: it tells " +
			"nobody apart, so what is not public needs tokens"
	case !isWebScheme(o.scheme):
		return "it can be allowed exactly, but every app of this kind can have this origin: it tells nobody " +
			"apart, so what is not public needs tokens"
	}
	return ""
}
