// Package admin serves the admin API and the console's sessions, over an Operator: the node as
// operators use it. It knows nothing of the sockets of clients. Its server gives it, as
// functions, how to publish, how to read history and how to count refusals.
package admin
