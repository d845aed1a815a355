// Package httpio reads the bodies and queries of HTTP requests and writes JSON answers, for
// REST and the admin API alike. It knows nothing of what is asked or by whom.
package httpio
