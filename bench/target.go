package bench

import "errors"

// Target is the cluster that a load runs against.
type Target struct {
	Servers    []string // as client.Options.Endpoints takes them
	Key        string   // a server key
	AdminToken string   // for MakeProject
	PIDs       []int    // of the servers, where they are known: their CPU time and memory are reported

	// Transport is how subscribers are served: "ws" (default), "sse" or "poll". Publishers use
	// WebSockets.
	Transport string

	// Protocol is what the servers speak; nil is aptlyd's. Load, which goes through
	// the client package, speaks nothing else.
	Protocol Protocol
}

// Validate reports the first field that cannot be used.
func (t Target) Validate() error {
	switch {
	case len(t.Servers) == 0:
		return errors.New("servers: at least one is needed")
	case len(t.Servers) > 1<<16:
		return errors.New("servers: too many")
	case t.Key == "" && t.Protocol == nil:
		return errors.New("key: must not be empty")
	case t.Transport != "" && t.Transport != "ws" && t.Transport != "sse" && t.Transport != "poll":
		return errors.New("transport: none of ws, sse and poll")
	}
	return nil
}

// aptlyd returns aptlyd's protocol.
func aptlyd(t Target) Protocol {
	switch spoken := (aptly{key: t.Key}); t.Transport {
	case "sse":
		return sse{spoken}
	case "poll":
		return longPoll{spoken}
	default:
		return spoken
	}
}
