// Package protocol has the frames of the WebSocket protocol as bytes: it parses those of
// clients and appends those of the server. It knows no connection and keeps no state.
package protocol
