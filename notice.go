// Package aptlyd holds the texts that go with every copy of the program. It knows nothing
// about the broker.
package aptlyd

import _ "embed"

//go:generate go run ./hack/notice -o NOTICE

// License is the licence of aptlyd.
//
//go:embed LICENSE
var License string

// Notice has the licences and notices of all that is compiled into the program.
//
//go:embed NOTICE
var Notice string
