//go:build next

package fsm

// The tag "next" makes the version after this one, as far as an upgrade is
// concerned: it has one more command.

const Level = 3

const opNext op = 250

func init() { levels[[2]byte{byte(opNext), controlVersion}] = Level }

// Next is the command that this version does not know. It does nothing.
type Next struct{}

func (c Next) Encode() []byte { return []byte{byte(opNext), controlVersion} }

func (d *decoder) next(o op) any {
	if o != opNext {
		return nil
	}
	return &Next{}
}
