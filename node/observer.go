package node

import "github.com/aptlyd/aptlyd/gateway"

// observer passes the state's events to the gateway, and tells the announcer that rules
// may have changed.
type observer struct {
	*gateway.Server
	rulesChanged func()
}

// ProjectChanged implements fsm.Observer.
func (o observer) ProjectChanged(id string) {
	o.Server.ProjectChanged(id)
	o.rulesChanged()
}

// Reset implements fsm.Observer.
func (o observer) Reset() {
	o.Server.Reset()
	o.rulesChanged()
}
