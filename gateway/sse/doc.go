// Package sse speaks the two transports over plain HTTP: Server-Sent Events and long polls.
// It reads their requests and cursors, and writes events and the heads of answers: bytes
// in, bytes out. It knows nothing of sockets, credentials or what a channel has.
package sse
