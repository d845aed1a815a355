// Package client speaks to aptlyd from the outside: over WebSocket with
// [Client], which reconnects and resumes by itself, and over HTTP with [REST]
// and [Admin]. It knows nothing of how a broker works inside.
package client
