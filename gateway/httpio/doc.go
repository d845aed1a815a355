// Package httpio finds the handler of an HTTP request by its path, reads its body and query,
// and writes JSON answers, for REST and the admin API alike. It knows nothing of what is asked
// or by whom.
package httpio
