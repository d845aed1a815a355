// Package auth decides who a client is and what it may do: keys, tokens, principals, and
// Authorise, which every frame and every route asks. It knows neither connections nor HTTP.
package auth
