// Package refusal has the one kind of error that reaches clients: a code with its HTTP
// status and WebSocket close code, a reason for people and a retry time. It also keeps the
// last refusals of a node for operators. It knows neither sockets nor principals: who was
// refused what is text.
package refusal
